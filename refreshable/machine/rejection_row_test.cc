// SPDX-License-Identifier: Apache-2.0
//
// Tests of how often RefreshMachine lets rejections start attempts.

#include <cstdint>
#include <optional>
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

// Returns a driver with a token of one hour, fetched at `at`.
MachineDriver Held(RefreshPolicy policy = ExactPolicy(),
                   absl::Duration at = absl::ZeroDuration()) {
  MachineDriver d(policy);
  d.At(at).Hold(S(3600));
  return d;
}

// Rejects the current token once a second until `end`. Returns the starts of
// the attempts, in seconds.
std::vector<double> RejectAll(MachineDriver& d, absl::Duration end) {
  d.starts.clear();
  for (; d.t < end; d.t += S(1)) {
    if (d.ReadRejecting() == Answer::kWait && d.submitted() && d.Start()) {
      d.Succeed(Expiry::In(S(3600)));
    }
  }
  return d.starts;
}

TEST(RefreshMachineRejectionRowTest, A13TheWaitsGrow) {
  MachineDriver d = Held();
  d.At(S(10));
  EXPECT_THAT(RejectAll(d, S(300)),
              ElementsAre(10, 12, 16, 24, 40, 72, 132, 192, 252));
  RefreshPolicy policy = ExactPolicy();
  policy.max_rejection_backoff = S(600);
  MachineDriver longer = Held(policy);
  longer.At(S(10));
  EXPECT_THAT(
      RejectAll(longer, S(2300)),
      ElementsAre(10, 12, 16, 24, 40, 72, 136, 264, 520, 1032, 1632, 2232));
}

TEST(RefreshMachineRejectionRowTest, A13ItEndsWhenATokenTurnsStaleUnrejected) {
  MachineDriver d = Held();
  d.At(S(10));
  // The token of the last attempt is not rejected.
  RejectAll(d, S(41));
  const Generation last = d.machine.generation();
  EXPECT_EQ(last, Generation(6));
  MachineDriver noted = d;
  d.At(S(2440));
  EXPECT_THAT(RejectAll(d, S(2449)), ElementsAre(2440, 2442, 2446));
  // If the last token is rejected before it turns stale, the waits stay long.
  noted.At(S(2439)).Report(last);
  noted.At(S(2440));
  EXPECT_THAT(RejectAll(noted, S(2600)), ElementsAre(2440, 2500, 2560));
}

TEST(RefreshMachineRejectionRowTest, A13OrIsReplacedThen) {
  MachineDriver d = Held();
  d.At(S(10));
  RejectAll(d, S(41));
  d.At(S(2440)).Read();
  d.Start();
  d.Succeed(Expiry::In(S(3600)));
  EXPECT_THAT(RejectAll(d, S(2450)), ElementsAre(2441, 2443, 2447));
}

TEST(RefreshMachineRejectionRowTest, A13AWithdrawnTokenWasRejectedToo) {
  MachineDriver d = Held();
  d.At(S(10));
  RejectAll(d, S(41));
  d.At(S(100)).Invalidate();
  // The token was invalidated before it turned stale, so the waits stay long.
  d.At(S(3000));
  d.ReadAndStart();
  d.Succeed(Expiry::In(S(3600)));
  EXPECT_EQ(d.At(S(3001)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(3032));
}

TEST(RefreshMachineRejectionRowTest, A13ResetAndInstallEndIt) {
  for (const bool install : {false, true}) {
    MachineDriver d = Held();
    d.At(S(10));
    RejectAll(d, S(75));
    EXPECT_EQ(d.ReadRejecting(), Answer::kFail);
    if (install) {
      d.Install(Expiry::In(S(3600)));
    } else {
      d.Reset();
    }
    EXPECT_FALSE(d.machine.current_rejected());
    EXPECT_THAT(RejectAll(d, S(82)), ElementsAre(75, 77, 81));
  }
}

TEST(RefreshMachineRejectionRowTest, A13TheWaitCountsFromTheLastAttemptOfAny) {
  MachineDriver d = Held();
  d.At(S(10));
  // After these attempts, the wait is 32 s.
  RejectAll(d, S(70));
  d.At(S(2439)).Report(d.machine.generation());
  d.At(S(2500)).Read();
  d.Start();
  d.Succeed(Expiry::In(S(3600)));
  // The wait now counts from the ordinary refresh at 2500 s.
  EXPECT_EQ(d.At(S(2510)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(2532));
}

TEST(RefreshMachineRejectionRowTest, A13ItsWaitsVaryAndStayWithinTheLongest) {
  RefreshPolicy policy;  // This policy has jitter.
  MachineDriver d = Held(policy);
  d.At(S(10)).ReadRejecting();
  d.Start();
  d.Fail();
  EXPECT_NE(d.told_next(), S(12));
  EXPECT_GE(d.told_next(), Ms(11'800));
  EXPECT_LE(d.told_next(), Ms(12'200));
}

TEST(RefreshMachineRejectionRowTest, A13AnAttemptThatIsLostDoesNotCount) {
  MachineDriver d = Held();
  d.At(Ms(1500));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
    d.Lost();
  }
  EXPECT_THAT(RejectAll(d, S(4)), ElementsAre(1.5, 3.5));
}

TEST(RefreshMachineRejectionRowTest, A13InAForkedChildItsAttemptHasNotBegun) {
  MachineDriver d = Held();
  d.At(S(10));
  RejectAll(d, S(13));  // The attempts start at 10 s and 12 s.
  d.At(S(16)).ReadRejecting();
  d.Start();
  d.machine.OnFork();
  // The third attempt belongs to the parent, so the child does not count
  // it. The wait after the second attempt (4 s) is over.
  EXPECT_EQ(d.machine.next_start_by_rejection(d.now()) - d.now().boot,
            absl::ZeroDuration());
  EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
}

TEST(RefreshMachineRejectionRowTest, F8AChildDrawsItsWaitAnew) {
  const auto row_at = [](std::optional<uint64_t> seed) {
    MachineDriver d((RefreshPolicy()));
    d.Hold(S(3600));
    d.At(S(10)).ReadRejecting();
    d.Start();
    d.Fail();
    d.machine.OnFork(seed);
    const absl::Duration wait =
        d.machine.next_start_by_rejection(d.now()) - d.now().boot;
    EXPECT_GE(wait, absl::Milliseconds(1800));
    EXPECT_LE(wait, absl::Milliseconds(2200));
    return wait;
  };
  EXPECT_NE(row_at(1), row_at(2));
  EXPECT_EQ(row_at(std::nullopt), row_at(std::nullopt));
}

// An attempt that is not run within `attempt_timeout` is lost (E2).
TEST(RefreshMachineRejectionRowTest, A13AnAttemptThatIsNotRunIsLost) {
  for (const bool by_read : {false, true}) {
    MachineDriver d = Held();
    d.At(S(10)).ReadRejecting();
    EXPECT_EQ(d.wake_at(), S(40));
    d.At(S(40));
    if (by_read) {
      EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
      EXPECT_TRUE(d.submitted());
    } else {
      d.Wake();
      EXPECT_FALSE(d.submitted());
    }
    EXPECT_EQ(d.out.waiters, Waiters::kFail);
    EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(d.out.failure.rejected);
    EXPECT_EQ(d.machine.failures(), 0);
    // The lost attempt does not count in the row. So the wait after the next
    // attempt is the row's first backoff, 2 s.
    if (!by_read) {
      EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
    }
    d.Start();
    d.Fail();
    EXPECT_EQ(d.At(S(42) - Tick()).ReadRejecting(), Answer::kFail);
    EXPECT_EQ(d.At(S(42)).ReadRejecting(), Answer::kWait);
  }
}

// The call that starts at 10 s never returns. Until `probe_interval` (60 s)
// after its start, an attempt fails without a call.
TEST(RefreshMachineRejectionRowTest, F6TheBoundOfAbandonedCallsApplies) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_abandoned_calls = 1;
  policy.attempt_timeout = S(5);
  MachineDriver d = Held(policy);
  d.At(S(10)).ReadRejecting();
  d.Start();
  d.At(S(15)).Wake();
  EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
  EXPECT_FALSE(d.Start().has_value());
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(d.out.failure.rejected);
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_EQ(d.At(S(70)).ReadRejecting(), Answer::kWait);
  EXPECT_EQ(d.Start()->rejected, Generation(1));
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
