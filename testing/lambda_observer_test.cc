// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/lambda_observer.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/freshness.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable_testing {
namespace {

using ::refreshable::Event;
using ::refreshable::EventKind;
using ::refreshable::Freshness;
using ::refreshable::ManualExecutor;
using ::refreshable::Refreshable;
using ::testing::AllOf;
using ::testing::ElementsAre;

// [kit]
TEST(LambdaObserverTest, T2IsToldEveryEventInOrder) {
  ManualExecutor executor;
  ScriptedSource<std::string> source(&executor);
  std::vector<EventKind> kinds;
  auto token = *Refreshable<std::string>::Create(
      source.Share(),
      {&executor, ExactPolicy(),
       Observe([&](const Event& event) { kinds.push_back(event.kind); })});
  source.Answer(absl::UnavailableError("502"));
  source.AnswerAfter(absl::Seconds(3), "t1", absl::Minutes(10));
  // The first attempt fails at once. The second starts 2 s later.
  EXPECT_THAT(token->Get(absl::Seconds(4)),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(token->health(), AllOf(IsRefreshing(), AfterFailures(1)));
  EXPECT_THAT(token->Get(absl::Seconds(1)), HoldsToken("t1"));
  EXPECT_THAT(token->health(),
              AllOf(IsHealthy(), HasFreshness(Freshness::kFresh)));
  EXPECT_THAT(
      kinds, ElementsAre(EventKind::kAttemptStarted, EventKind::kAttemptFailed,
                         EventKind::kBackoff, EventKind::kAttemptStarted,
                         EventKind::kTokenPublished, EventKind::kStateChanged));
}
// [/kit]

}  // namespace
}  // namespace refreshable_testing
