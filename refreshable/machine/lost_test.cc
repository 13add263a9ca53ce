// SPDX-License-Identifier: Apache-2.0
//
// Tests of attempts that are not run, calls that never return, and tokens that
// can never be served again.

#include <cmath>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/freshness.h"
#include "refreshable/machine/machine_test_util.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Answer = MachineDriver::Answer;
using Waiters = Decisions::Waiters;

constexpr absl::Duration kForever = absl::InfiniteDuration();

// ---- An attempt that is not run ----

// The attempt has been queued for longer than `attempt_timeout`, but no timer
// or read has ended it. So it starts.
TEST(RefreshMachineLostTest, E2AnAttemptThatIsRunBeforeTheTimerStarts) {
  MachineDriver d;
  d.Read();
  d.At(S(31));
  EXPECT_TRUE(d.Start().has_value());
  EXPECT_EQ(d.wake_at(), S(61));
}

// The failure of the first attempt still counts.
TEST(RefreshMachineLostTest, E2ARetryThatIsNotRunEndsTheFlight) {
  MachineDriver d;
  d.ReadAndStart();
  d.Fail();
  d.At(S(2)).Wake();
  EXPECT_TRUE(d.submitted());
  d.At(S(32)).Wake();
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_THAT(d.out.failure.cause.message(), HasSubstr("has not run"));
  EXPECT_EQ(d.out.failure.failures, 1);
  EXPECT_EQ(d.machine.failures(), 1);
  EXPECT_EQ(d.machine.last_cause().message(), "down");
}

// The read at 380 s ends the attempt, which has been queued for 30 s. All reads
// are told that the executor did not run the attempt.
TEST(RefreshMachineLostTest, E2ThoseWhoWaitedAreToldOfTheExecutor) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  policy.retry.on_exhausted = OnExhausted::kFatal;
  MachineDriver d(policy);
  d.Hold(S(400));
  d.At(S(200)).Read();
  d.Start();
  d.Fail();
  d.At(S(350)).Read();
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.At(S(370)).Read(), Answer::kWait);
  EXPECT_EQ(d.At(S(380)).Read(), Answer::kFail);
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_THAT(d.out.failure.cause.message(), HasSubstr("has not run"));
  EXPECT_TRUE(d.out.failure.fatal);
}

// After a lost attempt, the timer that refreshes ahead waits for
// `initial_backoff` (2 s).
TEST(RefreshMachineLostTest, F7NoTimerHammersAnExecutorThatRunsNothing) {
  RefreshPolicy policy = ExactPolicy();
  policy.refresh_ahead = true;
  policy.attempt_timeout = S(1);
  MachineDriver d(policy);
  d.Hold(S(3600));
  d.At(S(2400)).Wake();
  EXPECT_TRUE(d.submitted());
  d.At(S(2401)).Wake();
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.wake_at(), S(2403));
  d.At(S(2403)).Wake();
  EXPECT_TRUE(d.submitted());
}

TEST(RefreshMachineLostTest, E2AnInfiniteTimeoutWaitsForTheExecutor) {
  RefreshPolicy policy = ExactPolicy();
  policy.attempt_timeout = kForever;
  MachineDriver d(policy);
  d.Read();
  EXPECT_EQ(d.wake_at(), kForever);
  d.At(absl::Hours(1'000'000)).Wake();
  EXPECT_TRUE(d.Start().has_value());
}

// ---- Calls that never return ----

// Returns a driver at 61 s with two calls that hang, made at 0 s and at 31 s.
MachineDriver Hung(RefreshPolicy policy = ExactPolicy()) {
  MachineDriver d(policy);
  d.ReadAndStart();
  d.At(S(30)).Wake();
  d.At(S(31)).Wake();
  d.Start();
  d.At(S(61)).Wake();
  return d;
}

// Regression test: the source was never called again after two calls had hung.
TEST(RefreshMachineLostTest, B8LostAnswersDoNotEndRefreshing) {
  const std::vector<double> starts =
      MachineDriver().Outage(absl::Hours(24), S(1), absl::Hours(100));
  ASSERT_EQ(starts.size(), 12u);
  for (size_t k = 2; k < starts.size(); ++k) {
    const double wait = 60 * std::exp2(k - 2);
    EXPECT_GE(starts[k], starts[k - 1] + wait) << k;
    EXPECT_LE(starts[k], starts[k - 1] + wait + 60) << k;
  }
}

TEST(RefreshMachineLostTest, F6ACallIsMadeBeyondTheBoundAtItsVeryMoment) {
  for (const absl::Duration early : {Tick(), absl::ZeroDuration()}) {
    MachineDriver d = Hung();
    d.At(S(91) - early);
    d.Read();
    ASSERT_TRUE(d.submitted());
    EXPECT_EQ(d.Start().has_value(), early == absl::ZeroDuration());
  }
}

TEST(RefreshMachineLostTest, F6AnAnswerBeginsTheCountAnew) {
  MachineDriver d = Hung();
  const AttemptId second = d.attempt;
  for (int i = 0; i < 3; ++i) {
    d.At(d.t + absl::Hours(1)).Read();
    d.Read();
    ASSERT_TRUE(d.Start().has_value());
    d.At(d.t + S(30)).Wake();  // In the last turn, abandons the fifth call.
  }
  const absl::Duration fifth = d.t - S(30);
  d.Fail(absl::UnknownError("late"), std::nullopt, second);
  // With no answer, the sixth call would have to wait 480 s after the fifth.
  // The answer makes that 60 s.
  d.At(fifth + S(60)).Wake();
  d.Read();
  EXPECT_TRUE(d.Start().has_value());
}

TEST(RefreshMachineLostTest, F6ResetForgetsCallsThatHaveNotReturned) {
  MachineDriver d = Hung();
  const AttemptId second = d.attempt;
  d.Reset();
  d.At(S(62)).Wake();
  EXPECT_TRUE(d.Start().has_value());
  // The answer of a forgotten call is discarded.
  d.Succeed(Expiry::In(S(3600)), std::nullopt, second);
  EXPECT_THAT(d.events(), ElementsAre("attempt_discarded"));
  EXPECT_TRUE(d.machine.refreshing());
}

// One call timed out, and an Install superseded the other. The error must not
// say that both timed out.
TEST(RefreshMachineLostTest, F6WhatWasOvertakenIsNotSaidToHaveTimedOut) {
  MachineDriver d;
  d.ReadAndStart();
  d.Install(Expiry::In(S(40)));
  d.At(S(40)).Read();
  d.Start();
  d.At(S(70)).Wake();
  d.At(S(71)).Wake();
  EXPECT_FALSE(d.Start().has_value());
  EXPECT_EQ(d.machine.last_cause().message(),
            "the token source was not called: 2 earlier calls have been "
            "abandoned and have not returned");
}

// ---- A token that can never be served again ----

TEST(RefreshMachineLostTest, R12AnExpiredTokenIsLetGoByTheTimer) {
  MachineDriver d;
  d.Hold(S(400));
  d.At(S(200)).Wake();
  EXPECT_EQ(d.wake_at(), S(360));
  // A token that is expired by the wall clock alone is kept, because it may
  // become usable again.
  d.wall_step = absl::Hours(1);
  d.At(S(360) - Tick()).Wake();
  EXPECT_FALSE(d.out.let_go);
  d.At(S(360)).Wake();
  EXPECT_TRUE(d.out.let_go);
  EXPECT_EQ(d.wake_at(), kForever);
  d.Wake();
  EXPECT_FALSE(d.out.let_go) << "once";
  // The token can still be invalidated.
  EXPECT_TRUE(d.Invalidate());
  EXPECT_EQ(d.ReadAndStart()->reason, RefreshReason::kRejected);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
