// SPDX-License-Identifier: Apache-2.0
//
// WaiterId: the id of an asynchronous read.

#ifndef REFRESHABLE_WAITER_ID_H_
#define REFRESHABLE_WAITER_ID_H_

#include <cstdint>

#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The id of one `GetAsync` call of one Refreshable, for `Cancel`. Never reused.
enum class WaiterId : uint64_t {
  // GetAsync returns this while the Refreshable is being destroyed. The
  // callback then never runs.
  kNone = 0,
};

}  // namespace refreshable

#endif  // REFRESHABLE_WAITER_ID_H_
