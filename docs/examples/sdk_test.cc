// SPDX-License-Identifier: Apache-2.0
//
// The first example of docs/testing.md: an SDK is tested without sleeps.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable_examples {
namespace {

using ::testing::ElementsAre;

// [sdk]
TEST(SdkTest, WaitsAsLongAsTheServerAsksAndReplacesARejectedToken) {
  refreshable::ManualExecutor executor;
  refreshable_testing::ScriptedSource<std::string> source(&executor.clock());
  auto token = *refreshable::Refreshable<std::string>::Create(
      source.Share(), {&executor, refreshable_testing::ExactPolicy()});

  source.Answer("t1", absl::Minutes(10));
  EXPECT_EQ(token->Get()->token(), "t1");
  executor.AdvanceBy(absl::Minutes(10));  // "t1" has expired.

  // The token endpoint is busy twice, and asks for a wait of 7 s each time.
  absl::Status busy = absl::UnavailableError("HTTP status 503");
  refreshable::SetRetryAfter(absl::Seconds(7), busy);
  source.Answer(busy);
  source.Answer(busy);
  source.Answer("t2", absl::Minutes(10));
  const absl::StatusOr<refreshable::Lease<std::string>> lease = token->Get();
  EXPECT_EQ(lease->token(), "t2");
  EXPECT_THAT(source.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::Seconds(600),
                          absl::Seconds(607), absl::Seconds(614)));

  // A server rejects "t2". Another attempt is permitted 1 s after the start of
  // the last attempt.
  executor.AdvanceBy(absl::Seconds(1));
  source.Answer("t3", absl::Minutes(10));
  refreshable::Refreshable<std::string>::ReadOptions options;
  options.rejected = lease->generation();
  EXPECT_EQ(token->Get(options)->token(), "t3");
}
// [/sdk]

}  // namespace
}  // namespace refreshable_examples
