// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/oauth_server.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "docs/examples/outage/form.h"
#include "nlohmann/json.hpp"

namespace refreshable_examples {
namespace {

using Json = nlohmann::json;

Answer Error(int status, absl::string_view error,
             absl::string_view description) {
  Answer answer;
  answer.status = status;
  answer.body = Json{{"error", std::string(error)},
                     {"error_description", std::string(description)}}
                    .dump();
  return answer;
}

Answer RejectToken(absl::string_view description) {
  Answer answer = Error(401, "invalid_token", description);
  answer.www_authenticate =
      absl::StrCat("Bearer error=\"invalid_token\", error_description=\"",
                   description, "\"");
  return answer;
}

struct Contents {
  int64_t number;
  absl::Time expires_at;
};

// Returns nullopt if `token` is not a token. A token is the client's name, a
// number and the expiry in microseconds since 1970, separated by dashes.
std::optional<Contents> ReadToken(absl::string_view token) {
  const std::vector<absl::string_view> parts = absl::StrSplit(token, '-');
  int64_t number = 0;
  int64_t expiry = 0;
  if (parts.size() < 3 || !absl::SimpleAtoi(parts[parts.size() - 2], &number) ||
      !absl::SimpleAtoi(parts.back(), &expiry)) {
    return std::nullopt;
  }
  return Contents{number, absl::FromUnixMicros(expiry)};
}

}  // namespace

OAuthServer::OAuthServer(std::map<std::string, std::string> clients,
                         absl::Duration token_life,
                         const refreshable::Clock* clock)
    : clients_(std::move(clients)), token_life_(token_life), clock_(clock) {}

void OAuthServer::SetPhase(Phase phase) {
  absl::MutexLock lock(&mu_);
  phase_ = phase;
  if (phase == Phase::kRevoking) last_revoked_ = last_token_;
}

void OAuthServer::Revoke(absl::string_view token) {
  absl::MutexLock lock(&mu_);
  revoked_.insert(std::string(token));
}

void OAuthServer::Shutdown() {
  absl::MutexLock lock(&mu_);
  shut_down_ = true;
}

Answer OAuthServer::Token(absl::string_view authorization,
                          absl::string_view grant_type) {
  const std::string client = Authenticate(authorization);
  absl::MutexLock lock(&mu_);
  Counts& counts = counts_[client];
  ++counts.all;
  if (InOutage(phase_)) ++counts.outage;
  if (!Answering()) {
    ++hanging_;
    mu_.Await(absl::Condition(this, &OAuthServer::Answering));
    --hanging_;
    return Error(503, "temporarily_unavailable", "The endpoint hung");
  }
  if (phase_ == Phase::kBadGateway) {
    // A proxy in front of the endpoint answers 502, so the body is not JSON.
    Answer answer;
    answer.status = 502;
    answer.body = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    return answer;
  }
  if (client.empty()) {
    Answer answer =
        Error(401, "invalid_client", "Unknown client or wrong secret");
    answer.www_authenticate = "Basic realm=\"token\"";
    return answer;
  }
  if (grant_type.empty()) {
    return Error(400, "invalid_request", "grant_type is missing");
  }
  if (grant_type != "client_credentials") {
    return Error(400, "unsupported_grant_type",
                 "Only client_credentials is supported");
  }
  return Issue(client);
}

Answer OAuthServer::Issue(absl::string_view client) {
  ++last_token_;
  if (phase_ == Phase::kRevoking) last_revoked_ = last_token_;
  const std::string token =
      absl::StrCat(client, "-", last_token_, "-",
                   absl::ToUnixMicros(clock_->Now().wall + token_life_));
  Answer answer;
  answer.body = Json{{"access_token", token},
                     {"token_type", "Bearer"},
                     {"expires_in", absl::ToInt64Seconds(token_life_)}}
                    .dump();
  return answer;
}

Answer OAuthServer::Api(absl::string_view authorization) {
  if (!absl::ConsumePrefix(&authorization, "Bearer ")) {
    // RFC 6750, section 3.1: without a token, WWW-Authenticate should not have
    // an error code.
    Answer answer = Error(401, "invalid_request", "No access token was sent");
    answer.www_authenticate = "Bearer";
    return answer;
  }
  const std::optional<Contents> token = ReadToken(authorization);
  if (!token.has_value()) return RejectToken("The access token is unknown");
  absl::MutexLock lock(&mu_);
  if (token->number <= last_revoked_ || revoked_.contains(authorization)) {
    return RejectToken(kTokenRevoked);
  }
  if (clock_->Now().wall >= token->expires_at) {
    return RejectToken(kTokenExpired);
  }
  Answer answer;
  answer.body = Json{{"result", "ok"}}.dump();
  return answer;
}

std::string OAuthServer::Authenticate(absl::string_view authorization) const {
  std::string decoded;
  if (!absl::ConsumePrefix(&authorization, "Basic ") ||
      !absl::Base64Unescape(authorization, &decoded)) {
    return "";
  }
  const std::vector<std::string> parts =
      absl::StrSplit(decoded, absl::MaxSplits(':', 1));
  if (parts.size() != 2) return "";
  const std::optional<std::string> name = FormDecode(parts[0]);
  const std::optional<std::string> secret = FormDecode(parts[1]);
  if (!name.has_value() || !secret.has_value()) return "";
  const auto client = clients_.find(*name);
  if (client == clients_.end() || client->second != *secret) return "";
  return *name;
}

int64_t OAuthServer::token_requests(absl::string_view client) const {
  absl::MutexLock lock(&mu_);
  const auto it = counts_.find(client);
  return it == counts_.end() ? 0 : it->second.all;
}

int64_t OAuthServer::outage_requests(absl::string_view client) const {
  absl::MutexLock lock(&mu_);
  const auto it = counts_.find(client);
  return it == counts_.end() ? 0 : it->second.outage;
}

void OAuthServer::AwaitHanging(int requests) const {
  absl::MutexLock lock(&mu_);
  const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return hanging_ >= requests;
  };
  mu_.Await(absl::Condition(&enough));
}

}  // namespace refreshable_examples
