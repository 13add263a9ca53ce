// SPDX-License-Identifier: Apache-2.0
//
// A test of clause E4 in a program that refreshes and forks before main(). In
// the past, the library registered its fork handlers too late for this fork.
// This test does not run under sanitizers, because the parent has threads when
// it forks.

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

const std::unique_ptr<ThreadExecutor> executor =
    *ThreadExecutor::Create(ThreadExecutor::Options());
const std::unique_ptr<Refreshable<std::string>> token =
    *Refreshable<std::string>::Create(
        BlockingSource<std::string>(
            [n = 0]() mutable -> absl::StatusOr<Credential<std::string>> {
              return Credential<std::string>(std::to_string(++n),
                                             Expiry::Never());
            }),
        {executor.get()});

// Returns whether parent and child both get a token.
bool ForksWell() {
  if (!token->Get().ok()) return false;
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);  // SIGALRM ends a child that hangs.
    token->Invalidate(token->Get()->generation());
    token->Reset();
    _exit(token->Get().ok() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

const bool forked_well = ForksWell();

TEST(ForkBeforeMainTest, E4ChildOfAForkBeforeMainRefreshes) {
  EXPECT_TRUE(forked_well);
}

}  // namespace
}  // namespace refreshable
