// SPDX-License-Identifier: Apache-2.0

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace {

TEST(SmokeTest, DependenciesLink) {
  absl::Mutex mu;
  absl::MutexLock lock(&mu);
  absl::StatusOr<int> v = 3;
  EXPECT_EQ(fmt::format("{}", *v), "3");
}

}  // namespace
