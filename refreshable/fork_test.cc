// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: the child of a fork() can read.

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "executors/thread_executor.h"
#include "gtest/gtest.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using Result = absl::StatusOr<Credential<std::string>>;

// Its two threads have started: a thread that starts allocates, and a
// sanitizer's allocator has locks that no child gets back.
std::unique_ptr<ThreadExecutor> StartedExecutor() {
  ThreadExecutor::Options options;
  options.workers = 1;
  auto executor = *ThreadExecutor::Create(options);
  absl::Notification ran;
  absl::Notification fired;
  EXPECT_TRUE(executor->Run([&] { ran.Notify(); }));
  EXPECT_NE(executor->RunAfter(absl::ZeroDuration(), [&] { fired.Notify(); }),
            TimerId::kNone);
  ran.WaitForNotification();
  fired.WaitForNotification();
  return executor;
}

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
  const auto executor = StartedExecutor();
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([]() -> Result {
        return Credential<std::string>("t1", Expiry::Never());
      }),
      {executor.get()});
  ASSERT_TRUE((*token)->Get().ok());
  EXPECT_TRUE(HoldsInChild([&] {
    auto lease = (*token)->Get();
    return lease.ok() && lease->token() == "t1";
  }));
}

TEST(ForkTest, E4ChildRefreshesThoughTheParentIsInTheMiddleOfIt) {
  const auto executor = StartedExecutor();
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
      {executor.get()});
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

}  // namespace
}  // namespace refreshable
