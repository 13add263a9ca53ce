// SPDX-License-Identifier: Apache-2.0

#include "refreshable/refreshable.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HasGeneration;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::IsFatalError;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class RefreshableTest : public ScenarioTest {};

TEST_F(RefreshableTest, E6CreateRefusesWhatCannotWork) {
  const auto no_source = Token::Create(nullptr, {&executor_});
  EXPECT_EQ(no_source.status().code(), kInvalid);
  EXPECT_THAT(no_source.status().message(), HasSubstr("source is null"));
  const auto no_executor = Token::Create(source_.Share(), {nullptr});
  EXPECT_EQ(no_executor.status().code(), kInvalid);
  EXPECT_THAT(no_executor.status().message(), HasSubstr("executor is null"));
  RefreshPolicy policy;
  policy.retry.max_consecutive_failures = 6;
  const auto bad_policy = Token::Create(source_.Share(), {&executor_, policy});
  EXPECT_EQ(bad_policy.status().code(), kInvalid);
  EXPECT_THAT(bad_policy.status().message(),
              HasSubstr("retry.max_consecutive_failures is 6"));
}

TEST_F(RefreshableTest, F5AnExpiredTokenIsAFailure) {
  const auto token = Make();
  source_.Answer("old", absl::ZeroDuration());
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_EQ(Elapsed(), absl::Seconds(2));
  EXPECT_EQ(token->stats().attempts_failed, 1);
}

TEST_F(RefreshableTest, F6TimeoutAbandonsAndALateSuccessIsPublished) {
  const auto token = Make();
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  AdvanceTo(absl::Seconds(30) - kTick);
  EXPECT_FALSE(source_.calls()[0].context.cancelled());
  AdvanceTo(absl::Seconds(31));
  EXPECT_TRUE(source_.calls()[0].context.cancelled());
  ASSERT_EQ(source_.call_count(), 2u);
  EXPECT_THAT(outcomes_, IsEmpty());
  source_.Release(0, "late", absl::Hours(1));
  EXPECT_TRUE(source_.calls()[1].context.cancelled());
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("late")));
  source_.Release(1, "later", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("late"));
}

TEST_F(RefreshableTest, F6AtTwoAbandonedCallsTheSourceIsNotCalled) {
  const auto token = Make();
  Refreshable<std::string>::ReadOptions options;
  options.max_retries = 2;
  token->GetAsync(options, Note());
  AdvanceTo(absl::Seconds(100));
  EXPECT_EQ(source_.call_count(), 2u);
  ASSERT_THAT(outcomes_, SizeIs(1));
  EXPECT_THAT(outcomes_[0].status().message(), HasSubstr("was not called"));
  source_.Drop(0);  // An abandoned call ends, so another call is permitted.
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 3u);
}

TEST_F(RefreshableTest, F7RefreshesAheadWithoutARead) {
  RefreshPolicy policy = ExactPolicy();
  policy.refresh_ahead = true;
  const auto token = MakeWithToken(policy);
  source_.Answer("t2", absl::Seconds(100));
  AdvanceTo(absl::Seconds(50) - kTick);
  EXPECT_EQ(source_.call_count(), 1u);
  AdvanceTo(absl::Seconds(50));
  EXPECT_EQ(source_.call_count(), 2u);
  EXPECT_THAT(token->TryGet(), HoldsToken("t2"));
}

TEST_F(RefreshableTest, F9InstallServesAllWhoWait) {
  const auto token = Make();
  token->GetAsync(absl::InfiniteDuration(), Note());
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  const auto installed =
      token->Install({"installed", Expiry::In(absl::Hours(1))});
  ASSERT_TRUE(installed.ok());
  EXPECT_EQ(*installed, Generation(1));
  EXPECT_TRUE(source_.calls()[0].context.cancelled());
  executor_.RunUntilIdle();
  EXPECT_THAT(
      outcomes_,
      AllOf(SizeIs(2), Each(AllOf(HoldsToken("installed"), HasGeneration(1)))));
  source_.Release(0, "late", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("installed"));
  EXPECT_EQ(token->stats().attempts_discarded, 1);
}

TEST_F(RefreshableTest, F9ExpiredIsRefusedAndChangesNothing) {
  const auto token = MakeWithToken();
  EXPECT_EQ(token->Install({"old", Expiry::At(Now().wall)}).status().code(),
            kInvalid);
  EXPECT_EQ(
      token->Install({"old", Expiry::In(absl::ZeroDuration())}).status().code(),
      kInvalid);
  EXPECT_THAT(token->Get(), AllOf(HoldsToken("t1"), HasGeneration(1)));
}

TEST_F(RefreshableTest, F9InstallRevivesWhatIsFatal) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  policy.retry.on_exhausted = OnExhausted::kFatal;
  const auto token = Make(policy);
  source_.Answer(absl::UnavailableError("down"));
  EXPECT_THAT(token->Get().status(), IsFatalError());
  ASSERT_TRUE(token->Install({"new", Expiry::In(absl::Hours(1))}).ok());
  EXPECT_THAT(token->Get(), HoldsToken("new"));
  EXPECT_EQ(token->health().failures, 0);
}

TEST_F(RefreshableTest, B5EachWaiterGetsTheErrorOnce) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);
  for (int i = 0; i < 3; ++i) {
    token->GetAsync(absl::InfiniteDuration(), Note());
  }
  executor_.RunUntilIdle();
  source_.Release(0, absl::UnavailableError("down"));
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_THAT(
      outcomes_,
      AllOf(SizeIs(3), Each(AllOf(FailsWith(absl::StatusCode::kUnavailable),
                                  AfterFailures(1)))));
}

TEST_F(RefreshableTest, A2RunningAttemptIsReplacedAndNobodyNotices) {
  const auto token = MakeWithToken();
  // At 80 s, the token has expired. It is older than `young_token_age`, so its
  // invalidation does not count as a failure.
  AdvanceTo(absl::Seconds(80));
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  ASSERT_EQ(source_.call_count(), 2u);
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  EXPECT_TRUE(source_.calls()[1].context.cancelled());
  executor_.RunUntilIdle();
  ASSERT_EQ(source_.call_count(), 3u);
  EXPECT_EQ(source_.calls()[2].context.reason(), RefreshReason::kRejected);
  EXPECT_EQ(source_.calls()[2].context.rejected(), Generation(1));
  EXPECT_EQ(Elapsed(), absl::Seconds(80));
  source_.Release(1, "late", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, IsEmpty());
  source_.Release(2, "t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
  EXPECT_EQ(token->stats().attempts_failed, 0);
}

}  // namespace
}  // namespace refreshable
