// SPDX-License-Identifier: Apache-2.0
//
// Tests of how long tokens are fresh and usable, and of when attempts may
// start.

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

// ---- Reading ----

TEST(RefreshMachineReadTest, R4TheWallClockHasTheSameEdges) {
  MachineDriver d;
  d.Hold(S(3600));
  d.At(S(1));
  d.wall_step = S(2399) - Tick();
  EXPECT_EQ(d.freshness(), Freshness::kFresh);
  d.wall_step = S(2399);
  EXPECT_EQ(d.freshness(), Freshness::kStale);
  d.wall_step = S(3559) - Tick();
  EXPECT_EQ(d.freshness(), Freshness::kStale);
  d.wall_step = S(3559);
  EXPECT_EQ(d.freshness(), Freshness::kExpired);
  EXPECT_EQ(d.Read(), Answer::kWait);
}

TEST(RefreshMachineReadTest, R5WithoutAnExpiryATokenStaysFresh) {
  RefreshPolicy endless = ExactPolicy();
  endless.expiry_margin = kForever;
  endless.max_stale_window = kForever;
  endless.young_token_age = kForever;
  RefreshPolicy windowed = ExactPolicy();
  windowed.stale_window = kForever;
  windowed.refresh_ahead = true;
  RefreshPolicy jittered;
  jittered.max_stale_window = kForever;
  for (const RefreshPolicy& policy :
       {ExactPolicy(), endless, windowed, jittered}) {
    for (const Expiry& expiry : {Expiry::Never(), Expiry::In(kForever),
                                 Expiry::At(absl::InfiniteFuture())}) {
      MachineDriver d(policy);
      d.ReadAndStart();
      d.Succeed(expiry);
      ASSERT_TRUE(d.out.publish);
      EXPECT_EQ(d.check_at(), kForever);
      EXPECT_EQ(d.machine.check_at(d.now()).wall, absl::InfiniteFuture());
      EXPECT_EQ(d.wake_at(), kForever);
      EXPECT_EQ(d.machine.expires_at(), absl::InfiniteFuture());
      d.wall_step = absl::Hours(24 * 365);
      EXPECT_EQ(d.At(absl::Hours(24 * 365 * 1000)).Read(), Answer::kServe);
      EXPECT_EQ(d.freshness(), Freshness::kFresh);
      EXPECT_FALSE(d.submitted());
    }
  }
}

// ---- Refreshing ----

TEST(RefreshMachineReadTest, F3ALifetimeCountsFromTheStartOfItsAttempt) {
  MachineDriver d;
  d.Read();
  d.At(S(5)).Start();  // Time in the executor's queue is not counted.
  d.At(S(15)).Succeed(Expiry::In(S(100)));
  EXPECT_EQ(d.machine.expires_at(), d.WallAt(S(105)));
  EXPECT_EQ(d.check_at(), S(60));  // 15 s + half of the 90 s that are left.
  EXPECT_EQ(d.At(S(105) - Ms(22500) - Tick()).freshness(), Freshness::kStale);
  EXPECT_EQ(d.At(S(105) - Ms(22500)).freshness(), Freshness::kExpired);
}

TEST(RefreshMachineReadTest, F3ALifetimeHasNothingToDoWithTheWallClock) {
  MachineDriver d;
  d.ReadAndStart();
  d.wall_step = absl::Hours(2);
  d.At(S(10)).Succeed(Expiry::In(S(100)));
  EXPECT_EQ(d.machine.expires_at(), d.now().wall + S(90));
  EXPECT_EQ(d.check_at(), S(55));
}

struct LifetimeCase {
  absl::Duration lifetime, stale_after, usable_for;
  std::optional<absl::Duration> window = std::nullopt;
  absl::Duration margin = S(40), max_window = S(1200);
};

TEST(RefreshMachineReadTest, F4AHintMovesStalenessAndNothingElse) {
  struct Case {
    absl::Duration lifetime, hint, stale_after;
  };
  for (const Case& c : std::vector<Case>{
           {S(3600), S(3000), S(3000)},
           {S(3600), S(1000), S(1000)},
           // No token is stale before a quarter of its lifetime.
           {S(3600), S(899), S(900)},
           {S(3600), Tick(), S(900)},
           // The next five hints have no effect, so the 20 min window counts.
           {S(3600), S(3560), S(2400)},
           {S(3600), S(7200), S(2400)},
           {S(3600), S(0), S(2400)},
           {S(3600), S(-5), S(2400)},
           {S(3600), kForever, S(2400)},
           {S(40), S(29), S(29)},
           {kForever, S(300), kForever}}) {
    SCOPED_TRACE(c.hint);
    for (const bool installed : {false, true}) {
      for (const bool relative : {false, true}) {
        MachineDriver d(ExactPolicy());
        const Expiry expiry = (relative ? Expiry::In(c.lifetime)
                                        : Expiry::At(d.now().wall + c.lifetime))
                                  .WithRefreshIn(c.hint);
        if (installed) {
          d.Install(expiry);
        } else {
          d.ReadAndStart();
          d.Succeed(expiry);
        }
        EXPECT_EQ(d.check_at(), c.stale_after);
        if (c.lifetime == kForever) continue;
        const absl::Duration usable_for =
            c.lifetime - std::min(S(40), c.lifetime / 4);
        EXPECT_EQ(d.At(usable_for - Tick()).freshness(), Freshness::kStale);
        EXPECT_EQ(d.At(usable_for).freshness(), Freshness::kExpired);
      }
    }
  }
}

TEST(RefreshMachineReadTest, F4AHintCountsFromTheStartOfTheAttempt) {
  MachineDriver d(ExactPolicy());
  d.ReadAndStart();
  d.At(S(20)).Succeed(Expiry::In(S(3620)).WithRefreshIn(S(1020)));
  EXPECT_EQ(d.check_at(), S(1020));
  // The answer took longer than the hint.
  MachineDriver late(ExactPolicy());
  late.ReadAndStart();
  late.At(S(20)).Succeed(Expiry::In(S(3620)).WithRefreshIn(S(10)));
  EXPECT_EQ(late.check_at(), S(20) + S(900));
}

TEST(RefreshMachineReadTest, F4StaleAndUsableForEveryLifetime) {
  const absl::Duration ns = absl::Nanoseconds(1);
  const absl::Duration ages = absl::Hours(24 * 365 * 100);
  const std::vector<LifetimeCase> cases = {
      {S(3600), S(2400), S(3560)},
      {S(2400), S(1200), S(2360)},
      {S(600), S(300), S(560)},
      {S(160), S(80), S(120)},
      {S(90), S(45), Ms(67500)},
      {S(40), S(20), S(30)},
      {S(1), Ms(500), Ms(750)},
      {4 * ns, 2 * ns, 3 * ns},
      {ns, 2 * Tick(), 3 * Tick()},
      {ages, ages - S(1200), ages - S(40)},
      // A token is never stale if the window (0 or 10 s) is not longer than the
      // margin (40 s).
      {S(3600), S(3560), S(3560), S(0)},
      {S(3600), S(3500), S(3560), S(100)},
      {S(3600), S(3560), S(3560), S(10)},
      {S(3600), S(900), S(3560), S(2700)},
      // A window is cut to three quarters of the lifetime.
      {S(3600), S(900), S(3560), S(2701)},
      {S(3600), S(900), S(3560), S(3600)},
      {S(3600), S(900), S(3560), kForever},
      {ns, Tick(), 3 * Tick(), S(1)},
      {S(3600), S(2400), S(3600), std::nullopt, S(0)},
      {S(3600), S(2400), S(2700), std::nullopt, kForever},
      {S(3600), S(3560), S(3560), std::nullopt, S(40), S(0)},
      {S(3600), S(1800), S(3560), std::nullopt, S(40), kForever},
  };
  for (const LifetimeCase& c : cases) {
    SCOPED_TRACE(c.lifetime);
    SCOPED_TRACE(c.window.value_or(-S(1)));
    RefreshPolicy policy = ExactPolicy();
    policy.stale_window = c.window;
    policy.expiry_margin = c.margin;
    policy.max_stale_window = c.max_window;
    MachineDriver d(policy);
    d.Hold(c.lifetime);
    EXPECT_EQ(d.At(c.stale_after - Tick()).freshness(), Freshness::kFresh);
    EXPECT_EQ(d.At(c.usable_for).freshness(), Freshness::kExpired);
    if (c.stale_after < c.usable_for) {
      EXPECT_EQ(d.At(c.stale_after).freshness(), Freshness::kStale);
      EXPECT_EQ(d.At(c.usable_for - Tick()).freshness(), Freshness::kStale);
    }
  }
}

TEST(RefreshMachineReadTest, F4NoTwoAttemptsStartWithinTheMinimumInterval) {
  MachineDriver d;
  d.Hold(S(1));  // Stale at 500 ms, expired at 750 ms.
  EXPECT_EQ(d.At(Ms(500)).Read(), Answer::kServe);
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.check_at(), Ms(750));
  d.At(Ms(800));
  EXPECT_EQ(d.Read(S(1) - Tick()), Answer::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(d.out.failure.failures, 0);
  EXPECT_EQ(d.told_next(), S(1));
  EXPECT_FALSE(d.machine.refreshing());

  EXPECT_EQ(d.Read(S(1)), Answer::kWait);
  EXPECT_FALSE(d.submitted());
  EXPECT_TRUE(d.machine.refreshing());
  EXPECT_EQ(d.machine.queued(), AttemptId::kNone);
  EXPECT_EQ(d.wake_at(), S(1));
  EXPECT_EQ(d.Read(S(1) - Tick()), Answer::kFail);
  EXPECT_EQ(d.Read(S(1)), Answer::kWait);
  d.At(S(1) - Tick()).Wake();
  EXPECT_FALSE(d.submitted());
  d.At(S(1)).Wake();
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.machine.queued(), d.attempt);
  d.Start();
  EXPECT_THAT(d.starts, ElementsAre(0, 1));
}

TEST(RefreshMachineReadTest, F6ALateSuccessIsPublishedInEveryPhase) {
  for (int phase = 0; phase < 4; ++phase) {
    SCOPED_TRACE(phase);
    RefreshPolicy policy = ExactPolicy();
    policy.retry.max_retries = phase == 3 ? 0 : 6;
    MachineDriver d(policy);
    d.ReadAndStart();
    const AttemptId late = d.attempt;
    // After this wake the flight is between attempts or, in phase 3, has ended.
    d.At(S(30)).Wake();
    if (phase == 1) d.At(S(31)).Wake();  // The retry is queued.
    if (phase == 2) {                    // The retry is running.
      d.At(S(31)).Wake();
      d.Start();
    }
    d.At(S(32)).Succeed(Expiry::In(S(100)), std::nullopt, late);
    EXPECT_TRUE(d.out.publish);
    EXPECT_EQ(d.out.waiters, Waiters::kServe);
    EXPECT_FALSE(d.machine.refreshing());
    EXPECT_EQ(d.machine.failures(), 0);
    EXPECT_TRUE(d.machine.last_cause().ok());
    EXPECT_EQ(d.machine.expires_at(), d.WallAt(S(100)));
    if (phase == 1) {
      EXPECT_FALSE(d.Start().has_value());
    }
    if (phase != 2) continue;
    // The token of the first attempt supersedes the running retry, whose answer
    // is then discarded.
    EXPECT_THAT(d.out.abandon, ElementsAre(d.attempt));
    d.Succeed(Expiry::In(S(500)));
    EXPECT_FALSE(d.out.publish);
    EXPECT_THAT(d.events(), ElementsAre("attempt_discarded"));
    EXPECT_EQ(d.machine.generation(), Generation(1));
  }
}

TEST(RefreshMachineReadTest, F6AnAttemptAtTheBoundCanExhaust) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_abandoned_calls = 1;
  policy.retry.max_retries = 1;
  policy.retry.max_consecutive_failures = 2;
  MachineDriver d(policy);
  d.ReadAndStart();
  d.At(S(30)).Wake();
  d.At(S(31)).Wake();
  EXPECT_FALSE(d.Start().has_value());
  EXPECT_THAT(d.events(),
              ElementsAre("attempt_failed", "backoff", "exhausted"));
}

TEST(RefreshMachineReadTest, F6AnInfiniteTimeoutNeverAbandons) {
  RefreshPolicy policy = ExactPolicy();
  policy.attempt_timeout = kForever;
  MachineDriver d(policy);
  d.ReadAndStart();
  EXPECT_EQ(d.wake_at(), kForever);
  EXPECT_EQ(d.At(absl::Hours(1000000)).Read(), Answer::kWait);
  EXPECT_THAT(d.events(), IsEmpty());
  d.Succeed(Expiry::Never());
  EXPECT_TRUE(d.out.publish);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
