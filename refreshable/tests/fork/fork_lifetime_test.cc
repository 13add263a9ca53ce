// SPDX-License-Identifier: Apache-2.0
//
// A process forks while another thread creates and destroys Refreshables.
// ThreadSanitizer checks only the parent, because it does not support the child
// of a process with several threads.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/tests/fork/fork_test_util.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using fork_testing::Fork;

TEST(ForkLifetimeTest, E4AnotherThreadMayForkDuringConstructionAndDestruction) {
  ManualExecutor executor;
  std::atomic<bool> stop{false};
  std::thread maker([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      lifecycle_testing::Make(
          &executor, std::make_shared<lifecycle_testing::HeldSource>());
    }
  });
  for (int i = 0; i < 200; ++i) {
    const pid_t child = Fork();
    // During the fork, another thread may hold a lock of a sanitizer's runtime.
    // The child may then wait for that lock forever, so the child is killed.
    if (child == 0) _exit(0);
    kill(child, SIGKILL);
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
  }
  stop = true;
  maker.join();
}

}  // namespace
}  // namespace refreshable
