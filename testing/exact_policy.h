// SPDX-License-Identifier: Apache-2.0
//
// ExactPolicy: the default policy without jitter.

#ifndef REFRESHABLE_TESTING_EXACT_POLICY_H_
#define REFRESHABLE_TESTING_EXACT_POLICY_H_

#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/policy.h"

namespace refreshable_testing {

// Returns the default policy with `jitter = 0`. Nothing varies at random, so a
// test can state when a token becomes stale.
inline refreshable::RefreshPolicy ExactPolicy() {
  refreshable::RefreshPolicy policy;
  policy.jitter = 0;
  return policy;
}

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_EXACT_POLICY_H_
