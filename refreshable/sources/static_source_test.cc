// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/static_source.h"

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/testing/token_source_conformance.h"

namespace refreshable {
namespace {

using ::refreshable_testing::ExactPolicy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;

constexpr char kKey[] = "planted-key-4711";

TEST(StaticSourceTest, RefusesAnEmptyToken) {
  EXPECT_EQ(StaticSource<std::string>::Create("").status(),
            absl::InvalidArgumentError("StaticSource: the token is empty"));
  EXPECT_FALSE(StaticSource<Secret>::Create(Secret()).ok());
  struct Key {
    int number;
  };
  EXPECT_TRUE(StaticSource<Key>::Create(Key{0}).ok());
}

class RevokedKeyTest : public testing::Test {
 protected:
  absl::StatusOr<Lease<std::string>> ReadAfterRejection() {
    Refreshable<std::string>::ReadOptions options;
    options.rejected = Generation(1);
    return token_->Get(options);
  }

  ManualExecutor executor_;
  std::unique_ptr<Refreshable<std::string>> token_ =
      *Refreshable<std::string>::Create(
          *StaticSource<std::string>::Create(kKey),
          {&executor_, ExactPolicy()});
};

TEST_F(RevokedKeyTest, NeverExpires) {
  EXPECT_THAT(token_->Get(), HoldsToken(kKey));
  executor_.AdvanceBy(absl::Hours(24 * 365));
  EXPECT_THAT(token_->TryGet(), HoldsToken(kKey));
  EXPECT_EQ(token_->stats().attempts_started, 1);
}

TEST_F(RevokedKeyTest, ARejectionSaysThatThereIsNoOtherKey) {
  EXPECT_THAT(token_->Get(), HoldsToken(kKey));
  executor_.AdvanceBy(absl::Minutes(1));
  const absl::Status status = ReadAfterRejection().status();
  EXPECT_THAT(status, FailsWith(absl::StatusCode::kUnauthenticated));
  EXPECT_TRUE(absl::StrContains(status.message(), "Install()")) << status;
  EXPECT_FALSE(absl::StrContains(status.ToString(), kKey));
  // The server may be wrong, so other reads still get the key.
  EXPECT_THAT(token_->Get(), HoldsToken(kKey));
}

TEST_F(RevokedKeyTest, AWithdrawnKeyIsNotServedUntilANewOneIsInstalled) {
  EXPECT_THAT(token_->Get(), HoldsToken(kKey));
  executor_.AdvanceBy(absl::Minutes(1));
  token_->Invalidate(Generation(1));
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(token_->Get(), FailsWith(absl::StatusCode::kUnauthenticated));
    executor_.AdvanceBy(absl::Minutes(1));
  }
  ASSERT_TRUE(
      token_->Install(Credential<std::string>("new", Expiry::Never())).ok());
  EXPECT_THAT(token_->Get(), HoldsToken("new"));
}

TEST_F(RevokedKeyTest, AKeyThatWasNeverGivenWasNotTheRejectedOne) {
  ASSERT_TRUE(
      token_->Install(Credential<std::string>("other", Expiry::Never())).ok());
  EXPECT_THAT(token_->Get(), HoldsToken("other"));
  executor_.AdvanceBy(absl::Minutes(1));
  EXPECT_THAT(ReadAfterRejection(), HoldsToken(kKey));
}

class StaticRig final
    : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  std::shared_ptr<TokenSource<std::string>> Make() override {
    return *StaticSource<std::string>::Create(kKey);
  }
  bool IssuesNewTokens() override { return false; }
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(Static, TokenSourceConformanceTest,
                         testing::Values(TokenSourceSubject{
                             "StaticSource",
                             [] { return std::make_unique<StaticRig>(); }}),
                         refreshable_testing::SubjectName());

}  // namespace
}  // namespace refreshable
