// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: a fork() whose child only goes on to another program. While other
// threads of the parent are inside absl::Mutex: in builds without NDEBUG that
// notes each acquisition under a lock of its own, and a fork handler that used
// one would wait in the child for a thread that is not there. (With NDEBUG
// there is nothing to wait for, and this test cannot fail.)

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "executors/manual_executor.h"
#include "gtest/gtest.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

constexpr unsigned int kPatienceSeconds = 20;

// Whether the child ends well; one that hangs is killed. (An alarm of its own
// would have to be set after fork() returns there, which is what is in doubt.)
bool EndsWell(pid_t child) {
  alarm(kPatienceSeconds);
  int status = 0;
  const pid_t ended = waitpid(child, &status, 0);
  alarm(0);
  if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return false;
}

TEST(ForkExecTest, E4TheChildWaitsForNoLockOfAbseil) {
  struct sigaction interrupt = {};
  interrupt.sa_handler = [](int) {};  // waitpid returns.
  ASSERT_EQ(sigaction(SIGALRM, &interrupt, nullptr), 0);
  ManualExecutor executor;
  const auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        absl::Mutex mutex;
        const absl::MutexLock lock(&mutex);
      }
    });
  }
  int ended_well = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(0);
    if (!EndsWell(child)) break;
    ++ended_well;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended_well, 200);
}

}  // namespace
}  // namespace refreshable
