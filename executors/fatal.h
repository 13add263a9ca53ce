// SPDX-License-Identifier: Apache-2.0
//
// How an executor ends the program when it is misused beyond return. Private.

#ifndef EXECUTORS_FATAL_H_
#define EXECUTORS_FATAL_H_

#include <cstdio>
#include <cstdlib>

namespace refreshable {
namespace internal_executors {

// Ends the program, with `message`, if `ok` is false. In every build mode. (The
// oldest Abseil that is supported has no public CHECK.)
inline void Require(bool ok, const char* message) {
  if (ok) return;
  std::fprintf(stderr, "Fatal misuse of an executor: %s\n", message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace internal_executors
}  // namespace refreshable

#endif  // EXECUTORS_FATAL_H_
