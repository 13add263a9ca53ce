// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses B10, S1 and S2 through the public API.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/observer.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// An observer that records each event as text.
class Recorder final : public Observer {
 public:
  void OnEvent(const Event& event) override {
    std::string line(EventKindName(event.kind));
    if (event.kind == EventKind::kStateChanged) {
      absl::StrAppend(&line, " ", FreshnessName(event.freshness));
    }
    if (event.kind == EventKind::kAttemptStarted) {
      absl::StrAppend(&line, " ", RefreshReasonName(event.reason));
    }
    if (event.kind == EventKind::kBackoff) {
      absl::StrAppend(&line, " ", absl::FormatDuration(event.delay));
    }
    lines_.push_back(std::move(line));
  }

  // Returns the events recorded since the last `Take`.
  std::vector<std::string> Take() { return std::exchange(lines_, {}); }

 private:
  std::vector<std::string> lines_;
};

class ObservedScenarioTest : public ScenarioTest {
 protected:
  std::unique_ptr<Token> Observed(RefreshPolicy policy = ExactPolicy()) {
    return *Token::Create(source_.Share(), {&executor_, policy, recorder_});
  }
  // The token "t1" is stale at 50 s and, because of the expiry margin, expired
  // at 75 s.
  std::unique_ptr<Token> ObservedWithToken(
      RefreshPolicy policy = ExactPolicy()) {
    auto token = Observed(policy);
    source_.Answer("t1", absl::Seconds(100));
    EXPECT_TRUE(token->Get().ok());
    recorder_->Take();
    return token;
  }

  const absl::Status down_ = absl::UnavailableError("down");
  const std::shared_ptr<Recorder> recorder_ = std::make_shared<Recorder>();
};

// ---- B10: tokens that are served after their expiry ----

RefreshPolicy Lenient() {
  RefreshPolicy policy = ExactPolicy();
  policy.max_stale_on_error = absl::Seconds(60);
  return policy;
}

TEST_F(ObservedScenarioTest, B10ServesTheExpiredTokenWhileRefreshesFail) {
  const auto token = ObservedWithToken(Lenient());
  LeaseOr before = token->Get();
  source_.Always(down_);
  AdvanceTo(absl::Seconds(75));
  LeaseOr during = token->Get();
  ASSERT_THAT(during, HoldsToken("t1"));
  EXPECT_TRUE(during->degraded());
  EXPECT_EQ(during->generation(), Generation(1));
  EXPECT_EQ(during->expires_at(), before->expires_at());
  EXPECT_FALSE(before->degraded());
  EXPECT_EQ(token->health().freshness, Freshness::kExpired);
  EXPECT_EQ(token->health().failures, 1);
}

TEST_F(ObservedScenarioTest, B10IsNotForATokenThatWasInvalidated) {
  const auto token = ObservedWithToken(Lenient());
  source_.Always(down_);
  AdvanceTo(absl::Seconds(75));
  LeaseOr lease = token->Get();
  ASSERT_TRUE(lease.ok());
  EXPECT_TRUE(token->Invalidate(lease->generation()));
  EXPECT_FALSE(token->Get(absl::ZeroDuration()).ok());
}

TEST_F(ObservedScenarioTest, B10EndsWithTheNextToken) {
  const auto token = ObservedWithToken(Lenient());
  source_.Answer(down_);
  source_.Answer("t2", absl::Seconds(100));
  AdvanceTo(absl::Seconds(75));
  ASSERT_TRUE(token->Get()->degraded());
  AdvanceTo(absl::Seconds(77));  // The next attempt is due.
  ASSERT_TRUE(token->Get()->degraded());
  executor_.RunUntilIdle();
  LeaseOr next = token->Get();
  ASSERT_THAT(next, HoldsToken("t2"));
  EXPECT_FALSE(next->degraded());
}

TEST_F(ObservedScenarioTest, B10NeverUnlessChosen) {
  const auto token = ObservedWithToken();
  source_.Always(down_);
  AdvanceTo(absl::Seconds(75));
  EXPECT_THAT(token->Get(absl::Seconds(1)),
              FailsWith(absl::StatusCode::kUnavailable));
}

// ---- S1 and S2: what events, stats and health report ----

TEST_F(ObservedScenarioTest, S1ALifeInEventsInTheirOrder) {
  const auto token = Observed();
  source_.Answer("t1", absl::Seconds(100));
  ASSERT_TRUE(token->Get().ok());
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("attempt_started first", "token_published",
                          "state_changed fresh"));

  // The token is stale. The background refresh fails, which begins a cooldown.
  AdvanceTo(absl::Seconds(50));
  source_.Answer(down_);
  ASSERT_TRUE(token->Get().ok());
  executor_.RunUntilIdle();
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("state_changed stale", "attempt_started stale",
                          "attempt_failed", "backoff 6.25s"));

  // The token is expired and the cooldown is over. The first attempt fails and
  // is retried after a backoff.
  AdvanceTo(absl::Seconds(75));
  source_.Answer(down_);
  source_.Answer("t2", absl::Seconds(100));
  ASSERT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_THAT(
      recorder_->Take(),
      ElementsAre("state_changed expired", "attempt_started expired",
                  "attempt_failed", "backoff 4s", "attempt_started expired",
                  "token_published", "state_changed fresh"));

  // After 40 s the token is not young, so its invalidation does not count as a
  // failure (A5). Hence the next read starts an attempt at once.
  executor_.AdvanceBy(absl::Seconds(40));
  source_.Answer("t3", absl::Seconds(100));
  EXPECT_TRUE(token->Invalidate(Generation(2)));
  ASSERT_THAT(token->Get(), HoldsToken("t3"));
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("token_invalidated", "state_changed expired",
                          "attempt_started rejected", "token_published",
                          "state_changed fresh"));

  EXPECT_TRUE(token
                  ->Install(Credential<std::string>(
                      "t4", Expiry::In(absl::Seconds(100))))
                  .ok());
  EXPECT_THAT(recorder_->Take(), ElementsAre("token_published"));
  // Generation 3 is no longer current.
  EXPECT_FALSE(token->Invalidate(Generation(3)));
  EXPECT_THAT(recorder_->Take(), IsEmpty());
}

TEST_F(ObservedScenarioTest, S1ExhaustedDegradedAndHealed) {
  RefreshPolicy policy = Lenient();
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 2;
  const auto token = ObservedWithToken(policy);
  source_.Answer(down_);
  source_.Answer(down_);
  AdvanceTo(absl::Seconds(75));
  ASSERT_TRUE(token->Get().ok());
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("state_changed stale", "state_changed expired",
                          "attempt_started expired", "attempt_failed",
                          "backoff 2s", "degraded"));
  AdvanceTo(absl::Seconds(160));
  EXPECT_FALSE(token->Get().ok());
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("attempt_started expired", "attempt_failed",
                          "backoff 1m", "exhausted"));
  executor_.AdvanceBy(absl::Seconds(60));
  source_.Answer("t2", absl::Seconds(100));
  ASSERT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("attempt_started probe", "token_published", "healed",
                          "state_changed fresh"));
}

TEST_F(ObservedScenarioTest, S1AbandonedAndDiscarded) {
  const auto token = Observed();
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();  // The source is called.
  EXPECT_TRUE(token
                  ->Install(Credential<std::string>(
                      "i1", Expiry::In(absl::Seconds(100))))
                  .ok());
  source_.Release(0, "late", absl::Seconds(100));
  executor_.RunUntilIdle();
  EXPECT_THAT(recorder_->Take(),
              ElementsAre("attempt_started first", "attempt_abandoned",
                          "token_published", "state_changed fresh",
                          "attempt_discarded"));
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_THAT(outcomes_[0], HoldsToken("i1"));
  const Stats stats = token->stats();
  EXPECT_EQ(stats.attempts_started, 1);
  EXPECT_EQ(stats.attempts_failed, 0);
  EXPECT_EQ(stats.attempts_abandoned, 1);
  EXPECT_EQ(stats.attempts_discarded, 1);
  EXPECT_EQ(stats.tokens_published, 1);
  EXPECT_EQ(stats.tokens_invalidated, 0);
}

TEST_F(ObservedScenarioTest, S2HealthFollowsAnOutage) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = ObservedWithToken(policy);
  const absl::Time born = Now().wall;
  Health health = token->health();
  EXPECT_EQ(health.freshness, Freshness::kFresh);
  EXPECT_EQ(health.generation, Generation(1));
  EXPECT_EQ(health.expires_at, born + absl::Seconds(100));
  EXPECT_EQ(health.failures, 0);
  EXPECT_TRUE(health.last_cause.ok());
  EXPECT_FALSE(health.refreshing);
  EXPECT_EQ(health.waiters, 0);

  AdvanceTo(absl::Seconds(75));
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();  // The source is called again.
  health = token->health();
  EXPECT_EQ(health.freshness, Freshness::kExpired);
  EXPECT_TRUE(health.refreshing);
  EXPECT_EQ(health.waiters, 1);

  source_.Release(1, down_);
  executor_.RunUntilIdle();
  health = token->health();
  EXPECT_FALSE(health.refreshing);
  EXPECT_EQ(health.waiters, 0);
  EXPECT_EQ(health.failures, 1);
  EXPECT_EQ(health.last_cause, down_);
  EXPECT_EQ(health.next_attempt, Now().wall + absl::Seconds(2));
  EXPECT_FALSE(health.exhausted);
  EXPECT_FALSE(health.fatal);
  EXPECT_EQ(token->stats().attempts_failed, 1);
  EXPECT_EQ(token->stats().attempts_started, 2);
}

}  // namespace
}  // namespace refreshable
