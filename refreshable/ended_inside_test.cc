// SPDX-License-Identifier: Apache-2.0
//
// Clause E1: a Refreshable is destroyed inside user code that it calls, other
// than the callbacks in lifecycle_test.cc.

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Strings;

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

// A token that owns the object that holds it.
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
