// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses R1 to R8 and B9.

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::CausedBy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::NextAttemptAt;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RefreshableReadTest : public ScenarioTest {};

// ---- R1 to R3: fresh, stale, and without a usable token ----

TEST_F(RefreshableReadTest, R1FreshReadGivesTheExecutorNothingToDo) {
  const auto token = MakeWithToken();
  const size_t calls = source_.call_count();
  const size_t pending = executor_.pending();
  executor_.set_refuse_runs(true);
  executor_.set_refuse_timers(true);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(token->Get(absl::ZeroDuration()), HoldsToken("t1"));
  }
  EXPECT_EQ(QueuedTasks(), 0u);
  EXPECT_EQ(executor_.pending(), pending);
  EXPECT_EQ(source_.call_count(), calls);
}

TEST_F(RefreshableReadTest, R2StaleGetStartsOneBackgroundFlight) {
  const auto token = MakeWithToken();
  AdvanceTo(absl::Seconds(50));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(source_.call_count(), 2u);
  EXPECT_EQ(source_.calls()[1].context.reason(), RefreshReason::kStale);
  source_.Release(1, "t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(RefreshableReadTest, R2StaleGetAsyncStartsOneBackgroundFlight) {
  const auto token = MakeWithToken();
  AdvanceTo(absl::Seconds(50));
  token->GetAsync(absl::ZeroDuration(), Note());
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(QueuedTasks(), 3u);  // An attempt and two callbacks.
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1"), HoldsToken("t1")));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(RefreshableReadTest, R2NoneStartsWhileTheCooldownLasts) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_cooldown = absl::Seconds(10);
  const auto token = MakeWithToken(policy);
  source_.Always(absl::UnavailableError("502"));
  AdvanceTo(absl::Seconds(50));
  for (; Elapsed() < absl::Seconds(75);
       executor_.AdvanceBy(absl::Milliseconds(500))) {
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    token->GetAsync(absl::ZeroDuration(), Note());
    executor_.RunUntilIdle();
  }
  EXPECT_THAT(source_.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::Seconds(50),
                          absl::Seconds(60), absl::Seconds(70)));
}

TEST_F(RefreshableReadTest, R2BackgroundRefreshOffServesStaleAndStartsNothing) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_refresh = false;
  const auto token = MakeWithToken(policy);
  AdvanceTo(absl::Seconds(74));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  token->GetAsync(absl::ZeroDuration(), Note());
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
  EXPECT_EQ(source_.call_count(), 1u);
}

TEST_F(RefreshableReadTest, R3ReadersWithoutATokenJoinOneFlight) {
  const auto token = Make();
  for (int i = 0; i < 3; ++i) {
    token->GetAsync(absl::InfiniteDuration(), Note());
    executor_.RunUntilIdle();
  }
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_EQ(token->health().waiters, 3);
  source_.Release(0, "t1", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1"), HoldsToken("t1"),
                                     HoldsToken("t1")));
}

TEST_F(RefreshableReadTest, R3ReaderJoinsTheBackgroundFlightOnceExpired) {
  const auto token = MakeWithToken();
  AdvanceTo(absl::Seconds(74));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  // The source has not answered the background attempt.
  AdvanceTo(absl::Seconds(75));
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, IsEmpty());
  source_.Release(1, "t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
  EXPECT_EQ(source_.call_count(), 2u);
}

// If the token expires before the read's callback runs, the read waits for the
// next token.
TEST_F(RefreshableReadTest, R3TokenThatExpiresOnItsWayIsNotHandedOut) {
  const auto token = MakeWithToken();
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.Suspend(absl::Hours(2));
  source_.Answer("t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
}

// ---- R4, R5: the edges ----

TEST_F(RefreshableReadTest, R4StaleAtTheEdge) {
  const auto token = MakeWithToken();
  AdvanceTo(absl::Seconds(50) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
}

TEST_F(RefreshableReadTest, R4ExpiredAtTheEdge) {
  const auto token = MakeWithToken();
  AdvanceTo(absl::Seconds(75) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kExpired);
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(token->Get(absl::ZeroDuration()),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
}

// Without a margin, a token is expired from the very moment of its expiry.
TEST_F(RefreshableReadTest, R4ExpiredOnTheWallClocksEdgeToo) {
  RefreshPolicy policy = ExactPolicy();
  policy.expiry_margin = absl::ZeroDuration();
  const auto token = MakeWithToken(policy);
  executor_.AdvanceBy(absl::Seconds(2));
  executor_.StepWall(absl::Seconds(98) - kTick);
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.StepWall(kTick);
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(token->Get(absl::ZeroDuration()),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(RefreshableReadTest, R5WithoutExpiryFreshUntilInvalidated) {
  for (const Expiry never :
       {Expiry::Never(), Expiry::At(absl::InfiniteFuture()),
        Expiry::In(absl::InfiniteDuration())}) {
    const auto token = Make();
    source_.Answer(Credential<std::string>("t1", never));
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    executor_.AdvanceBy(absl::Hours(24 * 365 * 30));
    executor_.StepWall(absl::Hours(24 * 365 * 30));
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(token->health().freshness, Freshness::kFresh);
    EXPECT_EQ(token->health().expires_at, absl::InfiniteFuture());
    EXPECT_EQ(executor_.pending(), 0u);
    EXPECT_TRUE(token->Invalidate(Generation(1)));
    source_.Answer(Credential<std::string>("t2", never));
    EXPECT_THAT(token->Get(), HoldsToken("t2"));
  }
}

TEST_F(RefreshableReadTest, R5WithoutExpiryFreshUntilReplaced) {
  const auto token = Make();
  source_.Answer(Credential<std::string>("t1", Expiry::Never()));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  ASSERT_TRUE(token->Install({"t2", Expiry::In(absl::Seconds(100))}).ok());
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  executor_.AdvanceBy(absl::Seconds(50));
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
}

// ---- B9, R7: what an error says ----

TEST_F(RefreshableReadTest, B9EveryReadIsToldTheSameOfOneFailure) {
  const auto token = Make();
  source_.Answer(absl::InternalError("no"));
  std::set<std::string> told = {token->Get().status().ToString()};
  for (int i = 0; i < 5; ++i) {
    executor_.AdvanceBy(absl::Milliseconds(301));
    executor_.StepWall(absl::Microseconds(7));
    told.insert(token->Get().status().ToString());
  }
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_THAT(told, ElementsAre(HasSubstr("not before 2026-01-01T00:00:02+")));
}

TEST_F(RefreshableReadTest, R7AReadsOwnTimeoutIsToldFromAnAttempts) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);  // The source never answers.
  absl::Status own = token->Get(absl::Seconds(29)).status();
  token->GetAsync(absl::Milliseconds(500), Note());
  executor_.AdvanceBy(absl::Milliseconds(500));
  for (const absl::Status& status : {own, outcomes_.at(0).status()}) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    EXPECT_TRUE(IsReadTimeout(status)) << status;
  }
  const absl::Status attempts = token->Get().status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(attempts)) << attempts;
  EXPECT_FALSE(IsReadTimeout(attempts)) << attempts;
}

// ---- R6: two clocks ----

// Regression test: in the past, the last read below started no refresh.
TEST_F(RefreshableReadTest, R6TheNextReadSeesThatTheCooldownEndedInASuspend) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_cooldown = absl::Seconds(10);
  const auto token = MakeWithToken(policy);
  AdvanceTo(absl::Seconds(50));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 2u);
  executor_.Suspend(absl::Seconds(10) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.Suspend(kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
}

TEST_F(RefreshableReadTest, R6SuspendIsSeenByTheNextRead) {
  const auto token = MakeWithToken();
  executor_.Suspend(absl::Hours(2));
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(RefreshableReadTest, R6StepForwardIsSeenByTheNextRead) {
  const auto token = MakeWithToken();
  executor_.StepWall(absl::Hours(2));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(RefreshableReadTest, R6AfterAStepBackTheTokenEndsWithItsTrueLife) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_refresh = false;
  const auto token = Make(policy);
  source_.Answer(Credential<std::string>(
      "t1", Expiry::At(Now().wall + absl::Seconds(100))));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.StepWall(-absl::Hours(2));
  AdvanceTo(absl::Seconds(75) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.AdvanceBy(kTick);
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

// Only BootTime shows that the token has expired, because the wall clock was
// set back. `TryGet` sees this at once (R11), and `Get` sees it after the timer
// has run.
TEST_F(RefreshableReadTest, R6AfterAStepBackASuspendIsSeenByTheTimer) {
  const auto token = MakeWithToken();
  executor_.StepWall(-absl::Hours(2));
  executor_.Suspend(absl::Hours(1));
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  executor_.RunUntilIdle();
  EXPECT_FALSE(token->Get(absl::ZeroDuration()).ok());
}

TEST_F(RefreshableReadTest, R6StepBackLengthensNoBackoff) {
  const auto token = Make();
  source_.Answer(absl::UnavailableError("502"));
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  executor_.StepWall(-absl::Hours(2));
  source_.Answer("t1", absl::Hours(1));
  executor_.AdvanceBy(absl::Seconds(2));
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
  EXPECT_THAT(source_.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::Seconds(2)));
}

TEST_F(RefreshableReadTest, R6StepBackLengthensNoCooldown) {
  RefreshPolicy policy = ExactPolicy();
  policy.background_cooldown = absl::Seconds(10);
  const auto token = MakeWithToken(policy);
  source_.Always(absl::UnavailableError("502"));
  AdvanceTo(absl::Seconds(50));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  executor_.StepWall(-absl::Hours(2));
  AdvanceTo(absl::Seconds(60));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
}

// No timer fires during a suspend, but a blocked thread looks at the clock at
// least once a second.
TEST_F(RefreshableReadTest, R6BlockedReaderRechecksTheClock) {
  const auto token = Make();
  std::optional<LeaseOr> seen;
  std::thread reader([&] { seen = token->Get(absl::Hours(1)); });
  while (token->health().waiters == 0) std::this_thread::yield();
  executor_.Suspend(absl::Hours(1));
  reader.join();
  EXPECT_THAT(*seen, FailsWith(absl::StatusCode::kDeadlineExceeded));
}

// ---- R7, R8: each waiter for itself ----

TEST_F(RefreshableReadTest, R7EachWaiterHasItsOwnDeadline) {
  const auto token = Make();
  token->GetAsync(absl::Seconds(2), Note());
  token->GetAsync(absl::Seconds(1), Note());
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.AdvanceBy(absl::Seconds(1) - kTick);
  EXPECT_THAT(outcomes_, IsEmpty());
  executor_.AdvanceBy(kTick);
  EXPECT_THAT(outcomes_,
              ElementsAre(FailsWith(absl::StatusCode::kDeadlineExceeded)));
  executor_.AdvanceBy(absl::Seconds(1) - kTick);
  EXPECT_EQ(outcomes_.size(), 1u);
  executor_.AdvanceBy(kTick);
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_THAT(outcomes_[1], FailsWith(absl::StatusCode::kDeadlineExceeded));
  source_.Release(0, "t1", absl::Hours(1));
  executor_.RunUntilIdle();
  ASSERT_EQ(outcomes_.size(), 3u);
  EXPECT_THAT(outcomes_[2], HoldsToken("t1"));
}

TEST_F(RefreshableReadTest, R7FlightGoesOnAndTheNextReaderProfits) {
  const auto token = Make();
  EXPECT_THAT(token->Get(absl::Seconds(1)),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(Elapsed(), absl::Seconds(1));
  EXPECT_TRUE(token->health().refreshing);
  source_.Release(0, "t1", absl::Hours(1));
  EXPECT_THAT(token->Get(absl::ZeroDuration()), HoldsToken("t1"));
  EXPECT_EQ(source_.call_count(), 1u);
}

TEST_F(RefreshableReadTest, R7WaiterWhoCannotSeeTheNextAttemptEndsAtOnce) {
  const auto token = Make();
  const absl::Time next = Now().wall + absl::Seconds(2);
  source_.Answer(absl::UnavailableError("502"));
  token->GetAsync(absl::Seconds(2) - kTick, Note());
  token->GetAsync(absl::Seconds(2), Note());
  executor_.RunUntilIdle();
  const auto failed =
      AllOf(FailsWith(absl::StatusCode::kUnavailable), CausedBy("502"),
            AfterFailures(1), NextAttemptAt(next));
  EXPECT_THAT(outcomes_, ElementsAre(failed));
  EXPECT_EQ(Elapsed(), absl::ZeroDuration());
  // Between two attempts a read fails at once if its deadline comes before the
  // next attempt.
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(token->Get(absl::Seconds(1) - kTick), failed);
  EXPECT_EQ(Elapsed(), absl::Seconds(1));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(absl::Seconds(2)), HoldsToken("t1"));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(RefreshableReadTest, R8FlightSurvivesTheCancellationOfAll) {
  const auto token = Make();
  const WaiterId only = token->GetAsync(absl::Seconds(9), Note());
  executor_.RunUntilIdle();
  EXPECT_TRUE(token->Cancel(only));
  EXPECT_FALSE(source_.calls()[0].context.cancelled());
  source_.Release(0, "t1", absl::Hours(1));
  executor_.AdvanceBy(absl::Seconds(9));
  EXPECT_THAT(outcomes_, IsEmpty());
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));
}

TEST_F(RefreshableReadTest, R8CallbacksRunInTheOrderOfTheReads) {
  auto token = Make();
  // These reads use up some ids, on which the order below must not depend.
  for (int i = 0; i < 4; ++i) {
    token->Cancel(token->GetAsync(absl::InfiniteDuration(), Note()));
  }
  std::vector<int> order;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 7; ++i) {
      token->GetAsync(absl::InfiniteDuration(),
                      [&order, i](const auto&) { order.push_back(i); });
    }
    executor_.RunUntilIdle();
    if (round == 0) {
      source_.Release(0, absl::PermissionDeniedError("no"));
      executor_.RunUntilIdle();
      executor_.AdvanceBy(absl::Hours(1));
    } else {
      token.reset();
    }
    EXPECT_THAT(std::exchange(order, {}), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  }
}

TEST_F(RefreshableReadTest, R8CancelDestroysTheCallback) {
  const auto token = MakeWithToken();
  auto owned = std::make_shared<int>();
  const std::weak_ptr<int> watch = owned;
  const WaiterId id =
      token->GetAsync(absl::InfiniteDuration(),
                      [owned = std::move(owned)](const auto&) { (void)owned; });
  EXPECT_TRUE(token->Cancel(id));
  EXPECT_EQ(QueuedTasks(), 1u);
  EXPECT_TRUE(watch.expired());
}

// Regression test: in the past, when a callback ran, the library cancelled a
// timer that was already due. That timer would have made reads ask the machine.
// Without it, the token was served after its expiry.
TEST_F(RefreshableReadTest, R6ATimerThatIsDueOutlastsACallback) {
  auto token = Make();
  token->GetAsync(absl::InfiniteDuration(), Note());
  source_.Answer(absl::PermissionDeniedError("no"));
  executor_.RunNext();  // The attempt fails and queues the callback.
  ASSERT_TRUE(token
                  ->Install(Credential<std::string>(
                      "t1", Expiry::In(absl::Seconds(100))))
                  .ok());
  executor_.StepWall(-absl::Hours(1));
  executor_.Suspend(absl::Seconds(60));  // The token is stale.
  executor_.RunNext();
  ASSERT_THAT(outcomes_, testing::SizeIs(1));
  executor_.AdvanceBy(absl::Seconds(15));  // The token is expired.
  EXPECT_FALSE(token->Get(absl::ZeroDuration()).ok());
}

}  // namespace
}  // namespace refreshable
