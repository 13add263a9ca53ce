// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E4 in which the process forks while its other threads are
// inside absl::Mutex.
//
// Without NDEBUG, absl::Mutex has an internal lock. If a thread holds this lock
// at the fork, a child that uses a mutex hangs. With NDEBUG these tests find
// nothing.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

constexpr unsigned int kTimeoutSeconds = 20;

// Returns whether the child ended with success, and kills a child that hangs.
// The parent sets the alarm, because a child might hang before its fork()
// returns.
bool EndsWell(pid_t child) {
  alarm(kTimeoutSeconds);
  int status = 0;
  const pid_t ended = waitpid(child, &status, 0);
  alarm(0);
  if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return false;
}

// Forks up to `forks` children while two threads lock and unlock mutexes. Stops
// at the first child in which `holds` does not return true. Returns in how many
// children `holds` returned true.
int EndWell(int forks, const std::function<bool()>& holds) {
  struct sigaction interrupt = {};
  interrupt.sa_handler = [](int) {};  // Makes SIGALRM interrupt waitpid.
  EXPECT_EQ(sigaction(SIGALRM, &interrupt, nullptr), 0);
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
  for (; ended_well < forks; ++ended_well) {
    const pid_t child = fork();
    if (child == 0) _exit(holds() ? 0 : 1);
    if (child < 0 || !EndsWell(child)) break;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  return ended_well;
}

TEST(ForkExecTest, E4TheChildWaitsForNoLockOfAbseil) {
  ManualExecutor executor;
  const auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>());
  EXPECT_EQ(EndWell(200, [] { return true; }), 200);
}

TEST(ForkExecTest, E4TheChildsFirstReadWaitsForNoLockOfAbseil) {
  ThreadExecutor executor;
  const auto token = lifecycle_testing::Make(
      &executor, lifecycle_testing::MakeSource(
                     [](const FetchContext&, FetchDone<std::string> done) {
                       done(lifecycle_testing::Hour("t"));
                     }));
  EXPECT_EQ(EndWell(200, [&] { return token->Get().ok(); }), 200);
}

}  // namespace
}  // namespace refreshable
