// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/oauth_source.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "docs/examples/outage/form.h"
#include "httplib.h"
#include "nlohmann/json.hpp"
#include "refreshable/http_error.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using Json = nlohmann::json;
using Result = absl::StatusOr<Credential<std::string>>;

// The longest wait for an answer, even if the timeout is longer.
constexpr absl::Duration kLongestWait = absl::Minutes(5);

// Returns a string member of a JSON object, or "".
std::string StringMember(const Json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// Returns the value of a JSON number, or of a string that contains a number
// (some servers send that). Returns nullopt for anything else.
std::optional<double> Seconds(const Json& value) {
  double seconds = 0;
  if (value.is_number()) return value.get<double>();
  if (value.is_string() &&
      absl::SimpleAtod(value.get<std::string>(), &seconds)) {
    return seconds;
  }
  return std::nullopt;
}

Result ReadToken(const Json& answer) {
  const std::string token = StringMember(answer, "access_token");
  if (token.empty()) {
    return absl::FailedPreconditionError(
        "the token endpoint answered 200 without an access token");
  }
  const std::string type = StringMember(answer, "token_type");
  if (!type.empty() && !absl::EqualsIgnoreCase(type, "Bearer")) {
    return absl::FailedPreconditionError(
        "the token endpoint issued a token that is not a bearer token");
  }
  const auto expires_in = answer.find("expires_in");
  if (expires_in == answer.end()) {
    // The token is valid until the API rejects it.
    return Credential<std::string>(token, Expiry::Never());
  }
  const std::optional<double> seconds = Seconds(*expires_in);
  if (!seconds.has_value()) {
    return absl::FailedPreconditionError(
        "the token endpoint's expires_in is not a number");
  }
  return Credential<std::string>(token, Expiry::In(absl::Seconds(*seconds)));
}

absl::Status NoAnswer(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
      return absl::UnavailableError("cannot connect");
    case httplib::Error::ConnectionTimeout:
      return absl::DeadlineExceededError("no connection in time");
    case httplib::Error::Read:
      return absl::UnavailableError(
          "no answer in time, or the connection was closed");
    case httplib::Error::SSLConnection:
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      // A retry cannot make a certificate valid, so this failure is permanent.
      return absl::FailedPreconditionError("no trusted TLS connection");
    default:
      return absl::UnavailableError(
          absl::StrCat("the request failed (", httplib::to_string(error), ")"));
  }
}

}  // namespace

Result ReadTokenAnswer(int http_status, absl::string_view body,
                       absl::Span<const refreshable::HttpHeader> headers,
                       absl::Time now) {
  const Json answer = Json::parse(body, /*cb=*/nullptr,
                                  /*allow_exceptions=*/false);
  if (http_status == 200) return ReadToken(answer);
  return refreshable::HttpErrorToStatus(http_status, headers, now,
                                        StringMember(answer, "error"));
}

OAuthSource::OAuthSource(Options options) : options_(std::move(options)) {}

void OAuthSource::Fetch(const refreshable::FetchContext& context,
                        refreshable::FetchDone<std::string> done) {
  done(Request(context.timeout()));
}

Result OAuthSource::Request(absl::Duration timeout) const {
  const auto wait = absl::ToChronoMicroseconds(std::min(timeout, kLongestWait));
  httplib::Client http(options_.token_url.origin);
  if (!http.is_valid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot use the address ", options_.token_url.origin));
  }
  http.set_connection_timeout(wait);
  http.set_read_timeout(wait);
  http.set_write_timeout(wait);
  http.set_tcp_nodelay(true);
  // RFC 6749, section 2.3.1: the id and the secret are form-encoded first.
  http.set_basic_auth(FormEncode(options_.client_id),
                      FormEncode(options_.client_secret.reveal()));
  httplib::Request request;
  request.method = "POST";
  request.path = options_.token_url.target;
  request.headers = {{"Accept", "application/json"},
                     {"Content-Type", "application/x-www-form-urlencoded"}};
  request.body = "grant_type=client_credentials";
  if (!options_.scope.empty()) {
    absl::StrAppend(&request.body, "&scope=", FormEncode(options_.scope));
  }
  // The timeouts above apply to each read from the socket, but an answer may be
  // endless. So `content_receiver` limits the time and the length of the whole
  // answer.
  const auto deadline = std::chrono::steady_clock::now() + wait;
  std::string body;
  absl::Status stopped;
  request.content_receiver = [&](const char* data, size_t length, uint64_t,
                                 uint64_t) {
    if (length > kLongestAnswer - body.size()) {
      stopped = absl::FailedPreconditionError(
          absl::StrCat("the answer is longer than ", kLongestAnswer, " bytes"));
    } else if (std::chrono::steady_clock::now() >= deadline) {
      stopped = absl::DeadlineExceededError("no end of the answer in time");
    }
    if (stopped.ok()) body.append(data, length);
    return stopped.ok();
  };
  const httplib::Result answer = http.send(request);
  if (!stopped.ok()) return stopped;
  if (!answer) return NoAnswer(answer.error());
  std::vector<refreshable::HttpHeader> headers;
  for (const auto& [name, value] : answer->headers) {
    headers.emplace_back(name, value);
  }
  return ReadTokenAnswer(answer->status, body, headers, absl::Now());
}

}  // namespace refreshable_examples
