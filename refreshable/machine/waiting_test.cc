// SPDX-License-Identifier: Apache-2.0
//
// Tests of how long RefreshMachine waits, what a server may ask for, and how
// the waits of many clients are spread.

#include <algorithm>
#include <set>
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
using Answer = RefreshMachine::ReadAnswer;
using Waiters = Decisions::Waiters;

const absl::Duration kForever = absl::InfiniteDuration();
constexpr int kSeeds = 200;

absl::Status Busy() { return absl::ResourceExhaustedError("busy"); }

// Collects one duration from each of many clients that differ only in their
// random seeds.
class Spread {
 public:
  void Add(absl::Duration wait) { waits_.insert(wait); }
  absl::Duration least() const { return *waits_.begin(); }
  absl::Duration most() const { return *waits_.rbegin(); }
  // Returns how often the most frequent duration occurs.
  size_t together() const {
    size_t most = 0;
    for (const absl::Duration wait : waits_) {
      most = std::max(most, waits_.count(wait));
    }
    return most;
  }

 private:
  std::multiset<absl::Duration> waits_;
};

// ---- What a server asks for ----

TEST(RefreshMachineWaitingTest, B2AShortenedWaitSpendsTheBudget) {
  MachineDriver d;
  EXPECT_THAT(d.Outage(S(100), S(5000), S(0), kForever, S(1)),
              ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_EQ(d.machine.failures(), 7);
  EXPECT_EQ(d.told_next(), S(7));
}

TEST(RefreshMachineWaitingTest, B7AShortenedWaitDoesNotExhaust) {
  RefreshPolicy fatal = ExactPolicy();
  fatal.retry.on_exhausted = OnExhausted::kFatal;
  for (const RefreshPolicy& policy : {ExactPolicy(), fatal}) {
    MachineDriver d(policy);
    std::vector<double> every_second;
    for (int i = 0; i <= 100; ++i) every_second.push_back(i);
    EXPECT_EQ(d.Outage(S(100), S(1), S(0), kForever, S(1)), every_second);
    EXPECT_FALSE(d.machine.exhausted(d.now()));
    EXPECT_EQ(d.machine.failures(), 101);
    // Only failures whose wait is not shortened lead to exhaustion.
    for (int i = 0; i < 7; ++i) {
      EXPECT_FALSE(d.machine.exhausted(d.now())) << i;
      d.At(d.next_start()).ReadAndStart();
      d.Fail(Busy(), S(1));
      d.At(d.next_start()).ReadAndStart();
      // The server asks for at least the backoff.
      d.Fail(Busy(), i % 2 == 0 ? S(60) : kForever);
    }
    EXPECT_TRUE(d.machine.exhausted(d.now()));
  }
}

TEST(RefreshMachineWaitingTest, A5AYoungTokenUndoesWhatDidNotCountEither) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 1;
  policy.retry.max_consecutive_failures = 3;
  MachineDriver d(policy);
  for (int i = 0; i < 5; ++i) {
    d.At(S(i)).ReadAndStart();
    d.Fail(Busy(), S(1));
  }
  d.At(S(5)).Hold(S(3600));
  d.At(S(6)).Invalidate();
  EXPECT_EQ(d.machine.failures(), 6);
  EXPECT_FALSE(d.machine.exhausted(d.now()));
  EXPECT_EQ(d.next_start(), S(5) + S(60));
  d.Reset();
  d.At(S(100)).FailTimes(3);
  EXPECT_TRUE(d.machine.exhausted(d.now()));
}

TEST(RefreshMachineWaitingTest, B2OnlyAWaitThatReallyIsShorterIsExcused) {
  RefreshPolicy policy = ExactPolicy();
  policy.min_interval = S(5);
  policy.retry.multiplier = 1;
  // The server asks for 1 s in place of the backoff of 2 s. The minimum
  // interval is longer than both, so the server shortens no wait.
  MachineDriver d(policy);
  for (int i = 0; i < 7; ++i) {
    d.At(S(5 * i)).ReadAndStart();
    d.Fail(Busy(), S(1));
  }
  EXPECT_TRUE(d.machine.exhausted(d.now()));
}

TEST(RefreshMachineWaitingTest, B2ACappedWishIsNoShorterThanTheComputedWait) {
  for (const absl::Duration cap : {S(0), S(10), S(31), S(32)}) {
    SCOPED_TRACE(cap);
    RefreshPolicy policy = ExactPolicy();
    policy.retry.max_retry_after = cap;
    MachineDriver d(policy);
    d.FailTimes(4);
    d.At(d.next_start()).ReadAndStart();
    d.Fail(Busy(), S(33));
    EXPECT_EQ(d.next_start(), d.t + S(32));
    // The backoff lasts 60 s from the start of the attempt. When the attempt
    // fails, 5 s of the backoff are left.
    d.At(d.next_start()).ReadAndStart();
    d.At(d.t + S(55)).Fail(Busy(), S(33));
    EXPECT_EQ(d.next_start(), d.t + std::max(cap, S(5)));
    d.At(d.next_start()).FailTimes(1);
    EXPECT_TRUE(d.machine.exhausted(d.now()));
  }
}

TEST(RefreshMachineWaitingTest, B7AProbeWaitsForTheLongerOfTheTwo) {
  MachineDriver d;
  d.FailTimes(7);
  for (const absl::Duration asked : {S(20), S(70)}) {
    d.At(d.next_start()).ReadAndStart();
    d.Fail(Busy(), asked);
    EXPECT_EQ(d.next_start(), d.t + std::max(asked, S(60)));
  }
}

// ---- How waits are spread ----

TEST(RefreshMachineWaitingTest, F8WhatAServerAskedForIsSpreadUpwards) {
  for (const absl::Duration asked : {S(30), S(300), kForever}) {
    SCOPED_TRACE(asked);
    const absl::Duration least = std::min(asked, S(300));
    Spread spread;
    for (int seed = 0; seed < kSeeds; ++seed) {
      MachineDriver d(RefreshPolicy(), seed);
      d.ReadAndStart();
      d.Fail(Busy(), asked);
      spread.Add(d.next_start());
    }
    EXPECT_GE(spread.least(), least);
    EXPECT_LT(spread.least(), least * 1.01);
    EXPECT_LE(spread.most(), least * 1.1);
    EXPECT_GT(spread.most(), least * 1.09);
    EXPECT_EQ(spread.together(), 1u);
  }
}

TEST(RefreshMachineWaitingTest, F8NoWaitIsCutToTheLongestByTwoClients) {
  for (const absl::Duration first : {S(50), S(58), S(60)}) {
    SCOPED_TRACE(first);
    RefreshPolicy policy;
    policy.retry.initial_backoff = first;
    Spread spread;
    for (int seed = 0; seed < kSeeds; ++seed) {
      MachineDriver d(policy, seed);
      d.FailTimes(1);
      spread.Add(d.next_start());
    }
    EXPECT_GE(spread.least(), first * 0.9);
    EXPECT_LT(spread.least(), first * 0.91);
    EXPECT_LE(spread.most(), std::min(first * 1.1, S(60)));
    EXPECT_GT(spread.most(), std::min(first * 1.09, S(59)));
    EXPECT_EQ(spread.together(), 1u);
  }
}

TEST(RefreshMachineWaitingTest, F8ProbesAreSpreadDownwards) {
  Spread first, second;
  for (int seed = 0; seed < kSeeds; ++seed) {
    MachineDriver d(RefreshPolicy(), seed);
    d.FailTimes(7);
    EXPECT_TRUE(d.machine.exhausted(d.now()));
    first.Add(d.next_start() - d.t);
    d.FailTimes(1);
    second.Add(d.next_start() - d.t);
  }
  for (const Spread& spread : {first, second}) {
    EXPECT_GE(spread.least(), S(54));
    EXPECT_LT(spread.least(), S(54) + Ms(200));
    EXPECT_LE(spread.most(), S(60));
    EXPECT_GT(spread.most(), S(60) - Ms(200));
    EXPECT_EQ(spread.together(), 1u);
  }
}

TEST(RefreshMachineWaitingTest, F8StalenessIsSpreadByTheTokensLife) {
  struct Case {
    absl::Duration life, window, earliest, latest;
  };
  const Case cases[] = {
      {S(3600), S(1200), S(2040), S(2400)}, {S(3600), S(60), S(3180), S(3540)},
      {S(60), S(30), S(24), S(30)},         {S(60), S(44), S(15), S(16)},
      {S(100), S(70), S(25), S(30)},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.window);
    RefreshPolicy policy;
    policy.stale_window = c.window;
    Spread spread;
    for (int seed = 0; seed < kSeeds; ++seed) {
      MachineDriver d(policy, seed);
      d.Hold(c.life);
      spread.Add(d.check_at());
    }
    const absl::Duration width = c.latest - c.earliest;
    EXPECT_GE(spread.least(), c.earliest);
    EXPECT_LT(spread.least(), c.earliest + width * 0.05);
    EXPECT_LE(spread.most(), c.latest);
    EXPECT_GT(spread.most(), c.latest - width * 0.05);
    EXPECT_EQ(spread.together(), 1u);
  }
}

TEST(RefreshMachineWaitingTest, F8ClientsThatGetOneHintAreSpread) {
  Spread spread;
  for (int seed = 0; seed < kSeeds; ++seed) {
    MachineDriver d(RefreshPolicy(), seed);
    d.ReadAndStart();
    d.Succeed(Expiry::In(S(3600)).WithRefreshIn(S(3000)));
    spread.Add(d.check_at());
  }
  EXPECT_GE(spread.least(), S(2640));
  EXPECT_LT(spread.least(), S(2660));
  EXPECT_LE(spread.most(), S(3000));
  EXPECT_GT(spread.most(), S(2980));
  EXPECT_EQ(spread.together(), 1u);
}

// No token is stale before a quarter of its life. If the hint is early, clients
// must be spread over the time after that quarter.
TEST(RefreshMachineWaitingTest, F8ClientsWhoseHintIsCutAreSpread) {
  for (const absl::Duration hint : {S(3600), S(21600), S(22000)}) {
    SCOPED_TRACE(hint);
    Spread spread;
    for (int seed = 0; seed < kSeeds; ++seed) {
      MachineDriver d(RefreshPolicy(), seed);
      d.ReadAndStart();
      d.Succeed(Expiry::In(S(86400)).WithRefreshIn(hint));
      spread.Add(d.check_at());
    }
    EXPECT_GE(spread.least(), S(21600));
    EXPECT_LT(spread.least(), S(21600 + 432));
    EXPECT_LE(spread.most(), S(21600 + 8640));
    EXPECT_GT(spread.most(), S(21600 + 8640 - 432));
    EXPECT_EQ(spread.together(), 1u);
  }
}

// Regression test: with a large jitter, a token with a hint never became stale.
TEST(RefreshMachineWaitingTest, F8AHintHoldsWithALargeJitterToo) {
  RefreshPolicy policy;
  policy.jitter = 0.999;
  Spread spread;
  for (int seed = 0; seed < kSeeds; ++seed) {
    MachineDriver d(policy, seed);
    d.ReadAndStart();
    d.Succeed(Expiry::In(S(3600)).WithRefreshIn(S(1000)));
    EXPECT_EQ(d.At(S(3000)).freshness(), Freshness::kStale);
    d.t = S(0);
    spread.Add(d.check_at());
  }
  EXPECT_GE(spread.least(), S(900));
  EXPECT_EQ(spread.together(), 1u);
}

TEST(RefreshMachineWaitingTest, F8NoTokenIsStaleBeforeAQuarterOfItsLife) {
  for (const double jitter : {0.1, 0.5, 0.999}) {
    for (const absl::Duration window :
         {S(1), S(44), S(46), S(3600), kForever}) {
      for (const absl::Duration life : {S(4), S(60), S(3600)}) {
        for (int seed = 0; seed < 100; ++seed) {
          RefreshPolicy policy;
          policy.jitter = jitter;
          policy.stale_window = window;
          MachineDriver d(policy, seed);
          d.Hold(life);
          EXPECT_GE(d.check_at(), life / 4);
          EXPECT_EQ(d.Read(), Answer::kServe);
          EXPECT_FALSE(d.submitted());
        }
      }
    }
  }
}

TEST(RefreshMachineWaitingTest, F4AWindowWithinTheMarginMeansNeverStale) {
  for (const absl::Duration window : {S(0), S(1), S(39), S(40)}) {
    for (int seed = 0; seed < 10; ++seed) {
      RefreshPolicy policy;
      policy.stale_window = window;
      MachineDriver d(policy, seed);
      d.Hold(S(3600));
      EXPECT_EQ(d.check_at(), S(3560));
    }
  }
}

// ---- The cooldown ----

TEST(RefreshMachineWaitingTest, B3TheCooldownIsCutToAQuarterOfWhatIsLeft) {
  struct Case {
    absl::Duration life, fails_at, cooldown;
  };
  const Case cases[] = {
      {S(3600), S(2400), S(60)},
      {S(3600), S(3320), S(60)},
      {S(3600), S(3320) + Ms(4), Ms(59999)},
      {S(3600), S(3540), S(5)},
      {S(3600), S(3559), S(1)},
      {S(20), S(11), S(1)},
      {S(40), S(20), Ms(2500)},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.fails_at);
    MachineDriver d;
    d.Hold(c.life);
    d.At(c.fails_at).Read();
    d.Start();
    // A Retry-After of 1 ms replaces the backoff. What remains is the minimum
    // interval and the cooldown.
    d.Fail(Busy(), Ms(1));
    EXPECT_EQ(d.event(EventKind::kBackoff).delay, c.cooldown);
  }
}

TEST(RefreshMachineWaitingTest, B3TheCooldownGoesByTheClockThatIsAhead) {
  MachineDriver d;
  d.Hold(S(3600));
  // At 2400 s, the token is usable for another 160 s by the wall clock.
  d.wall_step = S(1000);
  d.At(S(2400)).Read();
  d.Start();
  d.Fail(Busy(), Ms(1));
  EXPECT_EQ(d.event(EventKind::kBackoff).delay, S(40));
}

TEST(RefreshMachineWaitingTest, B3ACooldownThatIsSetIsNotCut) {
  for (const absl::Duration cooldown : {S(0), S(60), S(2000), kForever}) {
    RefreshPolicy policy = ExactPolicy();
    policy.background_cooldown = cooldown;
    MachineDriver d(policy);
    d.Hold(S(3600));
    d.At(S(3540)).Read();
    d.Start();
    d.Fail(Busy(), Ms(1));
    d.At(std::min(S(3541) + cooldown, S(3560)));
    EXPECT_EQ(d.Read(), d.t < S(3560) ? Answer::kServe : Answer::kWait);
    EXPECT_TRUE(d.submitted());
  }
}

TEST(RefreshMachineWaitingTest, B3AShortTokenIsTriedForUntilItExpires) {
  MachineDriver d;
  d.Hold(S(20));  // The token is usable for 15 s.
  d.t = S(10);
  EXPECT_THAT(d.Outage(S(15) - Tick(), Ms(10)), ElementsAre(10, 12));
}

// ---- What reads are told ----

TEST(RefreshMachineWaitingTest, B9ReadsThatRejectAreToldTheSameTime) {
  MachineDriver d;
  d.Hold(S(3600));
  EXPECT_EQ(d.At(S(10)).ReadRejecting(1), Answer::kWait);
  d.Start();
  d.Fail(absl::UnknownError("no"));
  EXPECT_EQ(d.out.failure.next_attempt, d.WallAt(S(12)));
  d.wall_step = Ms(7);
  EXPECT_EQ(d.At(S(11)).ReadRejecting(1), Answer::kFail);
  EXPECT_EQ(d.out.failure.next_attempt, d.WallAt(S(12)));
}

// ---- Clocks ----

TEST(RefreshMachineWaitingTest, R6TheEndOfABackoffIsSeenByTheWallClock) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_stale_on_error = S(1000);
  policy.background_cooldown = absl::ZeroDuration();
  MachineDriver d(policy);
  d.Hold(S(3600));
  d.At(S(2400)).Read();
  d.Start();
  d.Fail();
  EXPECT_EQ(d.machine.check_at(d.now()).wall, d.WallAt(S(2402)));
  d.At(S(3700)).Read();  // The token has expired but is still served.
  d.Start();
  d.Fail();
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_EQ(d.machine.check_at(d.now()).wall, d.WallAt(S(3704)));
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
