// SPDX-License-Identifier: Apache-2.0
//
// Tests of promotion and retry budgets. A background refresh makes only one
// attempt. If a read waits for the refresh, the refresh is promoted: it gets
// the read's budget of retries (`max_retries`).

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::HoldsToken;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::Duration kForever = absl::InfiniteDuration();

class PromotionTest : public ScenarioTest {
 protected:
  // Returns a Refreshable whose token has just expired. A background refresh
  // is still running.
  std::unique_ptr<Token> MakeWithBackgroundFlight() {
    auto token = MakeWithToken();
    AdvanceTo(absl::Seconds(70));
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    AdvanceTo(absl::Seconds(75));
    EXPECT_EQ(source_.call_count(), 2u);
    return token;
  }
  static Token::ReadOptions Retries(int max_retries) {
    Token::ReadOptions options;
    options.max_retries = max_retries;
    return options;
  }
};

TEST_F(PromotionTest, B3InTheBackgroundItMakesOneAttempt) {
  const auto token = MakeWithBackgroundFlight();
  source_.Release(1, absl::UnavailableError("502"));
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(PromotionTest, B3PromotedByAReaderItIsRetried) {
  const auto token = MakeWithBackgroundFlight();
  token->GetAsync(kForever, Note());
  source_.Release(1, absl::UnavailableError("502"));
  source_.Answer("t2", absl::Hours(1));
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
  // The backoff counts from the attempt's start, and is over. The minimum
  // interval of 1 s counts from the failure.
  EXPECT_EQ(source_.start_times().back(), absl::Seconds(76));
}

TEST_F(PromotionTest, B3PromotedItKeepsItsBudgetThoughEveryWaiterLeaves) {
  const auto token = MakeWithBackgroundFlight();
  EXPECT_TRUE(token->Cancel(token->GetAsync(kForever, Note())));
  source_.Release(1, absl::UnavailableError("502"));
  source_.Always(absl::UnavailableError("502"));
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_THAT(
      source_.start_times(),
      ElementsAre(absl::ZeroDuration(), absl::Seconds(70), absl::Seconds(76),
                  absl::Seconds(80), absl::Seconds(88), absl::Seconds(104),
                  absl::Seconds(136), absl::Seconds(196)));
  EXPECT_THAT(outcomes_, IsEmpty());
}

TEST_F(PromotionTest, L7LessThanNoRetryIsNone) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  token->GetAsync(Retries(-1), Note());
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_THAT(outcomes_, ElementsAre(AfterFailures(1)));
  EXPECT_EQ(source_.call_count(), 1u);
  token->GetAsync(Retries(-1), Note());
  token->GetAsync(Retries(1), Note());
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_THAT(outcomes_, ElementsAre(AfterFailures(1), AfterFailures(2),
                                     AfterFailures(3)));
}

TEST_F(PromotionTest, L7TheLargestBudgetRunsAndEachLeavesWithItsOwn) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  token->GetAsync(Retries(2), Note());
  token->GetAsync(kForever, Note());  // The policy allows six retries.
  token->GetAsync(Retries(0), Note());
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(AfterFailures(1)));
  AdvanceTo(absl::Seconds(6) - kTick);
  EXPECT_EQ(outcomes_.size(), 1u);
  executor_.AdvanceBy(kTick);
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_THAT(outcomes_[1], AfterFailures(3));
  AdvanceTo(absl::Seconds(122) - kTick);
  EXPECT_EQ(outcomes_.size(), 2u);
  executor_.AdvanceBy(kTick);
  ASSERT_EQ(outcomes_.size(), 3u);
  EXPECT_THAT(outcomes_[2], AfterFailures(7));
}

TEST_F(PromotionTest, L7ACallMayAskForMoreThanThePolicy) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);
  source_.Always(absl::UnavailableError("502"));
  EXPECT_THAT(token->Get(Retries(3)), AfterFailures(4));
  EXPECT_THAT(source_.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::Seconds(2),
                          absl::Seconds(6), absl::Seconds(14)));
}

// If the flight has already made as many retries as a read allows, the read
// fails at once.
TEST_F(PromotionTest, L7ASpentBudgetDoesNotJoin) {
  const auto token = Make();
  source_.Always(absl::UnavailableError("502"));
  token->GetAsync(kForever, Note());
  AdvanceTo(absl::Seconds(3));
  EXPECT_THAT(token->Get(Retries(1)), AfterFailures(2));
  EXPECT_EQ(Elapsed(), absl::Seconds(3));
  EXPECT_THAT(token->Get(Retries(2)), AfterFailures(3));
  EXPECT_EQ(Elapsed(), absl::Seconds(6));
}

}  // namespace
}  // namespace refreshable
