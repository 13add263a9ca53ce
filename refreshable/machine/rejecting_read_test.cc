// SPDX-License-Identifier: Apache-2.0
//
// Tests of reads that tell RefreshMachine that a server rejected the token.

#include <optional>

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

// Returns a driver with a token of one hour, fetched at `at`.
MachineDriver Held(RefreshPolicy policy = ExactPolicy(),
                   absl::Duration at = absl::ZeroDuration()) {
  MachineDriver d(policy);
  d.At(at).Hold(S(3600));
  return d;
}

// ---- A7: what a rejecting read gets ----

TEST(RefreshMachineRejectingReadTest, A7NotServableAnyMoreIsAnOrdinaryRead) {
  MachineDriver d = Held();
  d.At(S(3600));
  EXPECT_EQ(d.ReadRejecting(1), Answer::kWait);
  const auto start = d.Start();
  EXPECT_EQ(start->reason, RefreshReason::kExpired);
  EXPECT_EQ(start->rejected, Generation());
  d.Fail();
  // The refresh is retried, as for any ordinary read.
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.machine.failures(), 1);
}

TEST(RefreshMachineRejectingReadTest, A7NotServedDegradedEither) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_stale_on_error = S(600);
  MachineDriver d = Held(policy);
  d.At(S(3600)).ReadAndStart();
  d.Fail();
  EXPECT_EQ(d.Read(), Answer::kServe);
  EXPECT_EQ(d.ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(3602));
  EXPECT_EQ(d.At(S(3602)).ReadRejecting(), Answer::kWait);
  EXPECT_EQ(d.Start()->rejected, Generation(1));
  // The same bytes with a later expiry make the token fresh again.
  d.Succeed(Expiry::In(S(3600)), Generation(1));
  EXPECT_FALSE(d.out.publish);
  EXPECT_TRUE(d.out.republish_extended);
  EXPECT_EQ(d.freshness(), Freshness::kFresh);
}

// ---- A8: joining an attempt ----

TEST(RefreshMachineRejectingReadTest, A8AQueuedAttemptIsToldOfIt) {
  MachineDriver d = StaleAndQueued();
  EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
  EXPECT_FALSE(d.submitted());
  const auto start = d.Start();
  EXPECT_EQ(start->reason, RefreshReason::kRejected);
  EXPECT_EQ(start->rejected, Generation(1));
  // The failure is counted, because no rejecting read started the refresh.
  d.Fail(absl::PermissionDeniedError("no"));
  EXPECT_EQ(d.machine.failures(), 1);
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_EQ(d.out.rejecting_waiters, Waiters::kFail);
  EXPECT_EQ(d.out.failure.cause.message(), "no");
  EXPECT_EQ(d.check_at(), S(660));
}

// In `d` the timer notices the timeout; in `late` a rejecting read does.
TEST(RefreshMachineRejectingReadTest, A8ATimeoutOfAnotherAttemptIsNotItsError) {
  MachineDriver d = StaleAndQueued();
  d.Start();
  EXPECT_EQ(d.ReadRejecting(), Answer::kWait);
  MachineDriver late = d;
  d.At(S(630)).Wake();
  EXPECT_EQ(d.out.rejecting_waiters, Waiters::kServe);
  EXPECT_EQ(d.ReadRejecting(), Answer::kFail);
  EXPECT_EQ(late.At(S(630)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(late.out.rejecting_waiters, Waiters::kServe);
  for (const MachineDriver* each : {&d, &late}) {
    EXPECT_EQ(each->out.failure.cause.code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_TRUE(each->out.failure.rejected);
  }
}

TEST(RefreshMachineRejectingReadTest, A8AFlightBetweenAttemptsIsNotWaitedFor) {
  MachineDriver d = Held();
  d.wall_step = S(4000);
  d.At(S(10)).ReadAndStart();
  d.Fail();
  // The wall clock steps back, which makes the token usable again.
  d.wall_step = S(0);
  EXPECT_EQ(d.At(S(11)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(12));
}

// ---- A9: starting ----

TEST(RefreshMachineRejectingReadTest, A9NeitherCooldownNorPolicyForbidIt) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_refresh = false;
  MachineDriver never = Held(policy);
  EXPECT_EQ(never.At(S(10)).ReadRejecting(), Answer::kWait);
  EXPECT_TRUE(never.submitted());
  MachineDriver d = StaleAndQueued();
  d.Start();
  d.Fail();  // The cooldown ends at 660 s, the backoff (B1) at 602 s.
  EXPECT_EQ(d.At(S(602) - Tick()).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.At(S(602)).ReadRejecting(), Answer::kWait);
  EXPECT_TRUE(d.submitted());
}

TEST(RefreshMachineRejectingReadTest, A9WhatTheServerAskedForBindsIt) {
  MachineDriver d = StaleAndQueued();
  d.Start();
  d.Fail(absl::ResourceExhaustedError("busy"), S(200));
  EXPECT_EQ(d.At(S(700)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(800));
  EXPECT_EQ(d.At(S(800)).ReadRejecting(), Answer::kWait);
}

TEST(RefreshMachineRejectingReadTest, A9TheMinimumIntervalAppliesToAll) {
  MachineDriver d = Held();  // The token's attempt started at 0 s.
  MachineDriver installed = d;
  EXPECT_EQ(d.At(S(1) - Tick()).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.told_next(), S(1));
  EXPECT_EQ(d.At(S(1)).ReadRejecting(), Answer::kWait);
  // Install exempts the next attempt from the minimum interval.
  EXPECT_TRUE(installed.At(S(1) - Tick()).Install(Expiry::In(S(3600))));
  EXPECT_EQ(installed.ReadRejecting(), Answer::kWait);
}

// ---- A10: one attempt, whose failure counts nowhere ----

TEST(RefreshMachineRejectingReadTest, A10AFailureIsTheRejectingReadsAlone) {
  MachineDriver d = Held();
  const absl::Duration stale = d.check_at();
  d.At(S(10)).ReadRejecting(std::nullopt, /*max_retries=*/5);
  d.Start();
  d.At(S(11)).Fail(absl::UnavailableError("502"));
  EXPECT_THAT(d.events(), ElementsAre("attempt_failed"));
  EXPECT_EQ(d.event(EventKind::kAttemptFailed).attempt, 1);
  EXPECT_EQ(d.event(EventKind::kAttemptFailed).failures, 0);
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_EQ(d.out.failure.cause.message(), "502");
  EXPECT_TRUE(d.out.failure.rejected);
  EXPECT_EQ(d.told_next(), S(12));
  EXPECT_FALSE(d.machine.refreshing());
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_TRUE(d.machine.last_cause().ok());
  EXPECT_EQ(d.next_start(), S(11));  // There is no backoff.
  EXPECT_EQ(d.check_at(), stale);
  // The next rejecting read comes too early, and is told of the failure too.
  EXPECT_EQ(d.ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(d.out.failure.cause.message()),
              testing::HasSubstr("502"));
  // There is no cooldown either.
  EXPECT_EQ(d.At(S(2400)).Read(), Answer::kServe);
  EXPECT_TRUE(d.submitted());
}

TEST(RefreshMachineRejectingReadTest, A10SoDoesATimeoutAndALostAttempt) {
  MachineDriver d = Held();
  d.At(S(10)).ReadRejecting();
  MachineDriver lost = d;
  d.Start();
  EXPECT_EQ(d.wake_at(), S(40));
  d.At(S(40)).Wake();
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(d.machine.failures(), 0);
  lost.Lost();
  EXPECT_EQ(lost.out.failure.cause.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(lost.out.failure.rejected);
  // A lost attempt does not count as started (A13).
  EXPECT_EQ(lost.ReadRejecting(), Answer::kWait);
  EXPECT_TRUE(lost.submitted());
}

// The attempt has timed out, but the timer has not fired yet. A second read
// ends the flight. The read that waited must be told of the timeout.
TEST(RefreshMachineRejectingReadTest, A10ThoseWhoWaitedAreToldWhy) {
  RefreshPolicy policy = ExactPolicy();
  policy.attempt_timeout = S(1);
  MachineDriver d = Held(policy);
  d.At(S(10)).ReadRejecting();
  d.Start();
  EXPECT_EQ(d.At(S(11)).ReadRejecting(), Answer::kFail);
  EXPECT_EQ(d.out.waiters, Waiters::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(d.out.failure.rejected);
}

TEST(RefreshMachineRejectingReadTest, A10ItsRetryAfterBindsEverybody) {
  MachineDriver d = Held();
  d.At(S(2390)).ReadRejecting();
  d.Start();
  d.Fail(absl::ResourceExhaustedError("busy"), S(1000));
  EXPECT_THAT(d.events(), ElementsAre("attempt_failed", "backoff"));
  EXPECT_EQ(d.event(EventKind::kBackoff).delay, S(300));  // The wait is capped.
  EXPECT_EQ(d.machine.failures(), 0);
  EXPECT_EQ(d.At(S(2400)).Read(), Answer::kServe);
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.check_at(), S(2690));
  MachineDriver gone = d;
  EXPECT_EQ(d.At(S(2690)).Read(), Answer::kServe);
  EXPECT_TRUE(d.submitted());
  // After an invalidation, a read fails at once, with the cause of the failed
  // attempt.
  gone.Invalidate();
  EXPECT_EQ(gone.Read(), Answer::kFail);
  EXPECT_EQ(gone.out.failure.cause.message(), "busy");
  EXPECT_EQ(gone.told_next(), S(2690));
  gone.Reset();
  EXPECT_EQ(gone.Read(), Answer::kWait);
}

TEST(RefreshMachineRejectingReadTest, A10NothingIsPromotedWhileItIsServed) {
  MachineDriver d = Held();
  d.At(S(10)).ReadRejecting();
  d.Start();
  EXPECT_EQ(d.Read(), Answer::kServe);
  d.Fail();
  EXPECT_FALSE(d.machine.refreshing());
}

// ---- A11: the same bytes again ----

TEST(RefreshMachineRejectingReadTest, A11TheSameBytesAreNoNewToken) {
  MachineDriver d = Held();
  d.At(S(2400)).Read();
  d.Start();
  d.Fail();
  EXPECT_EQ(d.At(S(2402)).ReadRejecting(), Answer::kWait);
  d.Start();
  d.Succeed(Expiry::In(S(1198)), Generation(1));  // The expiry is the same.
  EXPECT_THAT(d.events(), ElementsAre("token_unchanged"));
  EXPECT_FALSE(d.out.publish);
  EXPECT_FALSE(d.out.republish_extended);
  EXPECT_EQ(d.out.waiters, Waiters::kServe);
  EXPECT_EQ(d.out.rejecting_waiters, Waiters::kFail);
  EXPECT_EQ(d.out.failure.cause.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(d.told_next(), S(2404));
  EXPECT_EQ(d.machine.generation(), Generation(1));
  EXPECT_EQ(d.machine.failures(), 0);  // An answer resets it (B6).
  EXPECT_EQ(d.freshness(), Freshness::kStale);
  EXPECT_EQ(d.machine.expires_at(), d.WallAt(S(3600)));
}

// Once the machine has let go of a token, there is no published token to
// extend. So the same token gets a new generation.
TEST(RefreshMachineRejectingReadTest, R12ATokenThatWasLetGoIsPublishedAnew) {
  MachineDriver d = Held();
  d.At(S(3550)).ReadRejecting();
  d.Start();
  d.At(S(3560)).Wake();
  EXPECT_TRUE(d.out.let_go);
  d.Succeed(Expiry::In(S(3600)), Generation(1));
  EXPECT_TRUE(d.out.publish);
  EXPECT_FALSE(d.out.republish_extended);
  EXPECT_EQ(d.machine.generation(), Generation(2));
  EXPECT_TRUE(d.machine.current_rejected());
}

TEST(RefreshMachineRejectingReadTest, R12AnExtendedTokenIsLetGoLater) {
  MachineDriver d = Held();
  d.At(S(3550)).ReadRejecting();
  d.Start();
  d.Succeed(Expiry::In(S(3600)), Generation(1));
  EXPECT_TRUE(d.out.republish_extended);
  d.At(S(3560)).Wake();
  EXPECT_FALSE(d.out.let_go);
  d.At(S(7110)).Wake();
  EXPECT_TRUE(d.out.let_go);
}

TEST(RefreshMachineRejectingReadTest, A11ALateAnswerCountsToo) {
  MachineDriver d = Held();
  d.At(S(10)).ReadRejecting();
  d.Start();
  const AttemptId late = d.attempt;
  d.At(S(40)).Wake();
  d.At(S(42)).ReadRejecting();
  d.Start();
  d.Succeed(Expiry::Never(), Generation(1), late);
  EXPECT_THAT(d.events(), ElementsAre("attempt_abandoned", "token_unchanged"));
  EXPECT_EQ(d.out.rejecting_waiters, Waiters::kFail);
  EXPECT_FALSE(d.machine.refreshing());
}

// ---- A12: reporting a rejection without a read ----

TEST(RefreshMachineRejectingReadTest, A12AReportStartsNothing) {
  MachineDriver d = Held();
  d.At(S(10)).Report(Generation(2));
  EXPECT_THAT(d.events(), IsEmpty());
  d.Report(Generation(1));
  EXPECT_THAT(d.events(), ElementsAre("token_rejected"));
  EXPECT_TRUE(d.machine.current_rejected());
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.Read(), Answer::kServe);
  d.Report(Generation(1));
  EXPECT_THAT(d.events(), IsEmpty());
}

// ---- With Invalidate and Reset ----

TEST(RefreshMachineRejectingReadTest, A2AnAttemptThatKnowsIsNotAbandoned) {
  MachineDriver d = Held();
  d.At(S(100)).ReadRejecting();
  d.Start();
  EXPECT_TRUE(d.Invalidate());
  EXPECT_THAT(d.out.abandon, IsEmpty());
  EXPECT_FALSE(d.submitted());
  EXPECT_EQ(d.out.waiters, Waiters::kKeep);
  EXPECT_EQ(d.Read(), Answer::kWait);
  MachineDriver same = d;
  d.Succeed(Expiry::In(S(3600)));
  EXPECT_TRUE(d.out.publish);
  EXPECT_EQ(d.starts.size(), 2u);
  // An answer with the bytes of the withdrawn token is a failure (F5).
  same.Succeed(Expiry::In(S(3600)), Generation(1));
  EXPECT_FALSE(same.out.publish);
  EXPECT_EQ(same.machine.failures(), 1);
  EXPECT_EQ(same.out.waiters, Waiters::kFail);
  const std::string told(same.out.failure.cause.message());
  EXPECT_THAT(told, testing::HasSubstr("Reset()"));
  EXPECT_THAT(told, testing::HasSubstr("Install()"));
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
