// SPDX-License-Identifier: Apache-2.0
//
// Tests of answers, deadlines and tasks that come at the same moment, or late.

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/lifecycle_test_util.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::testing::ElementsAre;

using TimingTest = ScenarioTest;

TEST_F(TimingTest, R7AnAnswerBeforeTheDeadlinesTimerAtItsMomentCounts) {
  const auto token = Make();
  token->GetAsync(absl::Seconds(1), Note());
  executor_.RunUntilIdle();
  executor_.Suspend(absl::Seconds(1));
  source_.Release(0, "t1", absl::Hours(1));
  executor_.AdvanceBy(absl::Minutes(1));
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
}

TEST_F(TimingTest, R7AnAnswerAfterTheDeadlinesTimerAtItsMomentDoesNot) {
  const auto token = Make();
  const WaiterId id = token->GetAsync(absl::Seconds(1), Note());
  executor_.RunUntilIdle();
  executor_.Suspend(absl::Seconds(1));
  // Runs only the timer of the deadline.
  ASSERT_TRUE(executor_.RunNext());
  source_.Release(0, "t1", absl::Hours(1));
  executor_.AdvanceBy(absl::Minutes(1));
  EXPECT_THAT(outcomes_,
              ElementsAre(FailsWith(absl::StatusCode::kDeadlineExceeded)));
  EXPECT_FALSE(token->Cancel(id));
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));
}

TEST_F(TimingTest, R7ADeadlinePassesThoughTheAttemptIsStillQueued) {
  const auto token = Make();
  token->GetAsync(absl::Seconds(1), Note());
  // Runs the timer of the deadline. The attempt stays queued.
  ASSERT_TRUE(executor_.RunPending(1));
  EXPECT_EQ(source_.call_count(), 0u);
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_,
              ElementsAre(FailsWith(absl::StatusCode::kDeadlineExceeded)));
  // The attempt is made all the same, after the deadline.
  EXPECT_THAT(source_.start_times(), ElementsAre(absl::Seconds(1)));
  source_.Release(0, "t1", absl::Hours(1));
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));
}

// Each token is usable for 3560 s.
TEST_F(TimingTest, R11TryGetGoesByBothClocksThoughNoTimerHasRun) {
  const auto token = Make();
  const auto install = [&](std::string bytes) {
    ASSERT_TRUE(token
                    ->Install(Credential<std::string>(
                        std::move(bytes), Expiry::In(absl::Hours(1))))
                    .ok());
  };
  install("by_boot");
  executor_.StepWall(-absl::Hours(2));
  executor_.Suspend(absl::Seconds(3560) - absl::Nanoseconds(1));
  EXPECT_THAT(token->TryGet(), HoldsToken("by_boot"));
  executor_.Suspend(absl::Nanoseconds(1));
  EXPECT_FALSE(token->TryGet().ok());
  install("by_wall");
  executor_.StepWall(absl::Seconds(3560));
  EXPECT_FALSE(token->TryGet().ok());
  executor_.StepWall(-absl::Nanoseconds(1));
  EXPECT_THAT(token->TryGet(), HoldsToken("by_wall"));
}

TEST_F(TimingTest, R11TryGetReturnsADegradedTokenUntilItEnds) {
  RefreshPolicy policy;
  policy.max_stale_on_error = absl::Minutes(5);
  const auto token = Make(policy);
  ASSERT_TRUE(
      token->Install(Credential<std::string>("t1", Expiry::In(absl::Hours(1))))
          .ok());
  source_.Answer(absl::NotFoundError("404"));
  executor_.Suspend(absl::Seconds(3570));
  EXPECT_FALSE(token->TryGet().ok());
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_TRUE(token->TryGet()->degraded());
  executor_.StepWall(-absl::Hours(1));
  executor_.Suspend(absl::Seconds(330) - absl::Nanoseconds(1));
  EXPECT_TRUE(token->TryGet().ok());
  executor_.Suspend(absl::Nanoseconds(1));
  EXPECT_FALSE(token->TryGet().ok());
}

// An executor whose timers cannot be cancelled.
class DeafExecutor final : public lifecycle_testing::ProbeExecutor {
 public:
  using ProbeExecutor::ProbeExecutor;
  bool Cancel(TimerId) override { return false; }
};

TEST_F(TimingTest, E2ATimerThatRunsAfterItsCancellationDoesNothing) {
  DeafExecutor deaf(&executor_);
  source_.Answer(absl::UnavailableError("502"));
  auto token = lifecycle_testing::Make(&deaf, source_.Share());
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();  // The retry is due at 2 s.
  ASSERT_TRUE(
      token->Install(Credential<std::string>("t1", Expiry::In(absl::Hours(1))))
          .ok());
  AdvanceTo(absl::Minutes(1));
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_EQ(token->stats().attempts_started, 1);
  EXPECT_EQ(executor_.pending(), 1u);  // The Refreshable's timer.
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  token.reset();
  AdvanceTo(absl::Hours(2));
}

// Between two attempts, reads fail at once. This ends when the next attempt is
// due, or with `Reset` or `Install`.
TEST_F(TimingTest, B5ReadsBetweenAttemptsFailNoLongerThanTheyMust) {
  enum class End { kMoment, kReset, kInstall };
  for (const End end : {End::kMoment, End::kReset, End::kInstall}) {
    int calls = 0;
    lifecycle_testing::Strings::Options options;
    options.policy.retry.max_retries = 0;
    options.policy.min_interval = absl::ZeroDuration();
    const auto token = lifecycle_testing::Make(
        &executor_, lifecycle_testing::MakeSource([&](const auto&, auto done) {
          ++calls;
          done(absl::UnavailableError("down"));
        }),
        options);
    absl::Status status;
    for (int i = 0; i < 3; ++i) status = token->Get().status();
    EXPECT_EQ(calls, 1);
    const auto error = GetRefreshError(status);
    ASSERT_TRUE(error.has_value()) << status;
    executor_.AdvanceTo(error->next_attempt - absl::Nanoseconds(1));
    EXPECT_EQ(token->Get().status(), status);
    EXPECT_EQ(calls, 1);
    if (end == End::kInstall) {
      ASSERT_TRUE(token->Install(lifecycle_testing::Hour("t1")).ok());
      EXPECT_THAT(token->Get(), HoldsToken("t1"));
      continue;
    }
    if (end == End::kMoment) executor_.AdvanceTo(error->next_attempt);
    if (end == End::kReset) token->Reset();
    EXPECT_FALSE(token->Get().ok());
    EXPECT_EQ(calls, 2);
  }
}

}  // namespace
}  // namespace refreshable
