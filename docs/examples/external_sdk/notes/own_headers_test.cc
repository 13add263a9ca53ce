// SPDX-License-Identifier: Apache-2.0
//
// An SDK may have folders `executors/` and `testing/` of its own, with headers
// of the same names as refreshable's.

#include <chrono>

#include "absl/time/time.h"
#include "executors/clock.h"
#include "executors/executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/testing/matchers.h"
#include "testing/matchers.h"

namespace notes {
namespace {

TEST(OwnHeadersTest, TheSdksAndTheLibrarysStandSideBySide) {
  Executor own;
  refreshable::ManualExecutor theirs;
  refreshable::Executor& executor = theirs;
  own.Run([&] { executor.Run([] {}); });
  EXPECT_EQ(theirs.RunUntilIdle(), 1);
  EXPECT_THAT(own.tasks_run(), IsPositive());
  EXPECT_GE(own.clock().Elapsed(), std::chrono::seconds(0));
  EXPECT_GT(theirs.clock().Now().wall, absl::InfinitePast());
}

}  // namespace
}  // namespace notes
