// SPDX-License-Identifier: Apache-2.0
//
// SharedPolicy: one copy of a policy for all instances that use it.

#ifndef REFRESHABLE_SHELL_SHARED_POLICY_H_
#define REFRESHABLE_SHELL_SHARED_POLICY_H_

#include <memory>

#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

// Returns a policy that equals `policy`; not null. The first `kSharedPolicies`
// different policies are kept forever and shared. Any other policy is copied at
// each call. Thread-safe. Takes no lock that a fork() could leave locked in the
// child.
std::shared_ptr<const RefreshPolicy> SharedPolicy(const RefreshPolicy& policy);

inline constexpr int kSharedPolicies = 16;

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SHARED_POLICY_H_
