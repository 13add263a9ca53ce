// SPDX-License-Identifier: Apache-2.0
//
// DieOfMisuse: ends the program after a misuse that no return value can report.

#ifndef REFRESHABLE_INTERNAL_MISUSE_H_
#define REFRESHABLE_INTERNAL_MISUSE_H_

#include <cstdio>
#include <cstdlib>

namespace refreshable {
namespace internal {

// Ends the program in every build mode.
[[noreturn]] inline void DieOfMisuse(const char* message) {
  std::fprintf(stderr, "Fatal misuse of a Refreshable: %s\n", message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_MISUSE_H_
