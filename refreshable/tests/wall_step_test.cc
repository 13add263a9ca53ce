// SPDX-License-Identifier: Apache-2.0
//
// A test of clause R6: a thread waits while the operating system's wall clock
// is set back.

#include <ctime>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/tests/lifecycle_test_util.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

// Replaces the C library's function: the process sees a wall clock that is two
// hours ahead of the kernel's. If the process gave the kernel a wall time at
// which a wait ends, the wait would last two hours too long.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, time);  // NOLINT
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += 2 * 60 * 60;
  return static_cast<int>(result);
}
#endif

namespace refreshable {
namespace {

// Regression test: in the past, a wait ended at a time of the wall clock.
TEST(WallStepTest, R6ABlockedReaderEndsInTimeThoughTheClockIsSetBack) {
  ThreadExecutor executor;
  auto held = std::make_shared<lifecycle_testing::HeldSource>();
  auto token = lifecycle_testing::Make(&executor, held);
  EXPECT_EQ(token->Get(absl::Milliseconds(300)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  token.reset();
  lifecycle_testing::SpinUntil([&] { return held->calls() == 1; });
  held->Drop(0);
}

}  // namespace
}  // namespace refreshable
