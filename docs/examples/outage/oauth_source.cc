// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/oauth_source.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "docs/examples/outage/form.h"
#include "httplib.h"
#include "nlohmann/json.hpp"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using Json = nlohmann::json;
using Result = absl::StatusOr<Credential<std::string>>;

// The longest wait for an answer, where the attempt has no deadline.
constexpr absl::Duration kLongestWait = absl::Minutes(5);

// A member of a JSON object that is a string, else "".
std::string StringMember(const Json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// `text` as it may stand in a line of a log: printable and short.
std::string OneLine(absl::string_view text) {
  std::string line(text.substr(0, 200));
  std::replace_if(
      line.begin(), line.end(),
      [](unsigned char c) { return !absl::ascii_isprint(c); }, ' ');
  return line;
}

// A JSON number, or a string that holds one, as some servers send it.
std::optional<double> Seconds(const Json& value) {
  double seconds = 0;
  if (value.is_number()) return value.get<double>();
  if (value.is_string() &&
      absl::SimpleAtod(value.get<std::string>(), &seconds)) {
    return seconds;
  }
  return std::nullopt;
}

// Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
std::optional<absl::Duration> ParseRetryAfter(absl::string_view text,
                                              absl::Time now) {
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds)) return absl::Seconds(seconds);
  absl::Time time;
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", text, &time, nullptr)) {
    return time - now;
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
    // Valid until the API rejects it.
    return Credential<std::string>(token, Expiry::Never());
  }
  const std::optional<double> seconds = Seconds(*expires_in);
  if (!seconds.has_value()) {
    return absl::FailedPreconditionError(
        "the token endpoint's expires_in is not a number");
  }
  return Credential<std::string>(token, Expiry::In(absl::Seconds(*seconds)));
}

absl::Status NoAnswer(httplib::Error error, absl::string_view origin) {
  switch (error) {
    case httplib::Error::Connection:
      return absl::UnavailableError(absl::StrCat("cannot connect to ", origin));
    case httplib::Error::ConnectionTimeout:
      return absl::DeadlineExceededError(
          absl::StrCat("no connection to ", origin, " in time"));
    case httplib::Error::Read:
      return absl::UnavailableError(absl::StrCat(
          origin, " sent no answer in time, or closed the connection"));
    case httplib::Error::SSLConnection:
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      // Trying again will not make a certificate valid.
      return absl::FailedPreconditionError(
          absl::StrCat("no trusted TLS connection to ", origin));
    default:
      return absl::UnavailableError(
          absl::StrCat("the request to ", origin, " failed (",
                       httplib::to_string(error), ")"));
  }
}

absl::StatusCode CodeOf(int http_status, absl::string_view error) {
  switch (http_status) {
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      break;
  }
  if (error == "invalid_client" || http_status == 401) {
    return absl::StatusCode::kUnauthenticated;
  }
  if (error == "unauthorized_client" || http_status == 403) {
    return absl::StatusCode::kPermissionDenied;
  }
  if (absl::StartsWith(error, "invalid_") ||
      error == "unsupported_grant_type") {
    return absl::StatusCode::kInvalidArgument;
  }
  return absl::StatusCode::kFailedPrecondition;
}

}  // namespace

Result ReadTokenAnswer(int http_status, absl::string_view body,
                       absl::string_view retry_after, absl::Time now) {
  const Json answer = Json::parse(body, /*cb=*/nullptr,
                                  /*allow_exceptions=*/false);
  if (http_status == 200) return ReadToken(answer);
  const std::string error = StringMember(answer, "error");
  std::string message =
      absl::StrCat("the token endpoint answered ", http_status);
  if (!error.empty()) {
    const std::string description = StringMember(answer, "error_description");
    absl::StrAppend(&message, ", ", OneLine(error),
                    description.empty() ? "" : ": ", OneLine(description));
  }
  absl::Status status(CodeOf(http_status, error), message);
  if (const auto wait = ParseRetryAfter(retry_after, now)) {
    refreshable::SetRetryAfter(*wait, status);
  }
  return status;
}

OAuthSource::OAuthSource(Options options) : options_(std::move(options)) {}

void OAuthSource::Fetch(const refreshable::FetchContext& context,
                        refreshable::FetchDone<std::string> done) {
  done(Request(context.timeout()));
}

Result OAuthSource::Request(absl::Duration timeout) const {
  Result result = Send(timeout);
  if (result.ok()) return result;
  // A server may echo what it was sent.
  std::string message(result.status().message());
  const std::string secret = FormEncode(options_.client_secret);
  const std::string basic = absl::Base64Escape(
      absl::StrCat(FormEncode(options_.client_id), ":", secret));
  for (const std::string& hidden : {options_.client_secret, secret, basic}) {
    if (hidden.empty()) continue;
    message = absl::StrReplaceAll(message, {{hidden, "(secret)"}});
  }
  absl::Status status(result.status().code(), message);
  if (const auto wait = refreshable::GetRetryAfter(result.status())) {
    refreshable::SetRetryAfter(*wait, status);
  }
  return status;
}

Result OAuthSource::Send(absl::Duration timeout) const {
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
  // RFC 6749, section 2.3.1: both are form-encoded first.
  http.set_basic_auth(FormEncode(options_.client_id),
                      FormEncode(options_.client_secret));
  std::string body = "grant_type=client_credentials";
  if (!options_.scope.empty()) {
    absl::StrAppend(&body, "&scope=", FormEncode(options_.scope));
  }
  const httplib::Result answer =
      http.Post(options_.token_url.target, {{"Accept", "application/json"}},
                body, "application/x-www-form-urlencoded");
  if (!answer) {
    return NoAnswer(answer.error(), options_.token_url.origin);
  }
  return ReadTokenAnswer(answer->status, answer->body,
                         answer->get_header_value("Retry-After"), absl::Now());
}

}  // namespace refreshable_examples
