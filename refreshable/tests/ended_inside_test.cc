// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E1: the library calls user code, which destroys the
// Refreshable.

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/freshness.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"
#include "refreshable/waiter_id.h"

namespace refreshable {
namespace {

using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Outcome;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

class EndedInsideTest : public ::testing::Test {
 protected:
  ManualExecutor executor_;
  std::unique_ptr<Strings> token_;
};

TEST_F(EndedInsideTest, E1EndsWhileItsAnswerIsSortedOrCompared) {
  Strings::Options options;
  options.classify = [&](const absl::Status&) {
    token_.reset();
    return FailureClass::kTransient;
  };
  token_ = Make(&executor_, MakeSource([](const auto&, auto done) {
    done(absl::UnavailableError("down"));
  }),
                options);
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(token_, nullptr);

  options = {};
  options.same_token = [&](const auto& rejected, const auto& token) {
    token_.reset();
    EXPECT_EQ(rejected, "t1");
    EXPECT_EQ(token, "t2");
    return false;
  };
  token_ = Make(&executor_,
                MakeSource([](const auto&, auto done) { done(Hour("t2")); }),
                options);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  ASSERT_TRUE(token_->Invalidate(Generation(1)));
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(token_, nullptr);
}

// The observer is called just before a read's callback runs. Regression test:
// in the past, if the observer destroyed the Refreshable, the destructor
// returned before the callback had run.
TEST_F(EndedInsideTest, E1EndsWhileACallbackIsAboutToRun) {
  for (const bool cancels : {false, true}) {
    Outcome outcome;
    WaiterId id{};
    Strings::Options options;
    options.observer = Observe([&](const Event& event) {
      if (event.freshness != Freshness::kStale || token_ == nullptr) return;
      if (cancels) {
        EXPECT_TRUE(token_->Cancel(id));
        EXPECT_FALSE(token_->Cancel(id));
      } else {
        token_.reset();
        EXPECT_EQ(outcome.ended, 1) << "the destructor has returned";
      }
    });
    token_ = Make(&executor_,
                  MakeSource([](const auto&, auto done) { done(Hour("t2")); }),
                  options);
    ASSERT_TRUE(token_->Install(Hour("t1")).ok());
    id = token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
    executor_.StepWall(absl::Minutes(50));
    executor_.RunNext();
    EXPECT_EQ(outcome.ended, cancels ? 0 : 1);
    EXPECT_EQ(outcome.status.code(),
              cancels ? absl::StatusCode::kOk : absl::StatusCode::kCancelled);
    token_ = nullptr;
    executor_.RunUntilIdle();
  }
}

TEST_F(EndedInsideTest, E1EndsInsideATokensDestructor) {
  using Owner = std::shared_ptr<void>;
  std::unique_ptr<Refreshable<Owner>> token;
  const auto ending = [&] {
    return Owner(nullptr, [&](void*) { token.reset(); });
  };
  const auto make = [&] {
    token = *Refreshable<Owner>::Create(
        BlockingSource<Owner>([]() -> absl::StatusOr<Credential<Owner>> {
          return Credential<Owner>(std::make_shared<int>(), Expiry::Never());
        }),
        {&executor_});
    ASSERT_TRUE(token->Install({ending(), Expiry::Never()}).ok());
  };
  make();
  EXPECT_TRUE(token->Install({nullptr, Expiry::Never()}).ok());
  EXPECT_EQ(token, nullptr);
  make();
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  (void)token->Get();
  EXPECT_EQ(token, nullptr);
}

}  // namespace
}  // namespace refreshable
