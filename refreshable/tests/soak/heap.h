// SPDX-License-Identifier: Apache-2.0
//
// The bytes that this program has allocated and not freed.

#ifndef REFRESHABLE_TESTS_SOAK_HEAP_H_
#define REFRESHABLE_TESTS_SOAK_HEAP_H_

#include <cstdint>

namespace refreshable_soak {

// Returns the bytes allocated with `new` and not freed with `delete`, or the
// figure that a sanitizer reports; -1 if unknown. The figures of malloc itself
// cannot be used, because they include its per-thread caches, which grow for
// minutes.
int64_t HeapBytes();

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_HEAP_H_
