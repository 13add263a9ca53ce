// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: the child of a fork() can read. With one thread in the parent, so
// that the child's allocator works under a sanitizer too; with more of them in
// fork_stress_test.cc.

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "executors/manual_executor.h"
#include "gtest/gtest.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

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
