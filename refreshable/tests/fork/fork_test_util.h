// SPDX-License-Identifier: Apache-2.0
//
// Functions that the tests of fork() share.

#ifndef REFRESHABLE_TESTS_FORK_FORK_TEST_UTIL_H_
#define REFRESHABLE_TESTS_FORK_FORK_TEST_UTIL_H_

#include <sys/wait.h>
#include <unistd.h>

namespace refreshable {
namespace fork_testing {

// The child must end with _exit, and is killed after a minute.
inline pid_t Fork() {
  const pid_t pid = fork();
  if (pid == 0) alarm(60);
  return pid;
}

// Waits for `child`, and returns whether it was forked and ended with status 0.
inline bool EndedWell(pid_t child) {
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child &&
         WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Returns whether `holds` returns true in the child of a fork().
template <typename Function>
bool HoldsInChild(Function holds) {
  const pid_t child = Fork();
  if (child == 0) _exit(holds() ? 0 : 1);
  return EndedWell(child);
}

}  // namespace fork_testing
}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_FORK_FORK_TEST_UTIL_H_
