// SPDX-License-Identifier: Apache-2.0
//
// HasMemory: tries to allocate what a task needs. Private.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_HAS_MEMORY_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_HAS_MEMORY_H_

#include <new>

#include "absl/base/config.h"

namespace refreshable {
namespace executors_internal {

// Calls `allocate`. Returns false if `allocate` throws bad_alloc.
template <typename Function>
bool HasMemory(Function allocate) {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    allocate();
  } catch (const std::bad_alloc&) {
    return false;
  }
#else
  allocate();
#endif
  return true;
}

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_HAS_MEMORY_H_
