// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: the child of a fork() can read.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
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

TEST(ForkTest, E4ChildReadsWhatTheParentHeld) {
  ThreadExecutor executor;
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([]() -> Result {
        return Credential<std::string>("t1", Expiry::Never());
      }),
      {&executor});
  ASSERT_TRUE((*token)->Get().ok());
  EXPECT_TRUE(HoldsInChild([&] {
    auto lease = (*token)->Get();
    return lease.ok() && lease->token() == "t1";
  }));
}

TEST(ForkTest, E4ChildRefreshesThoughTheParentIsInTheMiddleOfIt) {
  ThreadExecutor executor;
  const pid_t parent = getpid();
  absl::Notification called;
  absl::Notification release;
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([&]() -> Result {
        if (getpid() == parent) {
          called.Notify();
          release.WaitForNotification();
        }
        return Credential<std::string>("t1", Expiry::Never());
      }),
      {&executor});
  (*token)->GetAsync(absl::InfiniteDuration(),
                     [](absl::StatusOr<Lease<std::string>>) {});
  called.WaitForNotification();
  EXPECT_TRUE(HoldsInChild([&] {
    auto lease = (*token)->Get();
    return lease.ok() && lease->token() == "t1" &&
           lease->generation() == Generation(1);
  }));
  release.Notify();
  EXPECT_TRUE((*token)->Get().ok());
}

TEST(ForkTest, E4ChildReadsWhileTheParentsThreadsAreInsideEveryCall) {
  // Its detector has a lock of its own, which no child gets back.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  ThreadExecutor executor;
  std::atomic<int> calls{0};
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
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        auto lease = (*token)->Get();
        (*token)->health();
        EXPECT_TRUE((*token)
                        ->Install(Credential<std::string>("i", Expiry::Never()))
                        .ok());
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(HoldsInChild([&] {
      auto lease = (*token)->Get();
      if (!lease.ok() || !(*token)->Invalidate(lease->generation())) {
        return false;
      }
      lease = (*token)->Get();
      return lease.ok() && lease->token()[0] == 't';
    }));
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace refreshable
