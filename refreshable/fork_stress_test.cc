// SPDX-License-Identifier: Apache-2.0
//
// Clause E4 while other threads are inside every call. A target of its own, as
// it is left out under the sanitizers: their runtimes do not give the child the
// locks back that threads of the parent were holding, so that there a child may
// hang in malloc or free.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "executors/thread_executor.h"
#include "gtest/gtest.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using Result = absl::StatusOr<Credential<std::string>>;

// Runs `child` in a forked process; true if it returned true.
template <typename Function>
bool HoldsInChild(Function child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);  // A child that hangs fails.
    _exit(child() ? 0 : 1);
  }
  int status = 0;
  return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

TEST(ForkStressTest, E4ChildReadsWhileTheParentsThreadsAreInsideEveryCall) {
  // Its detector has a lock of its own, which no child gets back.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  std::atomic<int> calls{0};
  ThreadExecutor executor;
  RefreshPolicy policy;  // A rejected token may be replaced at once.
  policy.young_token_age = absl::ZeroDuration();
  policy.min_interval = absl::ZeroDuration();
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([&]() -> Result {
        return Credential<std::string>(absl::StrCat("t", ++calls),
                                       Expiry::Never());
      }),
      {&executor, policy});
  std::atomic<bool> stop{false};
  // Each thread has been through everything once before the first fork: the
  // first lock that a thread waits for makes Abseil allocate under a lock of
  // its own, which no child gets back.
  constexpr int kReaders = 3;
  absl::BlockingCounter started(kReaders);
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      const auto read_and_install = [&] {
        auto lease = (*token)->Get();
        (*token)->health();
        EXPECT_TRUE((*token)
                        ->Install(Credential<std::string>("i", Expiry::Never()))
                        .ok());
      };
      read_and_install();
      started.DecrementCount();
      while (!stop.load()) read_and_install();
    });
  }
  started.Wait();
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(HoldsInChild([&] {
      auto lease = (*token)->Get();
      if (!lease.ok() || !(*token)->Invalidate(lease->generation())) {
        return false;
      }
      lease = (*token)->Get();
      return lease.ok() && lease->token()[0] == 't';
    })) << "fork "
        << i;
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace refreshable
