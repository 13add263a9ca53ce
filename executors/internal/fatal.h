// SPDX-License-Identifier: Apache-2.0
//
// Require: ends the program when an executor is misused.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_FATAL_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_FATAL_H_

#include <cstdio>
#include <cstdlib>

namespace refreshable {
namespace executors_internal {

// Ends the program with `message` if `ok` is false, in every build mode. The
// oldest supported Abseil has no public CHECK.
inline void Require(bool ok, const char* message) {
  if (ok) return;
  std::fprintf(stderr, "Fatal misuse of an executor: %s\n", message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_FATAL_H_
