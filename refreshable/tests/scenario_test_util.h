// SPDX-License-Identifier: Apache-2.0
//
// A fixture for tests of a Refreshable in virtual time.

#ifndef REFRESHABLE_TESTS_SCENARIO_TEST_UTIL_H_
#define REFRESHABLE_TESTS_SCENARIO_TEST_UTIL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable {

using ::refreshable_testing::ExactPolicy;

class ScenarioTest : public testing::Test {
 protected:
  using Token = Refreshable<std::string>;
  using LeaseOr = absl::StatusOr<Lease<std::string>>;

  // The smallest step of time in these tests.
  static constexpr absl::Duration kTick = absl::Nanoseconds(1);

  std::unique_ptr<Token> Make(RefreshPolicy policy = ExactPolicy()) {
    policy.jitter = 0;
    return *Token::Create(source_.Share(), {&executor_, policy});
  }

  // Returns a Refreshable with a new token "t1". With ExactPolicy, the token is
  // stale after 50 s and, because of the expiry margin, expired after 75 s.
  std::unique_ptr<Token> MakeWithToken(RefreshPolicy policy = ExactPolicy()) {
    auto token = Make(policy);
    source_.Answer("t1", absl::Seconds(100));
    EXPECT_TRUE(token->Get().ok());
    return token;
  }

  Token::Callback Note() {
    return [this](LeaseOr lease) { outcomes_.push_back(std::move(lease)); };
  }

  // Timers do not count.
  size_t QueuedTasks() const {
    size_t count = 0;
    for (const auto& step : executor_.PendingSteps()) {
      if (step.kind == ManualExecutor::PendingStep::Kind::kRun) ++count;
    }
    return count;
  }

  Instant Now() const { return executor_.clock().Now(); }
  absl::Duration Elapsed() const {
    return Now().boot - ManualExecutor::DefaultStart().boot;
  }
  void AdvanceTo(absl::Duration elapsed) {
    executor_.AdvanceBy(elapsed - Elapsed());
  }

  ManualExecutor executor_;
  refreshable_testing::ScriptedSource<std::string> source_{&executor_.clock()};
  std::vector<LeaseOr> outcomes_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_SCENARIO_TEST_UTIL_H_
