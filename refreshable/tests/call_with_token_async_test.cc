// SPDX-License-Identifier: Apache-2.0

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable {
namespace {

using ::refreshable_testing::ScriptedSource;
using ::testing::ElementsAre;

using TokenLease = Lease<std::string>;

struct Response {
  int status;
  std::string body;
};

bool Is401(const Response& response) { return response.status == 401; }

class CallWithTokenAsyncTest : public testing::Test {
 protected:
  using Token = Refreshable<std::string>;
  using Done = absl::AnyInvocable<void(Response)>;

  CallWithTokenAsyncTest() {
    RefreshPolicy policy;
    policy.jitter = 0;
    policy.min_interval = absl::ZeroDuration();
    token_ = *Token::Create(source_.Share(), {&executor_, policy});
  }

  // Records the call. Returns the response of a server that rejects only the
  // tokens in `rejected`.
  Response Serve(const TokenLease& lease, std::vector<std::string> rejected) {
    calls_.push_back(lease.token());
    for (const std::string& token : rejected) {
      if (lease.token() == token) return {401, "no to " + token};
    }
    return {200, "yes to " + lease.token()};
  }

  // Starts a CallWithTokenAsync whose server answers only when the test calls
  // one of `dones_`.
  void Start(Token::ReadOptions options = {}) {
    CallWithTokenAsync<Response>(
        *token_, options,
        [this](TokenLease lease, Done done) {
          calls_.push_back(lease.token());
          dones_.push_back(std::move(done));
        },
        Is401,
        [this](absl::StatusOr<Response> response) {
          outcomes_.push_back(std::move(response));
        });
  }
  // Starts a CallWithTokenAsync, and runs it until the server must answer.
  void StartAndRun(Token::ReadOptions options = {}) {
    Start(options);
    executor_.RunUntilIdle();
    ASSERT_EQ(dones_.size(), 1u);
  }
  std::string Outcome(size_t index) const {
    if (index >= outcomes_.size()) return "none";
    const auto& outcome = outcomes_[index];
    return outcome.ok() ? outcome->body : outcome.status().ToString();
  }

  ManualExecutor executor_;
  ScriptedSource<std::string> source_{&executor_.clock()};
  std::vector<std::string> calls_;
  std::vector<Done> dones_;
  std::vector<absl::StatusOr<Response>> outcomes_;
  std::shared_ptr<Token> token_;
};

TEST_F(CallWithTokenAsyncTest, A4Accepted) {
  source_.Answer("t1", absl::Hours(1));
  Start();
  EXPECT_TRUE(calls_.empty()) << "never inside the call";
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 1u);
  EXPECT_TRUE(outcomes_.empty());
  dones_[0]({200, "yes"});
  EXPECT_EQ(Outcome(0), "yes");
  executor_.RunUntilIdle();
  EXPECT_EQ(outcomes_.size(), 1u);
}

TEST_F(CallWithTokenAsyncTest, A4RejectedIsReplayedOnce) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  StartAndRun();
  dones_[0]({401, "no"});
  EXPECT_TRUE(outcomes_.empty());
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 2u);
  dones_[1]({401, "no again"});
  executor_.RunUntilIdle();
  EXPECT_THAT(calls_, ElementsAre("t1", "t2"));
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "no again");
}

TEST_F(CallWithTokenAsyncTest, A4RefreshFailsSoTheFirstAnswerCounts) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer(absl::PermissionDeniedError("no more"));
  StartAndRun();
  dones_[0]({401, "no"});
  executor_.RunUntilIdle();
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "no");
}

TEST_F(CallWithTokenAsyncTest, A4NoTimeForTheRefreshSoTheFirstAnswerCounts) {
  source_.Answer("t1", absl::Hours(1));
  Token::ReadOptions options;
  options.timeout = absl::Seconds(3);
  StartAndRun(options);
  dones_[0]({401, "no"});
  executor_.AdvanceBy(absl::Seconds(3) - absl::Nanoseconds(1));
  EXPECT_EQ(outcomes_.size(), 0u);
  executor_.AdvanceBy(absl::Nanoseconds(1));
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "no");
}

TEST_F(CallWithTokenAsyncTest, A4OneDeadlineAndTheRefreshsOwnStatus) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  source_.Answer(absl::InvalidArgumentError("invalid_client"));
  std::vector<absl::Duration> told;
  std::vector<absl::Status> refreshes;
  const auto start = [&](absl::Duration timeout) {
    Token::ReadOptions options;
    options.timeout = timeout;
    CallWithTokenAsync<Response>(
        *token_, options,
        [&](TokenLease lease, absl::Duration left, Done done) {
          calls_.push_back(lease.token());
          told.push_back(left);
          executor_.AdvanceBy(absl::Seconds(3));
          done({401, "no to " + lease.token()});
        },
        Is401,
        [&](absl::StatusOr<Response> response, absl::Status refresh) {
          outcomes_.push_back(std::move(response));
          refreshes.push_back(std::move(refresh));
        });
    executor_.RunUntilIdle();
  };
  start(absl::Seconds(4));
  EXPECT_EQ(Outcome(0), "no to t2");
  EXPECT_THAT(told, ElementsAre(absl::Seconds(4), absl::Seconds(1)));
  EXPECT_TRUE(refreshes.at(0).ok());
  EXPECT_TRUE(token_->health().rejected) << "the replay's rejection";
  executor_.AdvanceBy(absl::Minutes(1));
  start(absl::Seconds(4));
  EXPECT_EQ(Outcome(1), "no to t2");
  EXPECT_EQ(refreshes.at(1).code(), absl::StatusCode::kInvalidArgument);
  // The server answers after the timeout. A refresh is started, but the call is
  // not replayed.
  executor_.AdvanceBy(absl::Minutes(1));
  start(absl::Seconds(2));
  EXPECT_EQ(Outcome(2), "no to t2");
  EXPECT_EQ(source_.call_count(), 4u);
}

TEST_F(CallWithTokenAsyncTest, A4NothingLeftIsNotReplayed) {
  source_.Answer("t1", absl::Hours(1));
  Token::ReadOptions options;
  options.timeout = absl::Seconds(2);
  StartAndRun(options);
  EXPECT_TRUE(token_->Install({"t2", Expiry::In(absl::Hours(1))}).ok());
  executor_.AdvanceBy(absl::Seconds(2));
  dones_[0]({401, "no"});
  executor_.RunUntilIdle();
  EXPECT_EQ(Outcome(0), "no");
  EXPECT_THAT(calls_, ElementsAre("t1"));
}

TEST_F(CallWithTokenAsyncTest, A4NoTokenAtAllIsAnError) {
  source_.Answer(absl::PermissionDeniedError("revoked"));
  Start();
  executor_.RunUntilIdle();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(dones_.empty());
}

TEST_F(CallWithTokenAsyncTest, A4DoneTwiceCallsBackOnce) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  StartAndRun();
  dones_[0]({401, "no"});
  dones_[0]({200, "changed my mind"});
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 2u);
  dones_[1]({200, "yes"});
  dones_[1]({200, "yes, yes"});
  dones_[0]({200, "still here"});
  executor_.RunUntilIdle();
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "yes");
}

TEST_F(CallWithTokenAsyncTest, A4DoneInsideTheCall) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  int called_back = 0;
  CallWithTokenAsync<Response>(
      *token_, {},
      [&](TokenLease lease, Done done) { done(Serve(lease, {"t1"})); }, Is401,
      [&](absl::StatusOr<Response> response) {
        ++called_back;
        EXPECT_EQ(response->body, "yes to t2");
      });
  executor_.RunUntilIdle();
  EXPECT_EQ(called_back, 1);
  EXPECT_THAT(calls_, ElementsAre("t1", "t2"));
}

constexpr char kNoAnswer[] =
    "INTERNAL: the call with the token ended without an answer";

TEST_F(CallWithTokenAsyncTest, A4DoneDroppedIsAnError) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  StartAndRun();
  EXPECT_TRUE(outcomes_.empty());
  dones_.clear();
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), kNoAnswer);
  // Now the `done` of the replay is dropped.
  StartAndRun();
  dones_[0]({401, "no"});
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 2u);
  dones_.clear();
  EXPECT_EQ(outcomes_.size(), 2u);
  EXPECT_EQ(Outcome(1), kNoAnswer);
}

TEST_F(CallWithTokenAsyncTest, A4AnswersThatCannotBeCopied) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer(absl::PermissionDeniedError("no more"));
  using Answer = std::unique_ptr<Response>;
  Answer answer;
  CallWithTokenAsync<Answer>(
      *token_, {},
      [&](TokenLease lease, absl::AnyInvocable<void(Answer)> done) {
        done(std::make_unique<Response>(Serve(lease, {"t1"})));
      },
      [](const Answer& answer) { return Is401(*answer); },
      [&](absl::StatusOr<Answer> result) { answer = *std::move(result); });
  executor_.RunUntilIdle();
  ASSERT_NE(answer, nullptr);
  EXPECT_EQ(answer->body, "no to t1");
}

TEST_F(CallWithTokenAsyncTest, A4AnswersThatAreStatusesAreNotWrapped) {
  source_.Answer("t1", absl::Hours(1));
  std::vector<absl::Status> statuses;
  for (const absl::Status& said :
       {absl::OkStatus(), absl::NotFoundError("own")}) {
    CallWithTokenAsync<absl::Status>(
        *token_, {},
        [said](TokenLease, absl::AnyInvocable<void(absl::Status)> done) {
          done(said);
        },
        absl::IsUnauthenticated,
        [&](absl::Status status) { statuses.push_back(std::move(status)); });
    executor_.RunUntilIdle();
  }
  EXPECT_THAT(statuses,
              ElementsAre(absl::OkStatus(), absl::NotFoundError("own")));
}

TEST_F(CallWithTokenAsyncTest, A4ManyRejectedTogetherCauseOneRefresh) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  constexpr int kCalls = 16;
  for (int i = 0; i < kCalls; ++i) Start();
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), size_t{kCalls});
  for (int i = 0; i < kCalls; ++i) dones_[i]({401, "no"});
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), size_t{2 * kCalls});
  for (int i = 0; i < kCalls; ++i) dones_[kCalls + i]({200, "yes"});
  EXPECT_EQ(outcomes_.size(), size_t{kCalls});
  EXPECT_EQ(source_.call_count(), 2u);
}

// ---- The Refreshable is destroyed before the outcome ----

TEST_F(CallWithTokenAsyncTest, E1DestroyedDuringTheFirstReadIsCancelled) {
  Start();
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_TRUE(outcomes_.empty());
  token_ = nullptr;  // The pending call does not keep the Refreshable alive.
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].status().code(), absl::StatusCode::kCancelled);
  executor_.RunUntilIdle();
  EXPECT_EQ(outcomes_.size(), 1u);
}

TEST_F(CallWithTokenAsyncTest, E1DestroyedDuringTheCall) {
  source_.Answer("t1", absl::Hours(1));
  Start();
  Start();
  Start();
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 3u);
  token_ = nullptr;
  dones_[0]({200, "yes"});
  EXPECT_EQ(Outcome(0), "yes");
  dones_[1]({401, "no"});
  EXPECT_EQ(Outcome(1), "no") << "a first answer is the last one";
  dones_.clear();
  EXPECT_EQ(Outcome(2), kNoAnswer);
}

TEST_F(CallWithTokenAsyncTest, E1DestroyedDuringTheSecondRead) {
  source_.Answer("t1", absl::Hours(1));
  StartAndRun();
  dones_[0]({401, "no"});
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 2u);
  token_ = nullptr;
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "no");
}

TEST_F(CallWithTokenAsyncTest, E1DestroyedInsideTheCallAndTheCallback) {
  source_.Answer("t1", absl::Hours(1));
  int called_back = 0;
  CallWithTokenAsync<Response>(
      *token_, {},
      [&](TokenLease lease, Done done) {
        token_ = nullptr;
        done(Serve(lease, {"t1"}));
      },
      Is401,
      [&](absl::StatusOr<Response> response) {
        ++called_back;
        EXPECT_EQ(response->body, "no to t1");
      });
  executor_.RunUntilIdle();
  EXPECT_EQ(called_back, 1);
}

TEST_F(CallWithTokenAsyncTest, E1DestroyedInsideTheCallback) {
  source_.Answer("t1", absl::Hours(1));
  int called_back = 0;
  CallWithTokenAsync<Response>(
      *token_, {}, [&](TokenLease lease, Done done) { done(Serve(lease, {})); },
      Is401,
      [&](absl::StatusOr<Response> response) {
        ++called_back;
        token_ = nullptr;
        EXPECT_EQ(response->body, "yes to t1");
      });
  executor_.RunUntilIdle();
  EXPECT_EQ(called_back, 1);
  EXPECT_EQ(token_, nullptr);
}

// The executor drops the task that delivers the token, so the call is made on
// the dropping thread.
TEST_F(CallWithTokenAsyncTest, E2CallbackSurvivesADroppedTask) {
  source_.Answer("t1", absl::Hours(1));
  Start();
  while (executor_.pending() > 0) {
    if (source_.call_count() == 0) {
      executor_.RunNext();
    } else {
      executor_.DropPending(0);
    }
  }
  ASSERT_EQ(dones_.size(), 1u);
  dones_[0]({200, "yes"});
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(Outcome(0), "yes");
}

#ifdef ABSL_HAVE_EXCEPTIONS
TEST_F(CallWithTokenAsyncTest, A4IsRejectedThrowsCallsBackOnce) {
  source_.Answer("t1", absl::Hours(1));
  int called_back = 0;
  CallWithTokenAsync<Response>(
      *token_, {},
      [&](TokenLease, Done done) { dones_.push_back(std::move(done)); },
      [](const Response&) -> bool { throw std::runtime_error("is_rejected"); },
      [&](absl::StatusOr<Response> response) {
        ++called_back;
        EXPECT_EQ(response.status().ToString(), kNoAnswer);
      });
  executor_.RunUntilIdle();
  ASSERT_EQ(dones_.size(), 1u);
  EXPECT_THROW(dones_[0]({200, "yes"}), std::runtime_error);
  EXPECT_EQ(called_back, 1);
  dones_.clear();
  EXPECT_EQ(called_back, 1);
}

TEST_F(CallWithTokenAsyncTest, A4CallThrowsCallsBackOnce) {
  source_.Answer("t1", absl::Hours(1));
  int called_back = 0;
  CallWithTokenAsync<Response>(
      *token_, {}, [](TokenLease, Done) { throw std::runtime_error("call"); },
      Is401,
      [&](absl::StatusOr<Response> response) {
        ++called_back;
        EXPECT_EQ(response.status().ToString(), kNoAnswer);
      });
  EXPECT_THROW(executor_.RunUntilIdle(), std::runtime_error);
  EXPECT_EQ(called_back, 1);
  EXPECT_EQ(token_->health().waiters, 0);
}
#endif

}  // namespace
}  // namespace refreshable
