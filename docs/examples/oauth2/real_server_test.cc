// SPDX-License-Identifier: Apache-2.0
//
// Tests NotesTokens, the transport and the JSON reader against a real OAuth 2.0
// server. Run it with `bazel run`. If the server cannot be installed, the exit
// status is 75.

#include "real_server.h"

#include <atomic>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>  // NOLINT(build/c++11)
#include <sstream>
#include <string>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "notes_tokens.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/integrations/oauth2_json/read_json.h"
#include "refreshable/oauth2/file_refresh_token_store.h"
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/oauth2/source.h"
#include "refreshable/testing/lambda_observer.h"

namespace {

namespace oauth2 = refreshable::oauth2;
using refreshable::Lease;
using refreshable::Refreshable;
using refreshable::Secret;
using Tokens = Refreshable<Secret>;

constexpr int kThreads = 16;
constexpr absl::Duration kLong = absl::Minutes(1);

class RealServerTest : public testing::Test {
 protected:
  oauth2::CurlTransportOptions Curl() {
    oauth2::CurlTransportOptions curl;
    curl.ca_file = server_.ca_file();
    curl.proxy = "";
    return curl;
  }
  std::unique_ptr<Tokens> Create(
      RealServer::Certificate certificate = RealServer::kGood,
      const std::string& secret = "right-secret") {
    return NotesTokens(server_.token_url(certificate), "notes", Secret(secret),
                       executor_, Curl())
        .value();
  }

  // Returns the API's HTTP status or, if there is no token, the name of the
  // error's code.
  std::string Call(Tokens& tokens, absl::Duration timeout = kLong,
                   int retries = 6) {
    Tokens::ReadOptions options;
    options.timeout = timeout;
    options.max_retries = retries;
    const absl::StatusOr<int> status = refreshable::CallWithToken(
        tokens, options,
        [&](const Lease<Secret>& lease) {
          return server_.CallApi(lease.token().reveal());
        },
        [](int status) { return status == 401; });
    if (status.ok()) return absl::StrCat(*status);
    const std::string text = status.status().ToString();
    EXPECT_FALSE(absl::StrContains(text, "secret")) << text;
    return std::string(absl::StatusCodeToString(status.status().code()));
  }

  // Returns how often `Call` returned each result.
  std::map<std::string, int> Crowd(Tokens& tokens, int calls,
                                   absl::Duration timeout = kLong,
                                   int retries = 6) {
    std::map<std::string, int> outcomes;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < calls; ++i) {
          const std::string outcome = Call(tokens, timeout, retries);
          const std::lock_guard<std::mutex> lock(mutex);
          ++outcomes[outcome];
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return outcomes;
  }

  // Waits until the policy's minimum interval (1 s) has passed since the last
  // attempt. Then an attempt to replace a rejected token is permitted.
  static void WaitForInterval() {
    const absl::Time end = absl::Now() + absl::Seconds(1.5);
    WaitUntil("the minimum interval", [&] { return absl::Now() > end; });
  }

  using Outcomes = std::map<std::string, int>;

  RealServer server_;
  refreshable::ThreadExecutor executor_;
};

// Threads that call the API until this object is destroyed.
class Callers {
 public:
  Callers(Tokens& tokens, const RealServer& server) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, &tokens, &server] {
        do {
          const auto lease = tokens.Get(kLong);
          if (!lease.ok() || server.CallApi(lease->token().reveal()) != 200) {
            ++failed_;
          }
          ++called_;
        } while (!end_.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
      });
    }
  }
  ~Callers() {
    end_.Notify();
    for (std::thread& thread : threads_) thread.join();
  }

  int failed() const { return failed_; }
  void AwaitCalls() const {
    const int enough = called_ + 3 * kThreads;
    WaitUntil("calls", [&] { return called_ >= enough; });
  }

 private:
  std::atomic<int> called_{0};
  std::atomic<int> failed_{0};
  absl::Notification end_;
  std::vector<std::thread> threads_;
};

TEST_F(RealServerTest, OneTokenServesAllThreads) {
  const auto tokens = Create();
  EXPECT_EQ(Crowd(*tokens, 10), (Outcomes{{"200", 160}}));
  EXPECT_EQ(server_.Count("token"), 1);
}

TEST(ShortLivedTest, ExpiredTokensAreReplacedBeforeAnyCallFails) {
  RealServer server(absl::Seconds(8));
  refreshable::ThreadExecutor executor;
  oauth2::CurlTransportOptions curl;
  curl.ca_file = server.ca_file();
  curl.proxy = "";
  const auto tokens = NotesTokens(server.token_url(), "notes",
                                  Secret("right-secret"), executor, curl)
                          .value();
  const Callers callers(*tokens, server);
  WaitUntil("three tokens", [&] { return server.Count("token 200") >= 3; });
  callers.AwaitCalls();
  EXPECT_EQ(callers.failed(), 0);
  EXPECT_EQ(server.Count("token 4"), 0);
}

TEST_F(RealServerTest, ServerIsKilledAndComesBack) {
  server_.StopProvider();  // nginx answers 502.
  const auto tokens = Create();
  EXPECT_EQ(Crowd(*tokens, 2, kLong, 0), (Outcomes{{"UNAVAILABLE", 32}}));
  EXPECT_EQ(server_.Count("token"), 0);
  server_.StartProvider();
  // Until the next attempt is permitted, reads fail with the last error.
  WaitUntil("the next attempt", [&] { return Call(*tokens) == "200"; });
  EXPECT_EQ(Crowd(*tokens, 2), (Outcomes{{"200", 32}}));
  EXPECT_EQ(server_.Count("token"), 1);

  server_.StopProvider();
  EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"200", 16}}));
}

TEST_F(RealServerTest, ServerHangs) {
  server_.PauseProvider();
  const auto tokens = Create();
  EXPECT_EQ(Crowd(*tokens, 1, absl::Seconds(1)),
            (Outcomes{{"DEADLINE_EXCEEDED", 16}}));
  server_.ResumeProvider();
  EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"200", 16}}));
}

TEST_F(RealServerTest, ServerHasANewKey) {
  const auto tokens = Create();
  EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"200", 16}}));
  server_.StopProvider();
  server_.StartProvider();
  EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"200", 16}}));
  EXPECT_EQ(server_.Count("token"), 1);
  server_.StopProvider();
  server_.ForgetKey();
  server_.StartProvider();
  WaitForInterval();
  EXPECT_EQ(Crowd(*tokens, 2), (Outcomes{{"200", 32}}));
  EXPECT_EQ(server_.Count("token"), 2);
}

TEST_F(RealServerTest, WrongSecretThenTheRightOne) {
  const auto tokens = Create(RealServer::kGood, "wrong");
  EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"UNAUTHENTICATED", 16}}));
  EXPECT_EQ(server_.Count("token 401"), server_.Count("token"));
  EXPECT_LE(server_.Count("token"), 2);
  const auto right = Create();
  EXPECT_EQ(Crowd(*right, 1), (Outcomes{{"200", 16}}));
}

struct Fault {
  std::string name;
  absl::StatusCode code;  // The error of an attempt during the fault.
  std::function<void(RealServer&)> begin;
  std::function<void(RealServer&)> end;

  friend std::ostream& operator<<(std::ostream& os, const Fault& fault) {
    return os << fault.name;
  }
};

const Fault kFaults[] = {
    {"Killed", absl::StatusCode::kUnavailable,
     [](RealServer& server) { server.StopProvider(); },
     [](RealServer& server) { server.StartProvider(); }},
    {"Hanging", absl::StatusCode::kDeadlineExceeded,
     [](RealServer& server) { server.PauseProvider(); },
     [](RealServer& server) { server.ResumeProvider(); }},
    {"AnotherSecret", absl::StatusCode::kUnauthenticated,
     [](RealServer& server) {
       server.StopProvider();
       server.StartProvider("another");
     },
     [](RealServer& server) {
       server.StopProvider();
       server.StartProvider();
     }},
    {"ExpiredCertificate", absl::StatusCode::kFailedPrecondition,
     [](RealServer& server) { server.Present(RealServer::kExpired); },
     [](RealServer& server) { server.Present(RealServer::kGood); }},
    {"CertificateOfAnotherHost", absl::StatusCode::kFailedPrecondition,
     [](RealServer& server) { server.Present(RealServer::kOtherHost); },
     [](RealServer& server) { server.Present(RealServer::kGood); }},
};

class FaultTest : public testing::TestWithParam<Fault> {};

// During the fault, the present token must serve all calls. After the fault,
// the same Refreshable must get another token without help.
TEST_P(FaultTest, NoCallFailsWhileThereIsAToken) {
  RealServer server;
  refreshable::ThreadExecutor executor;
  oauth2::CurlTransportOptions curl;
  curl.ca_file = server.ca_file();
  curl.proxy = "";
  oauth2::SourceOptions source;
  source.endpoint.url = server.token_url();
  source.client = oauth2::BasicAuthentication("notes", Secret("right-secret"));
  source.transport = oauth2::CreateCurlTransport(curl).value();
  source.reader = oauth2::ReadJson;
  Tokens::Options options;
  options.executor = &executor;
  options.policy.attempt_timeout = absl::Seconds(2);
  options.policy.min_interval = absl::Milliseconds(100);
  options.policy.retry.initial_backoff = absl::Milliseconds(200);
  options.policy.retry.max_backoff = absl::Seconds(1);
  // No event may show the secret or a token. Each token begins with "eyJ".
  options.observer =
      refreshable_testing::Observe([](const refreshable::Event& event) {
        std::ostringstream out;
        out << event;
        const std::string line = out.str();
        EXPECT_FALSE(absl::StrContains(line, "right-secret")) << line;
        EXPECT_FALSE(absl::StrContains(line, "eyJ")) << line;
      });
  const auto tokens =
      Tokens::Create(oauth2::CreateSource<Secret>(source).value(), options)
          .value();
  const Callers callers(*tokens, server);
  callers.AwaitCalls();
  EXPECT_EQ(server.Count("token"), 1);
  // A read with these options rejects the present token. The read starts an
  // attempt when the policy permits one.
  Tokens::ReadOptions another;
  another.rejected = tokens->TryGet().value().generation();
  another.timeout = kLong;

  GetParam().begin(server);
  absl::Status failure;
  WaitUntil("a failed attempt", [&] {
    const auto lease = tokens->Get(another);
    if (lease.ok()) another.rejected = lease->generation();
    failure = lease.status();
    return tokens->stats().attempts_failed > 0;
  });
  EXPECT_EQ(failure.code(), GetParam().code) << failure;
  const int issued = server.Count("token 200");
  callers.AwaitCalls();
  EXPECT_EQ(server.Count("token 200"), issued);

  GetParam().end(server);
  WaitUntil("another token", [&] { return tokens->Get(another).ok(); });
  callers.AwaitCalls();
  EXPECT_EQ(callers.failed(), 0);
  EXPECT_LE(server.Count("token"), tokens->stats().attempts_started);
}

INSTANTIATE_TEST_SUITE_P(Faults, FaultTest, testing::ValuesIn(kFaults),
                         [](const testing::TestParamInfo<Fault>& info) {
                           return info.param.name;
                         });

TEST_F(RealServerTest, ConnectionsAreClosedBetweenRequests) {
  oauth2::SourceOptions options;
  options.endpoint.url = server_.token_url();
  options.client = oauth2::BasicAuthentication("notes", Secret("right-secret"));
  options.transport = oauth2::CreateCurlTransport(Curl()).value();
  options.reader = oauth2::ReadJson;
  const auto source = oauth2::CreateSource<Secret>(options).value();
  for (int i = 1; i <= 3; ++i) {
    const auto tokens = Tokens::Create(source, {&executor_}).value();
    EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"200", 16}}));
    EXPECT_EQ(server_.Count("token 200"), i);
    server_.RestartNginx();
  }
}

TEST_F(RealServerTest, CertificatesThatAreNotValid) {
  for (const auto certificate :
       {RealServer::kExpired, RealServer::kOtherHost}) {
    const auto tokens = Create(certificate);
    EXPECT_EQ(Crowd(*tokens, 1), (Outcomes{{"FAILED_PRECONDITION", 16}}));
  }
  EXPECT_EQ(server_.Count("token"), 0);
}

TEST_F(RealServerTest, RefreshTokensAreReplacedAndKept) {
  const std::string path = server_.folder() + "/refresh_token";
  oauth2::RefreshTokens::Options options;
  options.store = std::make_shared<oauth2::FileRefreshTokenStore>(path);
  oauth2::SourceOptions source;
  source.endpoint.url = server_.token_url();
  source.client = oauth2::PostAuthentication("notes-app", Secret("app-secret"));
  source.transport = oauth2::CreateCurlTransport(Curl()).value();
  source.reader = oauth2::ReadJson;
  const auto stored = [&] {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  };
  // Returns a Refreshable that stands for one run of the program.
  const auto run = [&](std::shared_ptr<oauth2::RefreshTokens> login) {
    source.grant = oauth2::RefreshTokenGrant{std::move(login)};
    return Tokens::Create(oauth2::CreateSource<Secret>(source).value(),
                          {&executor_})
        .value();
  };
  const auto login = oauth2::RefreshTokens::Create(options).value();
  std::string last = server_.login();
  ASSERT_TRUE(login->Install(Secret(last)).ok());
  for (int i = 1; i <= 4; ++i) {
    const auto tokens =
        run(i == 1 ? login : oauth2::RefreshTokens::Create(options).value());
    EXPECT_EQ(Crowd(*tokens, 2), (Outcomes{{"200", 32}}));
    EXPECT_EQ(server_.Count("token 200 refresh_token"), i);
    EXPECT_NE(stored(), last);
    last = stored();
  }

  // oidc-provider forgets the login when it stops.
  server_.StopProvider();
  server_.StartProvider();
  const auto forgotten = oauth2::RefreshTokens::Create(options).value();
  EXPECT_EQ(Crowd(*run(forgotten), 1), (Outcomes{{"UNAUTHENTICATED", 16}}));
  EXPECT_EQ(stored(), last);
  ASSERT_TRUE(forgotten->Install(Secret(server_.login())).ok());
  EXPECT_EQ(Crowd(*run(forgotten), 1), (Outcomes{{"200", 16}}));
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const absl::Status installed = RealServer::Install();
  if (!installed.ok()) {
    std::cout << "NOT RUN: " << installed.message() << std::endl;
    return 75;
  }
  return RUN_ALL_TESTS();
}
