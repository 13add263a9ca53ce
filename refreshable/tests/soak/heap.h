// SPDX-License-Identifier: Apache-2.0
//
// How much this program has allocated and not freed, to the byte.

#ifndef REFRESHABLE_TESTS_SOAK_HEAP_H_
#define REFRESHABLE_TESTS_SOAK_HEAP_H_

#include <cstdint>

namespace refreshable_soak {

// Returns the bytes that `new` has allocated and `delete` has not freed, or
// what a sanitizer reports; -1 if not known. malloc's own figures are of no
// use, because they include its caches for each thread, which grow for minutes.
int64_t HeapBytes();

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_HEAP_H_
