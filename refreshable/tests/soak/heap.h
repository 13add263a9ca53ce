// SPDX-License-Identifier: Apache-2.0
//
// Counts the bytes that this program has allocated and not freed.

#ifndef REFRESHABLE_TESTS_SOAK_HEAP_H_
#define REFRESHABLE_TESTS_SOAK_HEAP_H_

#include <cstdint>

namespace refreshable_soak {

// Returns the number of bytes that were allocated with `new` and not freed, or
// the figure that a sanitizer reports. Returns -1 if neither is known. Does not
// use the statistics of malloc, because these include per-thread caches, which
// grow for minutes.
int64_t HeapBytes();

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_HEAP_H_
