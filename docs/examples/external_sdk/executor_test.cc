// SPDX-License-Identifier: Apache-2.0

#include "executors/executor.h"

#include "absl/time/time.h"
#include "executors/manual_executor.h"
#include "gtest/gtest.h"

namespace {

TEST(ExecutorTest, TimeMovesOnlyWhenTold) {
  refreshable::ManualExecutor manual;
  refreshable::Executor& executor = manual;
  bool ran = false;
  executor.RunAfter(absl::Seconds(2), [&ran] { ran = true; });
  manual.AdvanceBy(absl::Seconds(1));
  EXPECT_FALSE(ran);
  manual.AdvanceBy(absl::Seconds(1));
  EXPECT_TRUE(ran);
}

}  // namespace
