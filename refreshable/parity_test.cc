// SPDX-License-Identifier: Apache-2.0
//
// The behaviour of the systems that this library was drawn from, row by row,
// through the public API and in virtual time. A known fault of theirs is shown
// to be absent.
//
// long: the rows are one table, and a reader looks for them in one place.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/refreshable.h"
#include "refreshable/scenario_testing.h"
#include "testing/matchers.h"
#include "testing/scripted_source.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::CausedBy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HasGeneration;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::IsFatalError;
using ::refreshable_testing::NextAttemptAt;
using ::refreshable_testing::ScriptedSource;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Not;

using Answer = absl::StatusOr<Credential<std::string>>;

// Matches what ScriptedSource::start_times() returns.
template <typename... Seconds>
auto SecondsAre(Seconds... seconds) {
  return ElementsAre(absl::Seconds(seconds)...);
}

// ---- Refreshable of the Databricks Python SDK ----

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
  EXPECT_EQ(Submissions(), 0u);
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

// At a moment when both hold, the token is expired: the read waits for the new
// one instead of being given the old.
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
    EXPECT_EQ(Submissions(), 0u);
    executor_.AdvanceBy(kTick);
    EXPECT_EQ(token->health().freshness, Freshness::kStale);
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(Submissions(), 1u);
  }
}

// The window is computed when the token is stored, not when it is read: of a
// token that comes with 30 of its 60 minutes left, 15 are the window.
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
  EXPECT_EQ(Submissions(), 0u);
  executor_.AdvanceBy(kTick);
  EXPECT_EQ(token->health().freshness, Freshness::kStale);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(Submissions(), 1u);
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
  EXPECT_EQ(Submissions(), 0u);
}

TEST_F(DatabricksParityTest, D4StaleReadSubmitsOneRefresh) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  for (int i = 0; i < 5; ++i) {  // Before the refresh has begun, ...
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(Submissions(), 1u);
  }
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(Submissions(), 2u);  // The callback.
  EXPECT_EQ(source_.call_count(), 1u);
  executor_.RunUntilIdle();
  for (int i = 0; i < 5; ++i) {  // ... while it runs, ...
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(Submissions(), 0u);
  }
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(Submissions(), 1u);
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1"), HoldsToken("t1")));
  source_.Release(1, "t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));  // ... and after it.
  EXPECT_EQ(Submissions(), 0u);
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(DatabricksParityTest, D5FailedBackgroundRefreshCoolsDownForAMinute) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 2u);
  for (int second = 0; second < 59; ++second) {
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    EXPECT_EQ(Submissions(), 0u) << second;
    token->GetAsync(absl::ZeroDuration(), Note());
    EXPECT_EQ(Submissions(), 1u) << second;  // The callback.
    executor_.AdvanceBy(absl::Seconds(1));
  }
  EXPECT_EQ(source_.call_count(), 2u);
  EXPECT_THAT(outcomes_, Each(HoldsToken("t1")));
  executor_.AdvanceBy(absl::Seconds(1) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(Submissions(), 0u);
  executor_.AdvanceBy(kTick);
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(Submissions(), 1u);
  executor_.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(token->health().failures, 0);
}

TEST_F(DatabricksParityTest, D5ExpiryWinsOverTheCooldown) {
  const auto token = Make();
  source_.Answer("t1", absl::Seconds(90));  // Stale at 45 s, expired at 67.5.
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Seconds(45));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  AdvanceTo(absl::Seconds(67.5) - kTick);
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(Submissions(), 0u);
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
  executor_.RunUntilIdle();  // Call 1 is held.
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
  executor_.RunUntilIdle();  // Call 1 is held.
  ASSERT_TRUE(token->Install({"t2", Expiry::In(absl::Seconds(90))}).ok());
  executor_.AdvanceBy(absl::Seconds(29));  // Within the attempt's timeout.
  source_.Release(1, absl::UnavailableError("502"));
  EXPECT_EQ(token->health().failures, 0);
  EXPECT_EQ(token->stats().attempts_failed, 0);
  EXPECT_EQ(token->stats().attempts_discarded, 1);
  executor_.AdvanceBy(absl::Seconds(16));  // A cooldown would last longer.
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(Submissions(), 1u);
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
  EXPECT_EQ(Submissions(), 0u);
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_EQ(Submissions(), 1u);  // The callback.
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
  EXPECT_EQ(Submissions(), 1u);
  executor_.DropPending(0);  // Accepted, and dropped all the same.
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

// Not even when the lifetime is next to nothing.
TEST_F(DatabricksParityTest, D9TinyLifetimeMintsOnceASecondAtMost) {
  const auto token = Make();
  source_.Always("t1", absl::Milliseconds(100));
  for (int i = 0; i < 400; ++i) {  // 10 s.
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
  EXPECT_THAT(inner[1], HoldsToken("t1"));  // Stale: there was one to read.
}

TEST_F(DatabricksParityTest, D9ReadersOfAValidTokenDoNotWaitForTheSource) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Minutes(40));
  std::optional<LeaseOr> seen;
  source_.AnswerWith([&](const FetchContext&) {
    std::thread reader([&] { seen = token->Get(); });
    reader.join();  // Before the source has answered.
    return Credential<std::string>("t2", Expiry::In(absl::Hours(1)));
  });
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor_.RunUntilIdle();
  ASSERT_TRUE(seen.has_value());
  EXPECT_THAT(*seen, HoldsToken("t1"));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

// ---- The Conductor Java SDK, its 401 and 403 ----

class ConductorParityTest : public ScenarioTest {
 protected:
  // 2^n seconds after the n-th failure; at five it is over.
  static RefreshPolicy Fatal() {
    RefreshPolicy policy = NoJitter();
    policy.retry.max_retries = 0;
    policy.retry.max_consecutive_failures = 5;
    policy.retry.on_exhausted = OnExhausted::kFatal;
    return policy;
  }
};

TEST_F(ConductorParityTest, C1ExpiredTokenIsRefreshedBeforeTheCall) {
  const auto token = MakeWithToken();
  executor_.Suspend(absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(ConductorParityTest, C3ThreadsRejectedTogetherCauseOneRefresh) {
  const auto token = MakeWithToken();
  executor_.AdvanceBy(absl::Seconds(40));
  std::vector<Generation> rejected;
  for (int i = 0; i < 8; ++i) rejected.push_back(token->Get()->generation());
  int acted = 0;
  for (const Generation generation : rejected) {
    if (token->Invalidate(generation)) ++acted;
    token->GetAsync(absl::InfiniteDuration(), Note());
  }
  EXPECT_EQ(acted, 1);
  executor_.RunUntilIdle();
  source_.Release(1, "t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcomes_.size(), 8u);
  EXPECT_THAT(outcomes_, Each(HoldsToken("t2")));
  // And who comes late with the old one does no harm.
  EXPECT_FALSE(token->Invalidate(rejected[0]));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(ConductorParityTest, C5WaitsArePowersOfTwoFromTheStartOfTheAttempt) {
  const auto token = Make(Fatal());
  const absl::Time start = Now().wall;
  const auto slow_failure = [this](const FetchContext&) {
    executor_.Suspend(absl::Seconds(0.5));
    return absl::UnavailableError("502");
  };
  for (int i = 0; i < 4; ++i) source_.AnswerWith(slow_failure);
  int failures = 0;
  for (const int next : {2, 6, 14, 30}) {
    ++failures;
    const auto failed = AllOf(FailsWith(absl::StatusCode::kUnavailable),
                              CausedBy("502"), AfterFailures(failures),
                              NextAttemptAt(start + absl::Seconds(next)));
    EXPECT_THAT(token->Get(), failed);
    AdvanceTo(absl::Seconds(next) - kTick);
    EXPECT_THAT(token->Get(), failed);  // At once.
    EXPECT_EQ(Elapsed(), absl::Seconds(next) - kTick);
    executor_.AdvanceBy(kTick);
  }
  // Success resets the counter.
  source_.Answer("t1", absl::Seconds(10));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Seconds(60));
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), AllOf(AfterFailures(1),
                                  NextAttemptAt(start + absl::Seconds(62))));
}

TEST_F(ConductorParityTest, C6FifthFailureIsFatal) {
  const auto token = Make(Fatal());
  source_.Always(absl::UnavailableError("502"));
  for (const int attempt : {0, 2, 6, 14}) {
    AdvanceTo(absl::Seconds(attempt));
    EXPECT_THAT(token->Get(), Not(IsFatalError()));
  }
  AdvanceTo(absl::Seconds(30));
  EXPECT_THAT(token->Get(), AllOf(IsFatalError(), AfterFailures(5)));
  executor_.AdvanceBy(absl::Hours(24));
  EXPECT_THAT(token->Get(), IsFatalError());
  EXPECT_EQ(source_.call_count(), 5u);
  // Not even fatal is for ever.
  token->Reset();
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
}

TEST_F(ConductorParityTest, C7ServerWithoutAuthenticationIsAskedOnce) {
  const auto token = Make();
  source_.AnswerWith([](const FetchContext&) {  // It was told 404.
    return Credential<std::string>("", Expiry::Never());
  });
  for (int day = 0; day < 365; ++day) {
    EXPECT_THAT(token->Get(), HoldsToken(""));
    executor_.AdvanceBy(absl::Hours(24));
  }
  EXPECT_EQ(source_.call_count(), 1u);
}

// The third line of the review's table: a server that takes longer to start
// than the client has patience is not hammered, and the client heals.
TEST_F(ConductorParityTest, C8DoesNotHammerAndHeals) {
  for (const int workers : {1, 8, 64}) {
    SCOPED_TRACE(workers);
    ScriptedSource<std::string> source(&executor_.clock());
    const absl::Duration start = Elapsed();
    source.AlwaysWith([&](const FetchContext&) -> Answer {
      if (Elapsed() - start < absl::Seconds(200)) {
        return absl::UnavailableError("connection refused");
      }
      return Credential<std::string>("t1", Expiry::In(absl::Hours(1)));
    });
    const auto token = *Token::Create(source.Share(), {&executor_, NoJitter()});
    absl::Duration healed = absl::InfiniteDuration();
    while (Elapsed() - start < absl::Seconds(300)) {
      for (int i = 0; i < workers; ++i) {
        token->GetAsync(absl::Seconds(5), [&](const LeaseOr& lease) {
          if (lease.ok()) healed = std::min(healed, Elapsed() - start);
        });
      }
      executor_.AdvanceBy(absl::Milliseconds(500));
    }
    // The schedule, then one probe a minute.
    EXPECT_THAT(source.start_times(),
                SecondsAre(0, 2, 6, 14, 30, 62, 122, 182, 242));
    EXPECT_EQ(healed, absl::Seconds(242));
  }
}

// ---- The Colony Python SDK, a retry budget for the token endpoint ----

class ColonyParityTest : public ScenarioTest {};

TEST_F(ColonyParityTest, L1WaitsOfTheBudget) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  EXPECT_FALSE(token->Get().ok());
  EXPECT_THAT(source_.start_times(), SecondsAre(0, 2, 6, 14, 30, 62, 122));
  EXPECT_EQ(Elapsed(), absl::Seconds(122));
}

TEST_F(ColonyParityTest, L2ThreeFailuresAndThenAToken) {
  const auto token = Make();
  for (int i = 0; i < 3; ++i) source_.Answer(absl::UnavailableError("502"));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(source_.start_times(), SecondsAre(0, 2, 6, 14));
}

TEST_F(ColonyParityTest, L3ErrorSurfacesAfterSevenAttempts) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), AllOf(FailsWith(absl::StatusCode::kUnavailable),
                                  CausedBy("502"), AfterFailures(7)));
  executor_.AdvanceBy(absl::Seconds(59));
  EXPECT_THAT(token->Get(), AfterFailures(7));
  EXPECT_EQ(source_.call_count(), 7u);
}

TEST_F(ColonyParityTest, L4NoRetriesIsOneAttempt) {
  RefreshPolicy policy = NoJitter();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);
  source_.Always(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(), AfterFailures(1));
  EXPECT_EQ(Elapsed(), absl::ZeroDuration());
  EXPECT_EQ(source_.call_count(), 1u);
}

TEST_F(ColonyParityTest, L6RetryAfterReplacesTheWait) {
  const auto token = Make();
  for (const int seconds : {7, 1, 3600}) {
    absl::Status status = absl::ResourceExhaustedError("429");
    SetRetryAfter(absl::Seconds(seconds), status);
    source_.Answer(status);
  }
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(source_.start_times(), SecondsAre(0, 7, 8, 308));
}

TEST_F(ColonyParityTest, L7BudgetOfOneCall) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  Token::ReadOptions once;
  once.max_retries = 1;
  EXPECT_THAT(token->Get(once), AfterFailures(2));
  EXPECT_THAT(source_.start_times(), SecondsAre(0, 2));
  // It was for that call only; the wait goes on for all.
  EXPECT_THAT(token->Get(), AfterFailures(2));
  AdvanceTo(absl::Seconds(6));
  Token::ReadOptions more;
  more.max_retries = 2;
  EXPECT_THAT(token->Get(more), AfterFailures(5));
  EXPECT_THAT(source_.start_times(), SecondsAre(0, 2, 6, 14, 30));
}

// The incident: 502 for an hour, beginning in a token's life. Reads are served
// to its end, then fail at once; nobody restarts anything.
TEST_F(ColonyParityTest, L8AnHourOf502) {
  for (const int readers : {1, 8, 64}) {
    SCOPED_TRACE(readers);
    ScriptedSource<std::string> source(&executor_.clock());
    const absl::Duration start = Elapsed();
    const auto at = [&] { return Elapsed() - start; };
    source.AlwaysWith([&](const FetchContext&) -> Answer {
      if (at() >= absl::Minutes(30) && at() <= absl::Minutes(90)) {
        return absl::UnavailableError("502");
      }
      return Credential<std::string>("t", Expiry::In(absl::Hours(1)));
    });
    const auto token = *Token::Create(source.Share(), {&executor_, NoJitter()});
    const absl::Duration expired = absl::Minutes(60) - absl::Seconds(40);
    const absl::Duration healed = absl::Minutes(91);
    int wrong = 0;
    for (; at() < absl::Minutes(100); executor_.AdvanceBy(absl::Seconds(5))) {
      for (int i = 0; i < readers; ++i) {
        const absl::Duration before = at();
        const bool ok = token->Get(absl::Seconds(5)).ok();
        if (ok != (before < expired || before >= healed)) ++wrong;
        if (at() != before) ++wrong;  // It waited.
      }
    }
    EXPECT_EQ(wrong, 0);
    // One at the start; from staleness on one a minute, by the cooldown, then
    // by the probes; the last of them brings the next token.
    std::vector<absl::Duration> expected = {absl::ZeroDuration()};
    for (int minute = 40; minute <= 91; ++minute) {
      expected.push_back(absl::Minutes(minute));
    }
    EXPECT_EQ(source.start_times(), expected);
  }
}

}  // namespace
}  // namespace refreshable
