// SPDX-License-Identifier: Apache-2.0

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

TEST(RefreshMachineInvalidationTest, A1ActsOnceAndOnlyOnTheCurrentGeneration) {
  MachineDriver d;
  EXPECT_FALSE(d.Invalidate());  // There is no token.
  EXPECT_FALSE(d.Invalidate(Generation(1)));
  d.Hold(S(3600));
  d.At(S(100)).Install(Expiry::In(S(3600)));
  EXPECT_FALSE(d.Invalidate(Generation(1)));
  EXPECT_FALSE(d.Invalidate(Generation(3)));
  EXPECT_FALSE(d.out.withdraw);
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_TRUE(d.Invalidate(Generation(2)));
  EXPECT_TRUE(d.out.withdraw);
  EXPECT_THAT(d.events(), ElementsAre("token_invalidated", "state_changed"));
  EXPECT_FALSE(d.submitted());  // The next read starts the refresh.
  EXPECT_FALSE(d.machine.refreshing());
  EXPECT_FALSE(d.machine.servable(d.now()));
  EXPECT_EQ(d.check_at(), d.t);
  EXPECT_EQ(d.freshness(), Freshness::kExpired);
  EXPECT_FALSE(d.Invalidate(Generation(2)));
  EXPECT_THAT(d.events(), IsEmpty());
}

TEST(RefreshMachineInvalidationTest, A3TheAttemptIsToldWhatWasRejected) {
  MachineDriver d;
  EXPECT_EQ(d.ReadAndStart()->rejected, Generation());
  d.Succeed(Expiry::In(S(3600)));
  d.At(S(100)).Invalidate();
  const auto start = d.ReadAndStart();
  EXPECT_EQ(start->reason, RefreshReason::kRejected);
  EXPECT_EQ(start->rejected, Generation(1));
  EXPECT_EQ(start->number, 1);
  EXPECT_EQ(d.event(EventKind::kAttemptStarted).reason,
            RefreshReason::kRejected);
  d.Fail();
  d.At(S(102)).Wake();
  // Every attempt is told of the generation until one succeeds.
  EXPECT_EQ(d.Start()->rejected, Generation(1));
  d.Succeed(Expiry::In(S(3600)));
  d.At(S(9999));
  EXPECT_EQ(d.ReadAndStart()->rejected, Generation());
}

TEST(RefreshMachineInvalidationTest, F4OneAttemptIsExemptFromTheInterval) {
  RefreshPolicy policy = ExactPolicy();
  policy.young_token_age = absl::ZeroDuration();
  MachineDriver d(policy);
  d.Hold(S(3600));
  d.At(Ms(100)).Invalidate();
  EXPECT_EQ(d.Read(), Answer::kWait);
  EXPECT_TRUE(d.submitted());
  d.At(Ms(200)).Start();
  d.Succeed(Expiry::In(S(1)));
  EXPECT_EQ(d.At(S(1)).Read(), Answer::kWait);
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.wake_at(), Ms(1200));
}

// ---- A2: an invalidation in each phase of a flight ----

TEST(RefreshMachineInvalidationTest, A2AQueuedAttemptServesAsTheNewOne) {
  MachineDriver d = StaleAndQueued();
  const AttemptId queued = d.attempt;
  EXPECT_TRUE(d.Invalidate());
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.machine.queued(), queued);
  const auto start = d.Start();
  EXPECT_EQ(start->rejected, Generation(1));
  d.Succeed(Expiry::In(S(1000)));
  EXPECT_TRUE(d.out.publish);
}

TEST(RefreshMachineInvalidationTest, A2AFlightBetweenAttemptsKeepsItsBackoff) {
  MachineDriver d;
  d.Hold(S(1000));
  d.At(S(960)).ReadAndStart();
  d.Fail();
  EXPECT_TRUE(d.At(S(961)).Invalidate());
  EXPECT_FALSE(d.submitted());
  EXPECT_TRUE(d.machine.refreshing());
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.wake_at(), S(962));
  EXPECT_EQ(d.machine.failures(), 1);
  d.At(S(962)).Wake();
  EXPECT_EQ(d.Start()->reason, RefreshReason::kRejected);
}

TEST(RefreshMachineInvalidationTest, A2FatalEndsTheFlight) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.on_exhausted = OnExhausted::kFatal;
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  for (bool running : {false, true}) {
    MachineDriver d(policy);
    d.Hold(S(1000));
    d.At(S(600)).Read();
    d.Start();
    d.Fail();
    d.At(S(700)).Read();
    if (running) d.Start();
    EXPECT_TRUE(d.Invalidate());
    EXPECT_EQ(d.out.waiters, Waiters::kFail);
    EXPECT_TRUE(d.out.failure.fatal);
    EXPECT_EQ(d.out.failure.cause.message(), "down");
    EXPECT_EQ(d.out.abandon.size(), running ? 1 : 0);
    EXPECT_FALSE(d.submitted());
    EXPECT_FALSE(d.machine.refreshing());
    EXPECT_FALSE(d.Start().has_value());
  }
}

TEST(RefreshMachineInvalidationTest, A2TheTimeoutIsNoticedFirst) {
  MachineDriver d = StaleAndQueued();
  d.Start();
  EXPECT_TRUE(d.At(S(630)).Invalidate());
  EXPECT_EQ(d.machine.failures(), 1);
  EXPECT_FALSE(d.machine.refreshing());
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.next_start(), S(631));
}

// ---- A5: a token invalidated soon after it was issued ----

TEST(RefreshMachineInvalidationTest, A5AServerThatRejectsAllMeetsTheSchedule) {
  MachineDriver d;
  for (; d.t <= S(400); d.t += Ms(100)) {
    if (d.Read() == Answer::kServe) d.Invalidate();
    if (d.submitted()) d.Start();
    if (d.machine.refreshing()) d.Succeed(Expiry::In(S(3600)));
  }
  EXPECT_THAT(d.starts,
              ElementsAre(0, 2, 6, 14, 30, 62, 122, 182, 242, 302, 362));
}

TEST(RefreshMachineInvalidationTest, A5WhatAnInvalidationOfAYoungTokenTells) {
  MachineDriver d;
  d.Hold(S(3600));
  EXPECT_TRUE(d.At(Ms(500)).Invalidate());
  EXPECT_EQ(d.machine.failures(), 1);
  EXPECT_EQ(d.machine.last_cause(),
            absl::UnauthenticatedError(
                "the token was invalidated soon after it was issued"));
  EXPECT_EQ(d.next_start(), S(2));
  EXPECT_EQ(d.Read(), Answer::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(d.At(S(2)).ReadAndStart()->reason, RefreshReason::kRejected);
}

TEST(RefreshMachineInvalidationTest, A5FailuresSinceThenStillCount) {
  RefreshPolicy policy = ExactPolicy();
  policy.stale_window = S(30);
  policy.background_cooldown = absl::ZeroDuration();
  MachineDriver d(policy);
  d.FailTimes(1);
  d.At(S(100)).Hold(S(60));
  // This step of the wall clock makes the token stale at 115 s. The token stays
  // young until 130 s.
  d.wall_step = S(15);
  for (int at : {115, 120}) {
    d.At(S(at)).Read();
    d.Start();
    d.Fail(absl::ResourceExhaustedError("busy"), S(at == 120 ? 200 : 0));
  }
  EXPECT_EQ(d.machine.failures(), 2);
  MachineDriver reset = d;
  EXPECT_TRUE(d.At(S(121)).Invalidate());
  EXPECT_EQ(d.machine.failures(), 4);
  EXPECT_EQ(d.next_start(), S(320));
  reset.Reset();  // The wait until 320 s is forgotten.
  EXPECT_TRUE(reset.At(S(121)).Invalidate());
  EXPECT_EQ(reset.machine.failures(), 1);
  EXPECT_EQ(reset.next_start(), S(122));
}

// The source brings the rejected bytes again. This success clears all failures
// (A11), even one that did not count towards exhaustion (B2). The failure after
// the success must count.
TEST(RefreshMachineInvalidationTest, A5WhatAnAnswerClearedExcusesNothing) {
  RefreshPolicy policy = ExactPolicy();
  policy.stale_window = S(30);
  policy.background_cooldown = absl::ZeroDuration();
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  MachineDriver d(policy);
  d.Hold(S(40));  // The token is stale after 10 s and young for 20 s.
  d.At(S(11)).Read();
  d.Start();
  d.Fail(absl::ResourceExhaustedError("busy"), Ms(1500));
  ASSERT_EQ(d.machine.failures(), 1);
  d.At(S(14)).ReadRejecting();
  d.Start();
  d.Succeed(Expiry::In(S(26)), d.machine.generation());
  ASSERT_EQ(d.machine.failures(), 0);
  EXPECT_TRUE(d.At(S(16)).Invalidate());
  EXPECT_EQ(d.machine.failures(), 1);
  EXPECT_TRUE(d.machine.exhausted(d.now()));
}

TEST(RefreshMachineInvalidationTest,
     A5ASuccessEndsWhatTheServerAskedForBefore) {
  MachineDriver d;
  d.ReadAndStart();
  const AttemptId late = d.attempt;
  d.At(S(30)).Wake();
  d.At(S(31)).Wake();
  d.Start();
  d.Fail(absl::ResourceExhaustedError("busy"), S(300));
  d.At(S(32)).Succeed(Expiry::In(S(3600)), std::nullopt, late);
  d.Invalidate();
  EXPECT_EQ(d.machine.failures(), 3);
  EXPECT_EQ(d.next_start(), S(39));
}

TEST(RefreshMachineInvalidationTest, A5YoungIsThirtySecondsOrHalfALife) {
  const struct {
    absl::Duration lifetime, young;
  } cases[] = {{S(3600), S(30)},
               {S(60), S(30)},
               {S(40), S(20)},
               {S(8), S(4)},
               {kForever, S(30)}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.lifetime);
    MachineDriver d;
    d.Hold(c.lifetime);
    MachineDriver old = d;
    d.At(c.young - Tick()).Invalidate();
    EXPECT_EQ(d.machine.failures(), 1);
    old.At(c.young).Invalidate();
    EXPECT_EQ(old.machine.failures(), 0);
    EXPECT_EQ(old.Read(), Answer::kWait);
    EXPECT_TRUE(old.submitted());
  }
}

TEST(RefreshMachineInvalidationTest, A5AnInstalledTokenHadNoAttempt) {
  MachineDriver d;
  d.FailTimes(3);
  d.Install(Expiry::In(S(3600)));
  d.Invalidate();
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_EQ(d.Read(), Answer::kWait);
  EXPECT_TRUE(d.submitted());
}

// Returns a driver whose token came after `failures_before` failures. The token
// is stale but still young, and its refresh is queued.
MachineDriver YoungAndQueued(int failures_before, RefreshPolicy policy) {
  policy.stale_window = S(25);
  MachineDriver d(policy);
  d.FailTimes(failures_before);
  d.At(S(1000)).Hold(S(40));
  d.At(S(1016)).Read();
  return d;
}

TEST(RefreshMachineInvalidationTest, A5ARunningAttemptIsReplacedBySchedule) {
  MachineDriver d = YoungAndQueued(1, ExactPolicy());
  d.Start();
  EXPECT_TRUE(d.At(S(1017)).Invalidate());
  EXPECT_THAT(d.out.abandon, ElementsAre(d.attempt));
  EXPECT_FALSE(d.submitted());
  EXPECT_TRUE(d.machine.refreshing());
  EXPECT_EQ(d.machine.failures(), 2);
  EXPECT_EQ(d.wake_at(), S(1020));
  EXPECT_EQ(d.Read(S(1020) - Tick()), Answer::kFail);
  // This read makes the flight a foreground flight, which may retry.
  EXPECT_EQ(d.Read(), Answer::kWait);
  d.At(S(1020)).Wake();
  d.Start();
  d.Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.wake_at(), S(1028));
}

TEST(RefreshMachineInvalidationTest, A5AQueuedAttemptStaysIfItIsDue) {
  MachineDriver d = YoungAndQueued(1, ExactPolicy());
  EXPECT_TRUE(d.Invalidate());
  EXPECT_EQ(d.machine.queued(), d.attempt);
  EXPECT_TRUE(d.Start().has_value());

  MachineDriver due = YoungAndQueued(3, ExactPolicy());
  const AttemptId queued = due.attempt;
  EXPECT_TRUE(due.Invalidate());
  EXPECT_EQ(due.next_start(), due.t);
  EXPECT_EQ(due.machine.queued(), queued);

  MachineDriver early = YoungAndQueued(4, ExactPolicy());
  EXPECT_TRUE(early.Invalidate());
  EXPECT_FALSE(early.Start().has_value());
  EXPECT_EQ(early.wake_at(), S(1032));
}

TEST(RefreshMachineInvalidationTest, A5ExhaustionEndsTheFlight) {
  for (const OnExhausted on_exhausted :
       {OnExhausted::kSelfHeal, OnExhausted::kFatal}) {
    RefreshPolicy policy = ExactPolicy();
    policy.retry.on_exhausted = on_exhausted;
    MachineDriver d = YoungAndQueued(6, policy);
    d.Start();
    EXPECT_TRUE(d.Invalidate());
    EXPECT_EQ(d.out.waiters, Waiters::kFail);
    EXPECT_EQ(d.out.failure.fatal, on_exhausted == OnExhausted::kFatal);
    EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(d.events(),
                ElementsAre("token_invalidated", "attempt_abandoned",
                            "state_changed", "exhausted"));
    EXPECT_FALSE(d.machine.refreshing());
    EXPECT_EQ(d.Read(), Answer::kFail);
    if (on_exhausted == OnExhausted::kFatal) continue;
    EXPECT_EQ(d.At(S(1076)).Read(), Answer::kWait);
    EXPECT_TRUE(d.submitted());
  }
}

TEST(RefreshMachineInvalidationTest, A5WhileAFlightWaitsAfterAWallStep) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.on_exhausted = OnExhausted::kFatal;
  for (int before : {1, 5}) {
    MachineDriver d(policy);
    d.FailTimes(before);
    d.At(S(1000)).Hold(S(3600));
    // This step of the wall clock makes the token expire. The token is still
    // young, because BootTime measures its age.
    d.wall_step = absl::Hours(2);
    d.At(S(1001)).ReadAndStart();
    d.Fail();
    EXPECT_EQ(d.wake_at(), S(1003));
    EXPECT_TRUE(d.At(S(1002)).Invalidate());
    EXPECT_EQ(d.machine.failures(), before + 2);
    EXPECT_EQ(d.wake_at(), before == 1 ? S(1009) : kForever);
    EXPECT_EQ(d.out.waiters, before == 1 ? Waiters::kKeep : Waiters::kFail);
    if (before == 1) {
      EXPECT_EQ(d.fail_deadlines_before(), S(1009));
    }
  }
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
