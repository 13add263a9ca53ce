// SPDX-License-Identifier: Apache-2.0
//
// Tests of Reset, lost attempts, fork(), degraded tokens, and what observers
// are told.

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

TEST(RefreshMachineRecoveryTest, B8HealsWithinOneProbeInterval) {
  for (int end = 0; end <= 600; end += 7) {
    SCOPED_TRACE(end);
    MachineDriver d;
    d.Outage(S(end));
    while (!d.machine.servable(d.now())) {
      d.t += S(1);
      if (d.wake_at() <= d.t) d.Wake();
      if (d.submitted()) d.Start();
      if (d.Read() == Answer::kWait && d.submitted()) d.Start();
      if (d.machine.refreshing() && d.machine.queued() == AttemptId::kNone &&
          d.starts.back() == absl::ToDoubleSeconds(d.t)) {
        d.Succeed(Expiry::In(S(3600)));
      }
      ASSERT_LE(d.t, S(end + 60));
    }
  }
}

// ---- Reset ----

TEST(RefreshMachineRecoveryTest, B8ResetWhileIdleLetsTheNextReadTry) {
  MachineDriver d;
  d.FailTimes(3);
  const absl::Duration last = d.t;
  d.At(last + Ms(100)).Reset();
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_TRUE(d.machine.last_cause().ok());
  EXPECT_EQ(d.next_start(), last + S(1));  // Only the minimum interval holds.
  EXPECT_EQ(d.Read(), Answer::kWait);
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.wake_at(), last + S(1));
  d.At(last + S(1)).Wake();
  EXPECT_TRUE(d.submitted());
}

// A read with `max_retries` = 0 fails if the flight waits for a retry. After a
// Reset such a read joins the flight, because the Reset forgets the failure.
TEST(RefreshMachineRecoveryTest, B8AReadJoinsAWaitingFlightAfterAReset) {
  MachineDriver d;
  d.ReadAndStart();
  d.Fail();
  EXPECT_EQ(d.Read(absl::InfiniteDuration(), 0), Answer::kFail);
  d.At(Ms(100)).Reset();
  EXPECT_EQ(d.Read(absl::InfiniteDuration(), 0), Answer::kWait);
  // The deadline of this read is before the retry.
  EXPECT_EQ(d.Read(Ms(900), 0), Answer::kFail);
  d.At(S(1)).Wake();
  d.Start();
  d.Fail();
  EXPECT_EQ(d.out.fail_retries_below, 2);
}

// ---- What the executor loses ----

TEST(RefreshMachineRecoveryTest, E2OnlyTheQueuedAttemptCanBeLost) {
  MachineDriver d;
  d.ReadAndStart();
  const AttemptId first = d.attempt;
  d.Lost();
  EXPECT_THAT(d.events(), IsEmpty());
  EXPECT_TRUE(d.machine.refreshing());
  d.Fail();
  d.Lost();
  d.At(S(2)).Wake();
  d.Lost(first);
  EXPECT_THAT(d.events(), IsEmpty());
  EXPECT_TRUE(d.Start().has_value());
}

// ---- After a fork ----

TEST(RefreshMachineRecoveryTest, E4InTheChildTheFirstReadStartsAnew) {
  for (int phase = 0; phase < 3; ++phase) {
    SCOPED_TRACE(phase);
    RefreshPolicy policy = ExactPolicy();
    policy.max_abandoned_calls = 1;
    MachineDriver d(policy);
    d.Hold(S(3600));
    d.At(S(2400)).Read();
    if (phase > 0) d.Start();
    if (phase > 1) d.At(S(2430)).Wake();  // The call is abandoned.
    const int failures = d.machine.failures();
    d.machine.OnFork();
    EXPECT_FALSE(d.machine.refreshing());
    EXPECT_EQ(d.machine.failures(), failures);
    EXPECT_FALSE(d.Start().has_value());
    d.Succeed(Expiry::Never());
    EXPECT_FALSE(d.out.publish);
    EXPECT_EQ(d.Read(), Answer::kServe);
    // The abandoned call of phase 2 is a failure. So the next background
    // refresh must wait for its cooldown (B3), in the child too.
    EXPECT_EQ(d.submitted(), phase < 2);
    EXPECT_EQ(d.At(S(3600)).Read(), Answer::kWait);
    EXPECT_TRUE(d.Start().has_value());
  }
}

TEST(RefreshMachineRecoveryTest, E4TheMinimumIntervalIsTheParents) {
  MachineDriver d;
  d.ReadAndStart();
  d.machine.OnFork();
  // The child need not keep the minimum interval after the parent's attempt.
  EXPECT_EQ(d.Read(), Answer::kWait);
  EXPECT_TRUE(d.submitted());
}

// Regression test: all forked workers refreshed the parent's token at the same
// time.
TEST(RefreshMachineRecoveryTest, F8AChildDrawsItsJitterAnew) {
  const auto stale_at = [](std::optional<uint64_t> seed) {
    MachineDriver d((RefreshPolicy()));
    d.Hold(S(3600));
    d.machine.OnFork(seed);
    const DualDeadline edge = d.machine.check_at(d.now());
    // The token becomes stale 1200 s before its expiry, or up to 360 s earlier.
    EXPECT_LE(edge.boot - d.now().boot, S(2400));
    EXPECT_GE(edge.boot - d.now().boot, S(2040));
    EXPECT_EQ(edge.wall - d.now().wall, edge.boot - d.now().boot);
    return edge.boot;
  };
  EXPECT_NE(stale_at(1), stale_at(2));
  EXPECT_NE(stale_at(2), stale_at(std::nullopt));
  EXPECT_EQ(stale_at(std::nullopt), stale_at(std::nullopt));

  const auto retry_at = [](std::optional<uint64_t> seed) {
    MachineDriver d((RefreshPolicy()));
    d.ReadAndStart();
    d.Fail();
    d.machine.OnFork(seed);
    const absl::Duration wait = d.machine.next_start(d.now()) - d.now().boot;
    EXPECT_GE(wait, absl::Milliseconds(1800));
    EXPECT_LE(wait, absl::Milliseconds(2200));
    return wait;
  };
  EXPECT_NE(retry_at(1), retry_at(2));
  EXPECT_EQ(retry_at(std::nullopt), retry_at(std::nullopt));
}

// ---- What observers are told ----

TEST(RefreshMachineRecoveryTest, S1EveryEventNoticesThatTimeHasPassed) {
  const std::vector<void (*)(MachineDriver&)> events = {
      [](MachineDriver& d) { d.Start(); },
      [](MachineDriver& d) { d.Lost(); },
      [](MachineDriver& d) { d.Wake(); },
      [](MachineDriver& d) { d.WakeLost(); },
      [](MachineDriver& d) { d.Reset(); },
      [](MachineDriver& d) { d.Read(); },
      [](MachineDriver& d) { d.Invalidate(); },
      [](MachineDriver& d) { d.Fail(); },
      [](MachineDriver& d) { d.Succeed(Expiry::In(S(-1))); },
  };
  for (size_t i = 0; i < events.size(); ++i) {
    SCOPED_TRACE(i);
    MachineDriver d;
    d.Hold(S(3600));
    d.At(S(3559)).Read();
    EXPECT_EQ(d.event(EventKind::kStateChanged).freshness, Freshness::kStale);
    EXPECT_EQ(d.event(EventKind::kStateChanged).generation, Generation(1));
    events[i](d.At(S(3560)));
    EXPECT_EQ(d.events().back(), "state_changed");
    EXPECT_EQ(d.out.events.back().freshness, Freshness::kExpired);
    d.Wake();
    EXPECT_THAT(d.events(), IsEmpty());
  }
}

TEST(RefreshMachineRecoveryTest, S1AnEventSaysWhatWasHeldWhenItHappened) {
  MachineDriver d;
  d.Hold(S(3600));
  d.At(S(2400)).Read();
  d.Start();
  d.Fail();
  const Event& failed = d.event(EventKind::kAttemptFailed);
  EXPECT_EQ(failed.generation, Generation(1));
  EXPECT_EQ(failed.freshness, Freshness::kStale);
  EXPECT_EQ(failed.failures, 1);
}

TEST(RefreshMachineRecoveryTest, S1EachExhaustionIsToldOnce) {
  MachineDriver d;
  d.FailTimes(8);
  EXPECT_THAT(d.events(), ElementsAre("attempt_failed", "backoff"));
  d.At(d.next_start()).Hold(S(10));
  EXPECT_THAT(d.events(),
              ElementsAre("token_published", "healed", "state_changed"));
  d.t += S(100);
  d.FailTimes(7);
  EXPECT_EQ(d.events().back(), "exhausted");
}

// ---- Degraded ----

// The token is fresh until 2400 s, usable until 3560 s and, after a failure,
// served degraded until 4200 s.
MachineDriver Degradable(OnExhausted on_exhausted = OnExhausted::kSelfHeal) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_stale_on_error = S(600);
  policy.retry.on_exhausted = on_exhausted;
  MachineDriver d(policy);
  d.Hold(S(3600));
  return d;
}

TEST(RefreshMachineRecoveryTest, B10TheFirstFailureServesAllWhoWait) {
  MachineDriver d = Degradable();
  d.At(S(3560));
  EXPECT_FALSE(d.machine.servable(d.now()));
  EXPECT_EQ(d.Read(), Answer::kWait);
  d.Start();
  d.At(S(3561)).Fail();
  EXPECT_EQ(d.out.waiters, Waiters::kServe);
  EXPECT_FALSE(d.machine.refreshing());
  EXPECT_TRUE(d.machine.servable(d.now()));
  EXPECT_FALSE(d.machine.published_servable(d.now()));
  EXPECT_EQ(d.check_at(), S(3561));
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_TRUE(d.out.republish_degraded);
  EXPECT_THAT(d.events(), ElementsAre("degraded"));
  EXPECT_TRUE(d.machine.published_servable(d.now()));
  EXPECT_EQ(d.freshness(), Freshness::kExpired);
  EXPECT_EQ(d.machine.generation(), Generation(1));
  EXPECT_EQ(d.check_at(), S(3562));
  EXPECT_EQ(d.machine.check_at(d.now()).wall, d.WallAt(S(3562)));
  EXPECT_EQ(d.wake_at(), S(3562));
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_FALSE(d.out.republish_degraded);  // Once is enough.
  EXPECT_FALSE(d.submitted());
  // Reads start the attempts that the schedule permits, but do not wait for
  // them.
  EXPECT_EQ(d.At(S(3562)).Read(), Answer::kServe);
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.check_at(), S(4200));
  EXPECT_EQ(d.Start()->reason, RefreshReason::kExpired);
  d.Succeed(Expiry::In(S(3600)));
  EXPECT_EQ(d.freshness(), Freshness::kFresh);
  EXPECT_TRUE(d.machine.published_servable(d.now()));
  EXPECT_EQ(d.check_at(), S(3562 + 2400));
  // The second token too must be published again as degraded.
  d.At(S(3562 + 3560)).ReadAndStart();
  d.Fail();
  EXPECT_FALSE(d.machine.published_servable(d.now()));
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_TRUE(d.out.republish_degraded);
}

TEST(RefreshMachineRecoveryTest, B10EndsOnTheEdgeByEitherClock) {
  for (bool by_wall : {false, true}) {
    MachineDriver d = Degradable();
    d.At(S(3560)).ReadAndStart();
    d.Fail();
    d.Read();
    const absl::Duration left = S(4200 - 3560);
    const auto pass = [&](absl::Duration time) {
      by_wall ? d.wall_step = time : d.t = S(3560) + time;
    };
    pass(left - Tick());
    EXPECT_TRUE(d.machine.servable(d.now()));
    EXPECT_TRUE(d.machine.published_servable(d.now()));
    pass(left);
    EXPECT_FALSE(d.machine.servable(d.now()));
    EXPECT_FALSE(d.machine.published_servable(d.now()));
    EXPECT_NE(d.Read(), Answer::kServe);
  }
}

TEST(RefreshMachineRecoveryTest, B10AFatalMachineServesToTheEndOfTheGrace) {
  MachineDriver d = Degradable(OnExhausted::kFatal);
  d.t = S(3560);
  EXPECT_THAT(d.Outage(S(4199)),
              ElementsAre(3560, 3562, 3566, 3574, 3590, 3622, 3682));
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_EQ(d.check_at(), S(4200));
  EXPECT_EQ(d.wake_at(), S(4200));
  EXPECT_EQ(d.At(S(4200)).Read(), Answer::kFail);
  EXPECT_TRUE(d.out.failure.fatal);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
