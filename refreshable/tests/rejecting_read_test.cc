// SPDX-License-Identifier: Apache-2.0
//
// Tests of rejecting reads. A rejecting read says that a server rejected a
// generation (`ReadOptions::rejected`), and asks for a later generation.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// The tests begin at 10 s. The token "t1" is stale at 50 s and, because of the
// expiry margin, expired at 75 s.
class RejectingReadTest : public ScenarioTest {
 protected:
  void SetUp() override { Begin(ExactPolicy()); }

  void Begin(RefreshPolicy policy) {
    token_ = MakeWithToken(policy);
    AdvanceTo(absl::Seconds(10));
  }

  static Token::ReadOptions Rejecting(
      uint64_t generation, absl::Duration timeout = absl::InfiniteDuration()) {
    Token::ReadOptions options;
    options.timeout = timeout;
    options.rejected = Generation(generation);
    return options;
  }

  std::unique_ptr<Token> token_;
};

TEST_F(RejectingReadTest, A7OthersAreServedMeanwhile) {
  token_->GetAsync(Rejecting(1), Note());
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.calls().back().context.reason(), RefreshReason::kRejected);
  EXPECT_EQ(source_.calls().back().context.rejected(), Generation(1));
  EXPECT_TRUE(outcomes_.empty());
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
  EXPECT_THAT(token_->TryGet(), HoldsToken("t1"));
  EXPECT_TRUE(token_->health().rejected);
  source_.Release(
      1, Credential<std::string>("t2", Expiry::In(absl::Seconds(100))));
  executor_.RunUntilIdle();
  ASSERT_THAT(outcomes_, SizeIs(1));
  EXPECT_THAT(outcomes_[0], HoldsToken("t2"));
  EXPECT_FALSE(token_->health().rejected);
  EXPECT_EQ(token_->stats().tokens_rejected, 1);
  EXPECT_EQ(token_->stats().tokens_invalidated, 0);
}

TEST_F(RejectingReadTest, A7ALaterTokenIsReturnedAtOnce) {
  ASSERT_TRUE(token_->Install({"t2", Expiry::In(absl::Hours(1))}).ok());
  EXPECT_THAT(token_->Get(Rejecting(1)), HoldsToken("t2"));
  EXPECT_EQ(QueuedTasks(), 0u);
  // Generation 3 does not exist yet.
  EXPECT_THAT(token_->Get(Rejecting(3)), HoldsToken("t2"));
  EXPECT_EQ(source_.call_count(), 1u);
}

// A read that rejects a generation before its publication is an ordinary read
// and stays one.
TEST_F(RejectingReadTest, A7AGenerationThatComesLaterWasNotRejected) {
  AdvanceTo(absl::Seconds(80));
  token_->GetAsync(Rejecting(2), Note());
  source_.Answer("t2", absl::Seconds(100));
  EXPECT_THAT(token_->Get(Rejecting(2)), HoldsToken("t2"));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
  EXPECT_FALSE(token_->health().rejected);
}

TEST_F(RejectingReadTest, A8ManyRejectedTogetherShareOneAttempt) {
  for (int i = 0; i < 8; ++i) token_->GetAsync(Rejecting(1), Note());
  source_.Answer("t2", absl::Seconds(100));
  executor_.RunUntilIdle();
  ASSERT_THAT(outcomes_, SizeIs(8));
  EXPECT_THAT(outcomes_, Each(HoldsToken("t2")));
  EXPECT_EQ(source_.call_count(), 2u);
}

// The running attempt was not told of the rejection, and brings the rejected
// bytes again as generation 2. The read does not accept generation 2, and
// starts another attempt.
TEST_F(RejectingReadTest, A8AnAttemptThatDidNotKnowIsFollowedByOneThatDoes) {
  AdvanceTo(absl::Seconds(50));
  EXPECT_TRUE(token_->Get().ok());
  executor_.RunUntilIdle();
  token_->GetAsync(Rejecting(1), Note());
  AdvanceTo(absl::Seconds(52));
  source_.Release(
      1, Credential<std::string>("t1", Expiry::In(absl::Seconds(100))));
  executor_.RunUntilIdle();
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
  EXPECT_TRUE(outcomes_.empty());
  EXPECT_EQ(source_.call_count(), 3u);
  EXPECT_EQ(source_.calls().back().context.rejected(), Generation(2));
  source_.Release(
      2, Credential<std::string>("t2", Expiry::In(absl::Seconds(100))));
  executor_.RunUntilIdle();
  ASSERT_THAT(outcomes_, SizeIs(1));
  EXPECT_THAT(outcomes_[0], HoldsToken("t2"));
}

TEST_F(RejectingReadTest, A9TooEarlyItEndsAtOnceAndSaysWhen) {
  source_.Answer(absl::UnavailableError("HTTP status 502"));
  EXPECT_THAT(token_->Get(Rejecting(1)),
              FailsWith(absl::StatusCode::kUnavailable));
  const absl::Duration before = Elapsed();
  const auto lease = token_->Get(Rejecting(1));
  EXPECT_THAT(lease, FailsWith(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(Elapsed(), before);
  const auto error = GetRefreshError(lease.status());
  ASSERT_TRUE(error.has_value());
  EXPECT_TRUE(error->rejected);
  EXPECT_FALSE(error->fatal);
  EXPECT_EQ(error->failures, 0);
  EXPECT_EQ(error->next_attempt,
            ManualExecutor::DefaultStart().wall + absl::Seconds(12));
  EXPECT_THAT(std::string(lease.status().message()),
              AllOf(HasSubstr("HTTP status 502"),
                    HasSubstr("no attempt for it before "
                              "2026-01-01T00:00:12+00:00")));
  EXPECT_EQ(source_.call_count(), 2u);
  AdvanceTo(absl::Seconds(13));
  EXPECT_EQ(source_.call_count(), 2u) << "a timer starts nothing";
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
}

TEST_F(RejectingReadTest, A9WithNoTimeItStartsAnAttemptForOthers) {
  source_.Answer("t2", absl::Seconds(100));
  EXPECT_THAT(token_->Get(Rejecting(1, absl::ZeroDuration())),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
  executor_.RunUntilIdle();
  EXPECT_THAT(token_->Get(), HoldsToken("t2"));
}

TEST_F(RejectingReadTest, A9InsideTheSourceItWouldWaitForItself) {
  source_.AnswerWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        EXPECT_THAT(token_->Get(), HoldsToken("t1"));
        EXPECT_THAT(token_->Get(Rejecting(1)),
                    FailsWith(absl::StatusCode::kFailedPrecondition));
        return Credential<std::string>("t2", Expiry::In(absl::Hours(1)));
      });
  EXPECT_THAT(token_->Get(Rejecting(1)), HoldsToken("t2"));
}

TEST_F(RejectingReadTest, A10AFailureConcernsNobodyElse) {
  source_.Answer(absl::InvalidArgumentError("invalid_client"));
  EXPECT_THAT(token_->Get(Rejecting(1)),
              FailsWith(absl::StatusCode::kInvalidArgument));
  const Health health = token_->health();
  EXPECT_EQ(health.failures, 0);
  EXPECT_TRUE(health.last_cause.ok());
  EXPECT_FALSE(health.exhausted);
  EXPECT_EQ(token_->stats().attempts_failed, 1);
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
}

TEST_F(RejectingReadTest, A10ExpiredMeanwhileOrdinaryReadsJoin) {
  AdvanceTo(absl::Seconds(70));
  token_->GetAsync(Rejecting(1), Note());
  executor_.RunUntilIdle();
  AdvanceTo(absl::Seconds(80));
  token_->GetAsync(absl::InfiniteDuration(), Note());
  source_.Release(1, absl::UnavailableError("HTTP status 502"));
  source_.Answer("t2", absl::Seconds(100));
  AdvanceTo(absl::Seconds(90));
  ASSERT_THAT(outcomes_, SizeIs(2));
  EXPECT_THAT(outcomes_, Each(HoldsToken("t2")));
}

TEST_F(RejectingReadTest, A11TheSameTokenAgainIsServedToOthersForLonger) {
  int hooks = 0;
  Token::Options options{&executor_, ExactPolicy()};
  options.on_token_changed = [&](const Lease<std::string>&) { ++hooks; };
  source_.Answer("t1", absl::Seconds(100));
  token_ = *Token::Create(source_.Share(), options);
  const auto before = *token_->Get();
  executor_.AdvanceBy(absl::Seconds(60));
  source_.Answer("t1", absl::Seconds(100));
  EXPECT_THAT(token_->Get(Rejecting(1)),
              FailsWith(absl::StatusCode::kUnauthenticated));
  const auto after = *token_->Get();
  EXPECT_EQ(after.generation(), Generation(1));
  EXPECT_EQ(after.expires_at(), before.expires_at() + absl::Seconds(60));
  EXPECT_EQ(hooks, 1);
  EXPECT_EQ(token_->stats().tokens_published, 1);
  EXPECT_EQ(token_->stats().tokens_unchanged, 1);
  // A lease that was returned earlier does not change.
  EXPECT_LT(before.expires_at(), after.expires_at());
  executor_.AdvanceBy(absl::Seconds(60));
  EXPECT_THAT(token_->TryGet(), HoldsToken("t1"));
}

TEST_F(RejectingReadTest, A11TokensThatCannotBeComparedAreNeverTheSame) {
  struct Opaque {
    int value;
  };
  int calls = 0;
  const auto token = *Refreshable<Opaque>::Create(
      BlockingSource<Opaque>([&] {
        return Credential<Opaque>({++calls}, Expiry::In(absl::Hours(1)));
      }),
      {&executor_, ExactPolicy()});
  ASSERT_TRUE(token->Get().ok());
  executor_.AdvanceBy(absl::Seconds(10));
  Refreshable<Opaque>::ReadOptions options;
  options.rejected = Generation(1);
  const auto lease = token->Get(options);
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->token().value, 2);
}

// The source returns the rejected bytes again, and they are published as
// generation 2. A read that rejects generation 1 does not get them.
TEST_F(RejectingReadTest, A11AnOrdinaryRefreshCannotLaunderARejectedToken) {
  token_->ReportRejected(Generation(1));
  AdvanceTo(absl::Seconds(50));
  source_.Answer("t1", absl::Seconds(100));
  EXPECT_TRUE(token_->Get().ok());
  executor_.RunUntilIdle();
  EXPECT_EQ(token_->health().generation, Generation(2));
  EXPECT_TRUE(token_->health().rejected);
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
  EXPECT_THAT(token_->Get(Rejecting(1)),
              FailsWith(absl::StatusCode::kUnauthenticated));
}

TEST_F(RejectingReadTest, A12AReportStartsNothing) {
  token_->ReportRejected(Generation(1));
  token_->ReportRejected(Generation(1));
  token_->ReportRejected(Generation(9));
  EXPECT_EQ(QueuedTasks(), 0u);
  EXPECT_EQ(token_->stats().tokens_rejected, 1);
  EXPECT_TRUE(token_->health().rejected);
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
}

TEST_F(RejectingReadTest, E1DestroyedWhileARejectingReadWaits) {
  token_->GetAsync(Rejecting(1), Note());
  token_ = nullptr;
  ASSERT_THAT(outcomes_, SizeIs(1));
  EXPECT_THAT(outcomes_[0], FailsWith(absl::StatusCode::kCancelled));
}

TEST_F(RejectingReadTest, A1ResetLetsTheSameTokenBePublishedAgain) {
  AdvanceTo(absl::Seconds(60));
  source_.Always("t1", absl::Seconds(100));
  EXPECT_TRUE(token_->Invalidate(Generation(1)));
  const auto refused = token_->Get();
  EXPECT_THAT(refused, FailsWith(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("Reset()"), HasSubstr("Install()")));
  token_->Reset();
  EXPECT_THAT(token_->Get(), HoldsToken("t1"));
  EXPECT_EQ(token_->health().generation, Generation(2));
}

}  // namespace
}  // namespace refreshable
