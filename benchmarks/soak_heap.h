// SPDX-License-Identifier: Apache-2.0
//
// How much this program has allocated and not freed, to the byte.

#ifndef REFRESHABLE_BENCHMARKS_SOAK_HEAP_H_
#define REFRESHABLE_BENCHMARKS_SOAK_HEAP_H_

#include <cstdint>

namespace refreshable_soak {

// What `new` has handed out and `delete` has not taken back, or what a
// sanitizer says of the heap. -1: not known. malloc's own figures do not serve:
// they count what its caches keep for each thread, which rises for minutes.
int64_t HeapBytes();

}  // namespace refreshable_soak

#endif  // REFRESHABLE_BENCHMARKS_SOAK_HEAP_H_
