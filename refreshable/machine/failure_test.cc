// SPDX-License-Identifier: Apache-2.0
//
// Tests of RefreshMachine with a source that fails.

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/machine/machine_test_util.h"
#include "refreshable/machine/refresh_machine.h"

namespace refreshable {
namespace internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Answer = RefreshMachine::ReadAnswer;
using Waiters = Decisions::Waiters;

const absl::Duration kForever = absl::InfiniteDuration();

RefreshPolicy Fatal() {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.on_exhausted = OnExhausted::kFatal;
  return policy;
}

// Continues `begin` at intervals of `step` seconds up to `end`.
std::vector<double> Then(std::vector<double> begin, int step, int end) {
  for (double at = begin.back() + step; at <= end; at += step) {
    begin.push_back(at);
  }
  return begin;
}

// ---- The schedule of a whole outage ----

TEST(RefreshMachineFailureTest, B1AnHourOfFailuresWithAReadEverySecond) {
  const std::vector<double> expected =
      Then({0, 2, 6, 14, 30, 62, 122}, 60, 3600);
  EXPECT_EQ(MachineDriver().Outage(S(3600)), expected);
  EXPECT_EQ(expected.size(), 64u);
  EXPECT_EQ(expected.back(), 3542);
  // Other timeouts and intervals of the reads change nothing.
  EXPECT_EQ(MachineDriver().Outage(S(3600), S(1), S(0), Ms(500)), expected);
  EXPECT_EQ(MachineDriver().Outage(S(3600), Ms(100)), expected);
}

TEST(RefreshMachineFailureTest, B1AFlightRetriesWithoutAnyFurtherRead) {
  EXPECT_THAT(MachineDriver().Outage(S(3600), S(5000)),
              ElementsAre(0, 2, 6, 14, 30, 62, 122));
}

TEST(RefreshMachineFailureTest, B1AWaitCountsFromTheStartOfASlowAttempt) {
  EXPECT_THAT(MachineDriver().Outage(S(128), S(1), S(5)),
              ElementsAre(0, 6, 12, 20, 36, 68, 128));
}

TEST(RefreshMachineFailureTest, B1WithASourceThatHangs) {
  // No call returns. By F6, the third, fourth and fifth call come at least 60,
  // 120 and 240 s after the call before.
  EXPECT_THAT(MachineDriver().Outage(S(500), S(1), S(100000)),
              ElementsAre(0, 31, 118, 238, 478));
}

TEST(RefreshMachineFailureTest, B1OtherConstants) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.multiplier = 1.5;
  policy.retry.initial_backoff = S(4);
  policy.retry.max_backoff = S(12);
  policy.retry.probe_interval = S(100);
  EXPECT_EQ(MachineDriver(policy).Outage(S(600)),
            Then({0, 4, 10, 19, 31, 43, 55}, 100, 600));
  policy.retry.multiplier = 1;
  EXPECT_EQ(MachineDriver(policy).Outage(S(600)),
            Then({0, 4, 8, 12, 16, 20, 24}, 100, 600));
  policy.retry.initial_backoff = Ms(1);  // The minimum interval is longer.
  EXPECT_EQ(MachineDriver(policy).Outage(S(600), Ms(100)),
            Then({0, 1, 2, 3, 4, 5, 6}, 100, 600));
}

TEST(RefreshMachineFailureTest, B1NoCountOverflowsTheWait) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 3000;
  policy.retry.max_consecutive_failures = 3001;
  MachineDriver d(policy);
  d.FailTimes(3000);
  EXPECT_EQ(d.next_start(), d.t + S(60));
}

TEST(RefreshMachineFailureTest, B1OneFlightsDecisionsStepByStep) {
  MachineDriver d;
  EXPECT_EQ(d.ReadAndStart()->number, 1);
  d.At(Ms(300)).Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.fail_deadlines_before(), S(2));
  EXPECT_EQ(d.out.fail_retries_below, 1);
  EXPECT_EQ(d.out.failure.cause.message(), "down");
  EXPECT_EQ(d.out.failure.failures, 1);
  EXPECT_EQ(d.told_next(), S(2));
  EXPECT_THAT(d.events(), ElementsAre("attempt_failed", "backoff"));
  EXPECT_EQ(d.event(EventKind::kAttemptFailed).attempt, 1);
  EXPECT_EQ(d.event(EventKind::kAttemptFailed).failures, 1);
  EXPECT_EQ(d.event(EventKind::kAttemptFailed).status.message(), "down");
  EXPECT_EQ(d.event(EventKind::kBackoff).delay, Ms(1700));
  EXPECT_EQ(d.wake_at(), S(2));
  d.At(S(2) - Tick()).Wake();
  EXPECT_FALSE(d.submitted());
  d.At(S(2)).Wake();
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.Start()->number, 2);
  EXPECT_THAT(d.events(), ElementsAre("attempt_started"));
  EXPECT_EQ(d.event(EventKind::kAttemptStarted).attempt, 2);
  EXPECT_EQ(d.event(EventKind::kAttemptStarted).reason, RefreshReason::kFirst);
}

// ---- By kind of failure ----

TEST(RefreshMachineFailureTest, B2PermanentEndsTheFlightAndTheWaitHolds) {
  MachineDriver d;
  d.ReadAndStart();
  d.Fail(absl::PermissionDeniedError("invalid_client"));
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(d.out.failure.failures, 1);
  EXPECT_FALSE(d.out.failure.fatal);
  EXPECT_EQ(d.told_next(), S(2));
  EXPECT_FALSE(d.machine.refreshing());
  EXPECT_EQ(d.wake_at(), kForever);
  EXPECT_EQ(d.At(S(2) - Tick()).Read(), Answer::kFail);
  EXPECT_EQ(d.At(S(2)).Read(), Answer::kWait);
  EXPECT_TRUE(d.submitted());
}

TEST(RefreshMachineFailureTest, B2ThrottledWaitsAsLongAsTheServerAsked) {
  const absl::Status busy = absl::ResourceExhaustedError("busy");
  const struct {
    absl::Duration asked, next;
  } cases[] = {
      {S(10), S(10)},     {S(300), S(300)},     {S(301), S(300)},
      {kForever, S(300)}, {Ms(1500), Ms(1500)}, {S(1), S(1)},
      {S(0), S(2)},       {-S(9), S(2)},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.asked);
    MachineDriver d;
    d.ReadAndStart();
    d.Fail(busy, c.asked);
    EXPECT_EQ(d.wake_at(), c.next);
    EXPECT_EQ(d.told_next(), c.next);
    d.At(c.next).Wake();
    d.Start();
    // The second answer asks for no wait, so the backoff follows.
    d.Fail(busy);
    EXPECT_EQ(d.wake_at(), c.next + S(4));
  }
  // The wait counts from the answer.
  MachineDriver d;
  d.ReadAndStart();
  d.At(S(5)).Fail(busy, S(10));
  EXPECT_EQ(d.wake_at(), S(15));
}

TEST(RefreshMachineFailureTest, B2AThrottledHour) {
  EXPECT_EQ(MachineDriver().Outage(S(3600), S(1), S(0), kForever, S(1000)),
            Then({0}, 300, 3600));
  // The server asks for a wait of 20 s. From the fifth failure on, this
  // shortens the wait, because the backoff is longer. By B2, such failures do
  // not count towards exhaustion.
  EXPECT_EQ(MachineDriver().Outage(S(3600), S(1), S(0), kForever, S(20)),
            Then({0}, 20, 3600));
}

// ---- In the background ----

TEST(RefreshMachineFailureTest, B4AFailureTakesNoUsableTokenAway) {
  MachineDriver d;
  d.Hold(S(3600));
  d.At(S(2400)).Outage(S(3559));
  EXPECT_EQ(d.machine.failures(), 20);
  EXPECT_FALSE(d.machine.exhausted(d.now()));
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_FALSE(d.out.withdraw);
  EXPECT_EQ(d.machine.generation(), Generation(1));
}

TEST(RefreshMachineFailureTest, B5BetweenFlightsEveryReadEndsAtOnce) {
  MachineDriver d;
  d.ReadAndStart();
  d.Fail(absl::InternalError("cause"));
  d.At(S(1));
  for (const absl::Duration deadline : {S(1), S(100), kForever}) {
    EXPECT_EQ(d.Read(deadline, 100), Answer::kFail);
    EXPECT_FALSE(d.submitted());
    EXPECT_EQ(d.out.waiters, Waiters::kKeep);
    EXPECT_EQ(d.out.failure.cause, absl::InternalError("cause"));
    EXPECT_EQ(d.out.failure.failures, 1);
    EXPECT_EQ(d.told_next(), S(2));
  }
}

TEST(RefreshMachineFailureTest, B6CountsAcrossFlightsUntilASuccess) {
  MachineDriver d;
  d.FailTimes(4);
  EXPECT_EQ(d.machine.failures(), 4);
  EXPECT_EQ(d.next_start(), d.t + S(16));
  d.At(d.next_start()).Hold(S(2));
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_TRUE(d.machine.last_cause().ok());
  d.At(d.t + S(10)).FailTimes(1);
  EXPECT_EQ(d.next_start(), d.t + S(2));
}

// ---- Exhausted ----

TEST(RefreshMachineFailureTest, B7SelfHealProbesOnceAnInterval) {
  MachineDriver d;
  d.Outage(S(121));
  EXPECT_FALSE(d.machine.exhausted(d.now()));
  d.At(S(122)).Wake();
  d.Start();
  d.At(S(125)).Fail(absl::UnavailableError("502"));
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_THAT(d.events(),
              ElementsAre("attempt_failed", "backoff", "exhausted"));
  EXPECT_EQ(d.event(EventKind::kExhausted).status.message(), "502");
  EXPECT_TRUE(d.machine.exhausted(d.now()));
  EXPECT_FALSE(d.machine.fatal(d.now()));
  EXPECT_EQ(d.told_next(), S(182));
  EXPECT_EQ(d.At(S(182) - Tick()).Read(), Answer::kFail);
  EXPECT_FALSE(d.out.failure.fatal);
  EXPECT_EQ(d.At(S(182)).Read(kForever, 6), Answer::kWait);
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.Read(), Answer::kWait);
  EXPECT_EQ(d.Start()->reason, RefreshReason::kProbe);
  EXPECT_EQ(d.Read(), Answer::kWait);
  d.At(S(183)).Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kFail);  // A probe is not retried.
  EXPECT_THAT(d.events(), ElementsAre("attempt_failed", "backoff"));
  EXPECT_EQ(d.At(S(242) - Tick()).Read(), Answer::kFail);
  EXPECT_EQ(d.At(S(242)).Read(), Answer::kWait);
  d.Start();
  d.Succeed(Expiry::In(S(100)));
  EXPECT_THAT(d.events(),
              ElementsAre("token_published", "healed", "state_changed"));
  EXPECT_EQ(d.machine.failures(), 0);
  // After the success, the next failures start a new schedule.
  d.At(S(400)).ReadAndStart();
  d.Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
}

TEST(RefreshMachineFailureTest, B7TheTokenThatLivesHoldsExhaustionOff) {
  MachineDriver d;
  d.Hold(S(3600));
  d.t = S(2400);
  // An attempt starts every 60 s: by the cooldown, then by the backoff, and
  // after the expiry by the probe interval.
  EXPECT_EQ(d.Outage(S(3800)), Then({2400}, 60, 3800));

  MachineDriver fatal(Fatal());
  fatal.Hold(S(3600));
  fatal.t = S(2400);
  EXPECT_EQ(fatal.Outage(S(9999)), Then({2400}, 60, 3559));
  EXPECT_TRUE(fatal.machine.fatal(fatal.now()));

  MachineDriver told(Fatal());
  told.Hold(S(3600));
  told.At(S(2400)).Outage(S(3560) - Tick());
  EXPECT_EQ(told.wake_at(), S(3560));
  EXPECT_LT(told.next_start(), kForever);
  told.At(S(3560)).Wake();
  EXPECT_THAT(told.events(), ElementsAre("state_changed", "exhausted"));
  EXPECT_EQ(told.next_start(), kForever);
}

TEST(RefreshMachineFailureTest, B7FatalAttemptsNothingUntilReset) {
  MachineDriver d(Fatal());
  EXPECT_THAT(d.Outage(S(122)), ElementsAre(0, 2, 6, 14, 30, 62, 122));
  EXPECT_THAT(d.Outage(S(99999), S(10)), IsEmpty());
  EXPECT_EQ(d.Read(), Answer::kFail);
  EXPECT_THAT(d.events(), IsEmpty());  // "exhausted" was reported before.
  EXPECT_TRUE(d.out.failure.fatal);
  EXPECT_EQ(d.out.failure.next_attempt_at, BootTime::InfiniteFuture());
  EXPECT_EQ(d.out.failure.failures, 7);
  EXPECT_EQ(d.wake_at(), kForever);
  EXPECT_EQ(d.next_start(), kForever);
  d.Reset();
  EXPECT_FALSE(d.machine.fatal(d.now()));
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_EQ(d.ReadAndStart()->reason, RefreshReason::kFirst);
  d.Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.wake_at(), d.t + S(2));
}

TEST(RefreshMachineFailureTest, B7AnAnswerThatWasGivenUpHealsEvenAFatalOne) {
  RefreshPolicy policy = Fatal();
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  MachineDriver d(policy);
  d.ReadAndStart();
  // The attempt is abandoned at 30 s. Its call returns a token at 40 s.
  d.At(S(30)).Wake();
  EXPECT_TRUE(d.machine.fatal(d.now()));
  d.At(S(40)).Succeed(Expiry::In(S(100)));
  EXPECT_TRUE(d.out.publish);
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_EQ(d.machine.failures(), 0);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
