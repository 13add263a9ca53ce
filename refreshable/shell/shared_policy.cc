// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/shared_policy.h"

#include <atomic>
#include <memory>
#include <tuple>

#include "refreshable/policy.h"

namespace refreshable {
namespace internal {
namespace {

// The structured bindings do not compile if a field is missing here.
bool Equal(const RetryPolicy& a, const RetryPolicy& b) {
  const auto& [a1, a2, a3, a4, a5, a6, a7, a8] = a;
  const auto& [b1, b2, b3, b4, b5, b6, b7, b8] = b;
  return std::tie(a1, a2, a3, a4, a5, a6, a7, a8) ==
         std::tie(b1, b2, b3, b4, b5, b6, b7, b8);
}

bool Equal(const RefreshPolicy& a, const RefreshPolicy& b) {
  const auto& [a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
               a_retry] = a;
  const auto& [b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13,
               b_retry] = b;
  return std::tie(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13) ==
             std::tie(b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13) &&
         Equal(a_retry, b_retry);
}

// A node of a list of policies. Never freed.
struct Kept {
  RefreshPolicy policy;
  const Kept* next;
  int count;  // The number of nodes from this node to the end.
};

std::atomic<const Kept*> first_kept{nullptr};

}  // namespace

std::shared_ptr<const RefreshPolicy> SharedPolicy(const RefreshPolicy& policy) {
  // A kept policy is never freed, so it needs no reference count.
  const auto share = [](const Kept* kept) {
    return std::shared_ptr<const RefreshPolicy>(std::shared_ptr<void>(),
                                                &kept->policy);
  };
  std::unique_ptr<Kept> added;
  const Kept* first = first_kept.load(std::memory_order_acquire);
  for (;;) {
    for (const Kept* kept = first; kept != nullptr; kept = kept->next) {
      if (Equal(kept->policy, policy)) return share(kept);
    }
    const int count = first != nullptr ? first->count + 1 : 1;
    if (count > kSharedPolicies) {
      return std::make_shared<const RefreshPolicy>(policy);
    }
    if (added == nullptr) {
      added = std::make_unique<Kept>(Kept{policy, nullptr, 0});
    }
    added->next = first;
    added->count = count;
    if (first_kept.compare_exchange_weak(first, added.get(),
                                         std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      return share(added.release());
    }
  }
}

}  // namespace internal
}  // namespace refreshable
