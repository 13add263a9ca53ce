// SPDX-License-Identifier: Apache-2.0
//
// Tests that this library behaves like the Databricks Python SDK, but without
// that SDK's known faults. Each test's name begins with the number, D1 to D9,
// of the property that it tests.

#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HasGeneration;
using ::refreshable_testing::HoldsToken;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;

class DatabricksParityTest : public ScenarioTest {};

TEST_F(DatabricksParityTest, D1NoTokenIsExpired) {
  const auto token = Make();
  EXPECT_EQ(token->health().freshness, Freshness::kExpired);
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
}

TEST_F(DatabricksParityTest, D1NoExpiryIsFreshForEver) {
  const auto token = Make();
  source_.Answer(Credential<std::string>("t1", Expiry::Never()));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(24 * 365 * 50));
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
}

TEST_F(DatabricksParityTest, D1ExpiredOnceExpiryLessTheMarginHasPassed) {
  RefreshPolicy policy;
  policy.expiry_margin = absl::Seconds(40);
  policy.stale_window = absl::ZeroDuration();
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(1) - absl::Seconds(40) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.AdvanceBy(kTick);
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

// The token becomes stale and expired at the same moment, and counts as
// expired.
TEST_F(DatabricksParityTest, D1ExpiryIsJudgedBeforeStaleness) {
  RefreshPolicy policy;
  policy.expiry_margin = absl::Seconds(40);
  policy.stale_window = absl::Seconds(40);
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(1) - absl::Seconds(40) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kExpired);
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(DatabricksParityTest, D2DynamicStaleWindow) {
  const struct {
    absl::Duration lifetime, stale_after;
  } kCases[] = {
      {absl::Minutes(60), absl::Minutes(40)},
      {absl::Minutes(10), absl::Minutes(5)},
      {absl::Seconds(90), absl::Seconds(45)},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.lifetime);
    const auto token = Make();
    source_.Answer("t1", each.lifetime);
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    executor_.AdvanceBy(each.stale_after - kTick);
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(token->health().freshness, Freshness::kFresh);
    EXPECT_EQ(QueuedTasks(), 0u);
    executor_.AdvanceBy(kTick);
    EXPECT_EQ(token->health().freshness, Freshness::kStale);
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(QueuedTasks(), 1u);
  }
}

// The window is computed from the lifetime that is left when the token is
// stored.
TEST_F(DatabricksParityTest, D2WindowIsComputedAtStoreTime) {
  const auto token = Make();
  const absl::Time expiry = executor_.clock().Now().wall + absl::Minutes(30);
  source_.Answer(Credential<std::string>("t1", Expiry::At(expiry)));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(15) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
}

TEST_F(DatabricksParityTest, D3ExplicitStaleWindow) {
  RefreshPolicy policy;
  policy.stale_window = absl::Minutes(5);
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(55) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
}

TEST_F(DatabricksParityTest, D3WindowOfZeroIsNeverStale) {
  RefreshPolicy policy;
  policy.stale_window = absl::ZeroDuration();
  policy.expiry_margin = absl::ZeroDuration();
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(1) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
}

TEST_F(DatabricksParityTest, D4StaleReadSubmitsOneRefresh) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  for (int i = 0; i < 5; ++i) {  // The refresh is queued.
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(QueuedTasks(), 1u);
  }
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(QueuedTasks(), 2u);  // The second task runs the callback.
  EXPECT_EQ(source_.call_count(), 1u);
  executor_.RunUntilIdle();
  for (int i = 0; i < 5; ++i) {  // The refresh is running.
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(QueuedTasks(), 0u);
  }
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1"), HoldsToken("t1")));
  source_.Release(1, "t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));  // The refresh has ended.
  EXPECT_EQ(QueuedTasks(), 0u);
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(DatabricksParityTest, D5FailedBackgroundRefreshCoolsDownForAMinute) {
  RefreshPolicy policy;
  policy.background_cooldown = absl::Seconds(60);
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 2u);
  for (int second = 0; second < 59; ++second) {
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(QueuedTasks(), 0u) << second;
    token->GetAsync(absl::ZeroDuration(), Note());
    EXPECT_EQ(QueuedTasks(), 1u) << second;  // The task runs the callback.
    executor_.AdvanceBy(absl::Seconds(1));
  }
  EXPECT_EQ(source_.call_count(), 2u);
  EXPECT_THAT(outcomes_, Each(HoldsToken("t1")));
  executor_.AdvanceBy(absl::Seconds(1) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.AdvanceBy(kTick);
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(token->health().failures, 0);
}

TEST_F(DatabricksParityTest, D5ExpiryWinsOverTheCooldown) {
  RefreshPolicy policy;
  policy.background_cooldown = absl::Seconds(60);
  const auto token = Make(policy);
  source_.Answer("t1", absl::Seconds(90));  // Stale at 45 s, expired at 67.5.
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Seconds(45));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  AdvanceTo(absl::Seconds(67.5) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.AdvanceBy(kTick);
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(Elapsed(), absl::Seconds(67.5));
}

TEST_F(DatabricksParityTest, D6EveryStoredTokenRaisesTheGeneration) {
  const auto token = Make();
  source_.Always("same", absl::Hours(1));
  EXPECT_THAT(token->Get(), HasGeneration(1));
  EXPECT_EQ(*token->Install({"same", Expiry::Never()}), Generation(2));
  EXPECT_TRUE(token->Invalidate(Generation(2)));
  source_.Answer("other", absl::Hours(1));
  EXPECT_THAT(token->Get(), HasGeneration(3));
}

TEST_F(DatabricksParityTest, D6LateSuccessIsDiscarded) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();  // This starts call 1.
  ASSERT_TRUE(token->Install({"t2", Expiry::In(absl::Hours(1))}).ok());
  source_.Release(1, "late", absl::Hours(9));
  EXPECT_THAT(token->Get(), AllOf(HoldsToken("t2"), HasGeneration(2)));
  EXPECT_EQ(token->stats().attempts_discarded, 1);
  EXPECT_EQ(token->stats().tokens_published, 2);
}

TEST_F(DatabricksParityTest, D6LateFailurePutsNoNewerTokenOnCooldown) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();  // This starts call 1.
  ASSERT_TRUE(token->Install({"t2", Expiry::In(absl::Seconds(60))}).ok());
  executor_.AdvanceBy(absl::Seconds(29));  // The attempt has not timed out.
  source_.Release(1, absl::UnavailableError("502"));
  EXPECT_EQ(token->health().failures, 0);
  EXPECT_EQ(token->stats().attempts_failed, 0);
  EXPECT_EQ(token->stats().attempts_discarded, 1);
  // If the failure had begun a cooldown, the read below would start no refresh.
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(QueuedTasks(), 1u);
}

TEST_F(DatabricksParityTest, D7StaleAfterFollowsTheTokenStoredLast) {
  const auto token = Make();
  source_.Answer("t1", absl::Minutes(60));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  source_.Answer("t2", absl::Minutes(10));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  AdvanceTo(absl::Minutes(45) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  ASSERT_TRUE(token->Install({"t3", Expiry::In(absl::Seconds(90))}).ok());
  EXPECT_EQ(token->health().freshness, Freshness::kFresh);
  executor_.AdvanceBy(absl::Seconds(45));
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
}

TEST_F(DatabricksParityTest, D8WithoutBackgroundRefreshOnlyExpiryRefreshes) {
  RefreshPolicy policy;
  policy.background_refresh = false;
  const auto token = Make(policy);
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(1) - absl::Seconds(40) - kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 0u);
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(QueuedTasks(), 1u);  // The task runs the callback.
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
  executor_.AdvanceBy(kTick);
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(DatabricksParityTest, D9RefusedTaskLeavesNoFlagStuck) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  executor_.set_refuse_runs(true);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_FALSE(token->health().refreshing);
  executor_.set_refuse_runs(false);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.DropPending(0);  // The task was accepted and is then dropped.
  EXPECT_FALSE(token->health().refreshing);
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(DatabricksParityTest, D9LifetimeUnderTheMarginDoesNotMintOnEveryRead) {
  for (const absl::Duration lifetime : {absl::Seconds(40), absl::Seconds(9)}) {
    SCOPED_TRACE(lifetime);
    const auto token = Make();
    const size_t before = source_.call_count();
    source_.Always("t1", lifetime);
    for (int i = 0; i < 100; ++i) {
      EXPECT_THAT(token->Get(), HoldsToken("t1"));
      executor_.RunUntilIdle();
    }
    EXPECT_EQ(source_.call_count(), before + 1);
  }
}

TEST_F(DatabricksParityTest, D9TinyLifetimeMintsOnceASecondAtMost) {
  const auto token = Make();
  source_.Always("t1", absl::Milliseconds(100));
  for (int i = 0; i < 400; ++i) {  // The reads take 10 s.
    token->GetAsync(absl::InfiniteDuration(), [](LeaseOr) {});
    executor_.AdvanceBy(absl::Milliseconds(25));
  }
  const std::vector<absl::Duration> starts = source_.start_times();
  for (size_t i = 1; i < starts.size(); ++i) {
    EXPECT_GE(starts[i] - starts[i - 1], absl::Seconds(1));
  }
  EXPECT_GE(starts.size(), 9u);
}

TEST_F(DatabricksParityTest, D9SourceThatReadsItsOwnTokenDoesNotDeadlock) {
  const auto token = Make();
  std::vector<LeaseOr> inner;
  source_.AlwaysWith([&](const FetchContext&) {
    inner.push_back(token->Get());
    return Credential<std::string>("t" + std::to_string(inner.size()),
                                   Expiry::In(absl::Hours(1)));
  });
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  ASSERT_EQ(inner.size(), 2u);
  EXPECT_THAT(inner[0], FailsWith(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(inner[1], HoldsToken("t1"));  // The stale token was available.
}

TEST_F(DatabricksParityTest, D9ReadersOfAValidTokenDoNotWaitForTheSource) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  std::optional<LeaseOr> seen;
  source_.AnswerWith([&](const FetchContext&) {
    std::thread reader([&] { seen = token->Get(); });
    reader.join();  // The source has not answered yet.
    return Credential<std::string>("t2", Expiry::In(absl::Hours(1)));
  });
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  ASSERT_TRUE(seen.has_value());
  EXPECT_THAT(*seen, HoldsToken("t1"));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

}  // namespace
}  // namespace refreshable
