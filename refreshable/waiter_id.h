// SPDX-License-Identifier: Apache-2.0
//
// WaiterId: names an asynchronous read.

#ifndef REFRESHABLE_WAITER_ID_H_
#define REFRESHABLE_WAITER_ID_H_

#include <cstdint>

#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// Names one `GetAsync` call of one Refreshable. Never reused.
enum class WaiterId : uint64_t {
  // GetAsync returns this while the Refreshable is being destroyed. The
  // callback then never runs.
  kNone = 0,
};

}  // namespace refreshable

#endif  // REFRESHABLE_WAITER_ID_H_
