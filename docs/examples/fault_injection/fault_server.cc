// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/fault_server.h"

#include <sys/socket.h>

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"

namespace refreshable_examples {
namespace {

// Each open connection needs a thread. There is a connection for each client of
// the API, and one for each token request in progress.
constexpr int kServerThreads = 96;
// A client of the API may be silent for as long as an outage lasts.
constexpr int kKeepAliveSeconds = 600;

constexpr char kJson[] = "application/json";

std::string HttpDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", time,
                          absl::UTCTimeZone());
}

}  // namespace

FaultServer::FaultServer(std::function<void(absl::string_view)> say)
    : say_(std::move(say)),
      good_({{kClientId, kClientSecret}}, kShortLife,
            &refreshable::SystemClock::Get()),
      late_({{kClientId, kClientSecret}}, absl::ZeroDuration(),
            &refreshable::SystemClock::Get()),
      listener_(kServerThreads) {
  httplib::Server& http = listener_.http();
  http.set_keep_alive_timeout(kKeepAliveSeconds);
  // The parent process keeps the port reserved, so the server can listen on it
  // only with SO_REUSEPORT.
  http.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes));
  });
  http.Post("/token",
            [this](const httplib::Request& request,
                   httplib::Response& response) { Token(request, response); });
  http.Get("/api",
           [this](const httplib::Request& request,
                  httplib::Response& response) { Api(request, response); });
}

FaultServer::~FaultServer() { SetFault(Fault::kNone); }

void FaultServer::Do(absl::string_view command) {
  if (absl::ConsumePrefix(&command, "fault ")) {
    for (const Fault fault : kFaults) {
      if (FaultName(fault) != command) continue;
      SetFault(fault);
      say_(absl::StrCat("fault ", command));
    }
  } else if (absl::ConsumePrefix(&command, "revoke ")) {
    good_.Revoke(command);
    say_("revoked");
  } else if (command == "counts") {
    absl::MutexLock lock(&mu_);
    say_(absl::StrCat("counts ", ok_, " ", expired_, " ", revoked_, " ",
                      other_));
  }
}

void FaultServer::SetFault(Fault fault) {
  absl::MutexLock lock(&mu_);
  fault_ = fault;
}

void FaultServer::Token(const httplib::Request& request,
                        httplib::Response& response) {
  const std::string call = request.get_param_value("call");
  say_(absl::StrCat("token ", call));
  Fault fault;
  {
    absl::MutexLock lock(&mu_);
    fault = fault_;
  }
  OAuthServer& issuer = fault == Fault::kExpired ? late_ : good_;
  const Answer answer = issuer.Token(request.get_header_value("Authorization"),
                                     request.get_param_value("grant_type"));
  switch (fault) {
    case Fault::kNone:
    case Fault::kExpired:
      return SendAnswer(answer, response);
    case Fault::kTrickle:
      return Trickle(answer.body, response);
    case Fault::kCut:
      return response.set_content_provider(
          answer.body.size(), kJson,
          [body = answer.body](size_t, size_t, httplib::DataSink& sink) {
            sink.write(body.data(), body.size() / 2);
            return false;
          });
    case Fault::kGarbage:
      return response.set_content(std::string("\0\xff\xfe{[\"\x80", 7), kJson);
    case Fault::kThrottle:
    case Fault::kThrottleByDate: {
      const absl::Time now = absl::Now();
      response.status = 429;
      response.set_content("{}", kJson);
      response.set_header("Date", HttpDate(now));
      response.set_header(
          "Retry-After", fault == Fault::kThrottleByDate
                             ? HttpDate(now + kRetryAfter)
                             : absl::StrCat(absl::ToInt64Seconds(kRetryAfter)));
      return;
    }
    case Fault::kHuge:
      return SendHuge(call, response);
  }
}

void FaultServer::Trickle(std::string answer, httplib::Response& response) {
  response.set_chunked_content_provider(
      kJson,
      [this, answer = std::move(answer)](size_t, httplib::DataSink& sink) {
        bool over;
        {
          absl::MutexLock lock(&mu_);
          over = mu_.AwaitWithTimeout(
              absl::Condition(this, &FaultServer::TrickleIsOver),
              kTrickleInterval);
        }
        // JSON may begin with any number of spaces.
        if (!over) return sink.write(" ", 1);
        if (!sink.write(answer.data(), answer.size())) return false;
        sink.done();
        return true;
      });
}

void FaultServer::SendHuge(std::string call, httplib::Response& response) {
  const auto sent = std::make_shared<int64_t>(0);
  response.set_chunked_content_provider(
      kJson,
      [sent, block = std::string(64 * 1024, 'x')](size_t,
                                                  httplib::DataSink& sink) {
        if (*sent == 0) sink.write("{\"access_token\":\"", 17);
        if (*sent >= kHugeAnswer) {
          sink.write("\"}", 2);
          sink.done();
          return true;
        }
        if (!sink.write(block.data(), block.size())) return false;
        *sent += static_cast<int64_t>(block.size());
        return true;
      },
      [this, sent, call = std::move(call)](bool) {
        say_(absl::StrCat("sent ", call, " ", *sent));
      });
}

void FaultServer::Api(const httplib::Request& request,
                      httplib::Response& response) {
  const Answer answer = good_.Api(request.get_header_value("Authorization"));
  SendAnswer(answer, response);
  absl::MutexLock lock(&mu_);
  if (answer.status == 200) {
    ++ok_;
  } else if (absl::StrContains(answer.body, kTokenExpired)) {
    ++expired_;
  } else if (absl::StrContains(answer.body, kTokenRevoked)) {
    ++revoked_;
  } else {
    ++other_;
  }
}

}  // namespace refreshable_examples
