// SPDX-License-Identifier: Apache-2.0
//
// Tests of RefreshMachine: the outcomes of a refresh, `refresh_ahead`, jitter
// and Install.

#include <algorithm>
#include <string>
#include <utility>
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

RefreshPolicy Ahead() {
  RefreshPolicy policy = ExactPolicy();
  policy.refresh_ahead = true;
  return policy;
}

// ---- One refresh at a time, and the answers of attempts ----

TEST(RefreshMachineRefreshTest, F1ARefreshThatIsUnderWayIsTheOnlyOne) {
  MachineDriver d(Ahead());
  d.Hold(S(3600));
  d.At(S(2400)).Wake();
  ASSERT_TRUE(d.submitted());
  d.Wake();
  EXPECT_FALSE(d.submitted());
  d.Start();
  // If the executor runs an attempt twice, the second run starts nothing.
  EXPECT_FALSE(d.Start().has_value());
  EXPECT_EQ(d.At(S(2410)).Read(), Answer::kServe);
  d.Reset();
  EXPECT_FALSE(d.submitted());
  EXPECT_THAT(d.starts, ElementsAre(0, 2400));
}

TEST(RefreshMachineRefreshTest, F2AnAnswerOfAnotherGenerationChangesNothing) {
  for (bool success : {true, false}) {
    MachineDriver d;
    d.Hold(S(3600));
    d.At(S(2400)).Read();
    d.Start();
    const AttemptId late = d.attempt;
    d.Install(Expiry::In(S(3600)));
    EXPECT_THAT(d.out.abandon, ElementsAre(late));
    d.At(S(2401));
    if (success) {
      d.Succeed(Expiry::In(S(9999)), std::nullopt, late);
    } else {
      d.Fail(absl::UnknownError("late"), S(300), late);
    }
    EXPECT_THAT(d.events(), ElementsAre("attempt_discarded"));
    EXPECT_FALSE(d.out.publish);
    EXPECT_EQ(d.out.waiters, Waiters::kKeep);
    EXPECT_EQ(d.machine.generation(), Generation(2));
    EXPECT_EQ(d.machine.expires_at(), d.WallAt(S(6000)));
    EXPECT_EQ(d.machine.failures(), 0);
    EXPECT_TRUE(d.machine.last_cause().ok());
    EXPECT_EQ(d.check_at(), S(4800));
    EXPECT_EQ(d.wake_at(), S(4800));
    // The late answer has begun no cooldown.
    EXPECT_EQ(d.At(S(4800)).Read(), Answer::kServe);
    EXPECT_TRUE(d.submitted());
  }
}

TEST(RefreshMachineRefreshTest, F5AnExpiredTokenIsAFailureAndRetried) {
  const MachineDriver when;
  const std::pair<Expiry, std::string> cases[] = {
      {Expiry::In(S(5)), " (less than 1s ago)"},
      {Expiry::In(S(4) + Tick()), " (less than 1s ago)"},
      {Expiry::In(S(4)), " (1s ago)"},
      {Expiry::In(S(0) + Tick()), " (4s ago)"},
      {Expiry::In(S(0)), " (5s ago)"},
      {Expiry::In(-kForever), ""},
      {Expiry::At(when.WallAt(S(5))), " (less than 1s ago)"},
      {Expiry::At(when.WallAt(S(-3600))), " (1h5s ago)"},
      {Expiry::At(absl::InfinitePast()), ""}};
  for (const auto& [expiry, ago] : cases) {
    MachineDriver d;
    d.ReadAndStart();
    d.At(S(5)).Succeed(expiry);
    EXPECT_FALSE(d.out.publish);
    EXPECT_EQ(d.out.waiters, Waiters::kKeep);
    EXPECT_THAT(d.events(), ElementsAre("attempt_failed", "backoff"));
    EXPECT_EQ(d.machine.last_cause(),
              absl::UnavailableError(
                  "the token source returned a token that has expired" + ago));
    EXPECT_EQ(d.wake_at(), S(6));
    EXPECT_EQ(d.machine.generation(), Generation());
  }
  MachineDriver d;
  d.ReadAndStart();
  d.At(S(5)).Succeed(Expiry::In(S(5) + Tick()));
  EXPECT_TRUE(d.out.publish);
}

TEST(RefreshMachineRefreshTest, F5TheSameTokenIsWelcomeIfNobodyRejectedIt) {
  MachineDriver d;
  d.Hold(S(3600));
  d.At(S(2400)).Read();
  d.Start();
  d.Succeed(Expiry::In(S(3600)), Generation(1));
  EXPECT_TRUE(d.out.publish);
}

// ---- Refreshing ahead ----

TEST(RefreshMachineRefreshTest, F7GoesOnByTheScheduleAfterFailures) {
  MachineDriver d(Ahead());
  d.Hold(S(3600));
  // An attempt starts every 60 s. At first the cooldown sets this wait, later
  // the backoff, and after the expiry the probe interval.
  d.t = S(2399);
  const std::vector<double> starts = d.Outage(S(3800), S(5000));
  std::vector<double> expected;
  for (int at = 2400; at <= 3780; at += 60) expected.push_back(at);
  EXPECT_EQ(starts, expected);
}

TEST(RefreshMachineRefreshTest, F7ExpiryEndsTheCooldown) {
  RefreshPolicy policy = Ahead();
  policy.background_cooldown = S(2000);
  MachineDriver d(policy);
  d.Hold(S(3600));
  d.At(S(2400)).Wake();
  d.Start();
  d.At(S(2401)).Fail();
  EXPECT_EQ(d.wake_at(), S(3560));
  d.At(S(3560)).Wake();
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.Start()->reason, RefreshReason::kExpired);
  d.Fail();
  EXPECT_FALSE(d.machine.refreshing());  // The flight has only one attempt.
  EXPECT_EQ(d.wake_at(), S(3564));
}

TEST(RefreshMachineRefreshTest, F7AfterAnInvalidationAtOnce) {
  MachineDriver d(Ahead());
  d.Hold(S(3600));
  d.At(S(100)).Invalidate();
  EXPECT_TRUE(d.submitted());
  EXPECT_EQ(d.Start()->reason, RefreshReason::kRejected);
}

TEST(RefreshMachineRefreshTest, F7AFatalMachineSleeps) {
  RefreshPolicy policy = Ahead();
  policy.retry.on_exhausted = OnExhausted::kFatal;
  MachineDriver d(policy);
  d.Hold(S(3600));
  d.At(S(3559)).Outage(S(7200), S(1));
  EXPECT_EQ(d.wake_at(), kForever);
  d.Reset();
  EXPECT_TRUE(d.submitted());
}

// Regression test: after a lost attempt, the machine asked for no timer while
// the token was stale. If no token was usable, the machine submitted attempts
// without pause.
TEST(RefreshMachineRefreshTest, F7ALostAttemptIsMadeUpForButNotAtOnce) {
  MachineDriver d(Ahead());
  d.Hold(S(3600));
  d.At(S(2400)).Wake();
  d.Lost();
  EXPECT_EQ(d.wake_at(), S(2402));
  d.Wake();
  EXPECT_FALSE(d.submitted());
  d.At(S(2402)).Wake();
  EXPECT_TRUE(d.submitted());
  d.Lost();
  // A read does not wait for the timer.
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_TRUE(d.submitted());

  d.At(S(3560)).Lost();
  d.Wake();  // The token has expired.
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.wake_at(), S(3562));
  d.At(S(3562)).Wake();
  EXPECT_TRUE(d.submitted());
}

// Regression test: in the past, jitter could make a token stale on arrival. The
// machine then asked for no timer. Now no token is stale before a quarter of
// its life.
TEST(RefreshMachineRefreshTest, F7ATokenThatIsStaleEarlyIsRefreshedInTime) {
  RefreshPolicy policy = Ahead();
  policy.stale_window = kForever;
  policy.jitter = 0.999;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    for (const absl::Duration interval : {S(0), S(1)}) {
      policy.min_interval = interval;
      MachineDriver d(policy, seed);
      d.Hold(S(100));
      const absl::Duration at = std::max(d.wake_at(), d.t);
      EXPECT_EQ(at, S(25));
      d.At(at).Wake();
      EXPECT_TRUE(d.submitted());
    }
  }
}

// ---- Jitter ----

TEST(RefreshMachineRefreshTest, F8WaitsVaryByATenthAndNeverPastTheLongest) {
  RefreshPolicy policy;
  policy.retry.max_consecutive_failures = 100;
  std::vector<absl::Duration> least(8, kForever), most(8, -kForever);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    MachineDriver d(policy, seed);
    for (int n = 0; n < 8; ++n) {
      d.FailTimes(1);
      least[n] = std::min(least[n], d.next_start() - d.t);
      most[n] = std::max(most[n], d.next_start() - d.t);
    }
  }
  const std::vector<int> waits = {2, 4, 8, 16, 32, 60, 60, 60};
  for (int n = 0; n < 8; ++n) {
    SCOPED_TRACE(n);
    EXPECT_GE(least[n], S(waits[n]) * 0.9);
    EXPECT_LT(least[n], S(waits[n]) * 0.902);
    EXPECT_LE(most[n], waits[n] == 60 ? S(60) : S(waits[n]) * 1.1);
    EXPECT_GT(most[n], waits[n] == 60 ? S(60) * 0.998 : S(waits[n]) * 1.098);
  }
}

TEST(RefreshMachineRefreshTest, F8TheGeneratorIsSplitMix64) {
  MachineDriver d(RefreshPolicy(), 0);
  d.Hold(S(3600));
  // The constant is the first output of SplitMix64's reference implementation
  // for seed 0.
  const double first = (0xE220A8397B1DCDAFu >> 11) * 0x1.0p-53;
  EXPECT_EQ(d.check_at(), S(2400) - S(360) * first);
}

// ---- Install ----

TEST(RefreshMachineRefreshTest, F9InstallClearsFailuresCooldownAndFatal) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.on_exhausted = OnExhausted::kFatal;
  MachineDriver d(policy);
  d.FailTimes(7);
  EXPECT_TRUE(d.machine.fatal(d.now()));
  EXPECT_TRUE(d.Install(Expiry::In(Ms(800))));
  EXPECT_THAT(d.events(),
              ElementsAre("token_published", "healed", "state_changed"));
  EXPECT_FALSE(d.machine.exhausted(d.now()));
  // The next attempt is exempt from the minimum interval.
  EXPECT_EQ(d.At(d.t + Ms(400)).Read(), Answer::kServe);
  EXPECT_TRUE(d.submitted());
  d.Start();
  d.Fail();
  EXPECT_EQ(d.next_start(), d.t + S(2));

  MachineDriver cooled;
  cooled.Hold(S(3600));
  cooled.At(S(2400)).Read();
  cooled.Start();
  cooled.Fail(absl::UnknownError("no"), S(300));
  cooled.Install(Expiry::In(S(4)));
  EXPECT_EQ(cooled.At(S(2402)).Read(), Answer::kServe);
  EXPECT_TRUE(cooled.submitted());
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
