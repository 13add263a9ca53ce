// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/http_transport.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "docs/examples/outage/url.h"
#include "httplib.h"
#include "refreshable/secret.h"

namespace refreshable_examples {
namespace {

using refreshable::oauth2::HttpAnswer;
using refreshable::oauth2::NotSent;

// A longer `SendOptions::timeout` is cut to this time.
constexpr absl::Duration kLongestWait = absl::Minutes(5);

absl::Status NoAnswer(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
      return NotSent(absl::UnavailableError("cannot connect"));
    case httplib::Error::ConnectionTimeout:
      return NotSent(absl::DeadlineExceededError("no connection in time"));
    case httplib::Error::Read:
      return absl::UnavailableError(
          "no answer in time, or the connection was closed");
    case httplib::Error::SSLConnection:
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      // The usual cause is a certificate that is not trusted. A retry would not
      // help, so the error is FAILED_PRECONDITION, which is classified as
      // permanent.
      return NotSent(
          absl::FailedPreconditionError("no trusted TLS connection"));
    default:
      return absl::UnavailableError(
          absl::StrCat("the request failed (", httplib::to_string(error), ")"));
  }
}

}  // namespace

absl::StatusOr<HttpAnswer> SendWithHttplib(
    const refreshable::oauth2::TokenRequest& request,
    const refreshable::oauth2::SendOptions& options) {
  const absl::StatusOr<Url> url = ParseUrl(request.url);
  if (!url.ok()) return url.status();
  const auto wait =
      absl::ToChronoMicroseconds(std::min(options.timeout, kLongestWait));
  httplib::Client http(url->origin);
  if (!http.is_valid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot use the address ", url->origin));
  }
  http.set_connection_timeout(wait);
  http.set_read_timeout(wait);
  http.set_write_timeout(wait);
  http.set_tcp_nodelay(true);
  httplib::Request sent;
  sent.method = "POST";
  sent.path = url->target;
  for (const auto& [name, value] : request.headers) {
    sent.headers.emplace(name, value.reveal());
  }
  sent.body = std::string(request.body.reveal());
  // The read timeout applies to each read from the socket separately. So
  // `content_receiver` checks a deadline whenever a part of the body arrives.
  // It also limits the length of the body.
  const auto deadline = std::chrono::steady_clock::now() + wait;
  HttpAnswer answer;
  std::string body;
  bool late = false;
  sent.content_receiver = [&](const char* data, size_t length, uint64_t,
                              uint64_t) {
    answer.body_too_long = length > options.max_body_bytes - body.size();
    late = std::chrono::steady_clock::now() >= deadline;
    if (answer.body_too_long || late) return false;
    body.append(data, length);
    return true;
  };
  sent.response_handler = [&](const httplib::Response& response) {
    answer.status = response.status;
    for (const auto& [name, value] : response.headers) {
      answer.headers.emplace_back(name, value);
    }
    return true;
  };
  const httplib::Result result = http.send(sent);
  refreshable::WipeMemory(&sent.body[0], sent.body.size());
  if (late) return absl::DeadlineExceededError("no end of the answer in time");
  if (!result && !answer.body_too_long) return NoAnswer(result.error());
  answer.body = refreshable::Secret::TakeFrom(body);
  answer.arrived = absl::Now();
  return answer;
}

}  // namespace refreshable_examples
