// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: the child of a fork() can read.

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "executors/manual_executor.h"
#include "executors/thread_executor.h"
#include "gtest/gtest.h"
#include "refreshable/lifecycle_testing.h"
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

// The token's time to ask was put off until the end of a refresh that is the
// parent's alone. The child's reads asked nobody, refreshed nothing and had no
// timer until the token had expired.
TEST(ForkTest, E4ChildRefreshesTheStaleTokenThatItsParentIsRefreshing) {
  ManualExecutor executor;
  auto held = std::make_shared<lifecycle_testing::HeldSource>();
  auto token = lifecycle_testing::Make(&executor, held);
  ASSERT_TRUE(token->Install({"t1", Expiry::In(absl::Hours(1))}).ok());
  executor.AdvanceBy(absl::Minutes(50));
  ASSERT_TRUE(token->Get(absl::ZeroDuration()).ok());
  executor.RunUntilIdle();
  ASSERT_EQ(held->calls(), 1u);
  EXPECT_TRUE(HoldsInChild([&] {
    if (!token->Get(absl::ZeroDuration()).ok()) return false;
    executor.RunUntilIdle();
    if (held->calls() != 2) return false;
    // And its timer ends a life that the wall clock lengthens.
    executor.StepWall(-absl::Hours(2));
    executor.AdvanceBy(absl::Minutes(10));
    return !token->Get(absl::ZeroDuration()).ok();
  }));
  held->Drop(0);
}

// What the child says of itself spoke of its parent's refresh and readers.
TEST(ForkTest, E4ChildSaysNothingOfTheParentsRefresh) {
  ManualExecutor executor;
  auto held = std::make_shared<lifecycle_testing::HeldSource>();
  auto token = lifecycle_testing::Make(&executor, held);
  const WaiterId id = token->GetAsync(
      absl::InfiniteDuration(), [](absl::StatusOr<Lease<std::string>>) {});
  executor.RunUntilIdle();
  ASSERT_TRUE(token->health().refreshing);
  EXPECT_TRUE(HoldsInChild([&] {
    const Health health = token->health();
    return !health.refreshing && health.waiters == 0;
  }));
  EXPECT_TRUE(HoldsInChild([&] {
    return !absl::StrContains(token->TryGet().status().message(),
                              ", being refreshed");
  }));
  EXPECT_TRUE(HoldsInChild([&] { return !token->Cancel(id); }));
  held->Drop(0);
}

}  // namespace
}  // namespace refreshable
