// SPDX-License-Identifier: Apache-2.0

#include "refreshable/machine/token_lifetime.h"

#include <algorithm>

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/machine/dual_deadline.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

TokenLifetime::TokenLifetime(const RefreshPolicy& policy, const Instant& now,
                             const LifetimeLeft& left, Jitter& jitter) {
  SetEdges(policy, now, left, jitter);
  young_until_ = now.boot + std::min(policy.young_token_age, left.lifetime / 2);
}

void TokenLifetime::SetEdges(const RefreshPolicy& policy, const Instant& now,
                             const LifetimeLeft& left, Jitter& jitter) {
  const absl::Duration lifetime = left.lifetime;
  const absl::Duration usable_for =
      lifetime - std::min(policy.expiry_margin, lifetime / 4);
  const absl::Duration window =
      policy.stale_window.has_value()
          ? std::min(*policy.stale_window, lifetime / 4 * 3)
          : std::min(lifetime / 2, policy.max_stale_window);
  absl::Duration fresh_for = lifetime - window;
  if (left.refresh_in < usable_for) {
    // Jitter makes a token stale earlier, but never before a quarter of its
    // life. So an early `refresh_in` is moved later, to leave room for jitter.
    const absl::Duration quarter = lifetime / 4;
    fresh_for =
        std::max(left.refresh_in, std::min(quarter + lifetime * policy.jitter,
                                           (quarter + usable_for) / 2));
  }
  max_stale_jitter_ = absl::ZeroDuration();
  drawn_ = 0;
  if (fresh_for < usable_for) {
    const absl::Duration earliest =
        std::max(lifetime / 4, fresh_for - lifetime * policy.jitter);
    max_stale_jitter_ = fresh_for - earliest;
    drawn_ = jitter.Draw();
    fresh_for -= max_stale_jitter_ * drawn_;
  }
  expiry_ = DualDeadline::After(now, lifetime);
  unusable_before_expiry_ = lifetime - usable_for;
  stale_before_expiry_ = lifetime - std::min(fresh_for, usable_for);
}

DualDeadline TokenLifetime::end(const RefreshPolicy& policy) const {
  if (policy.max_stale_on_error == absl::ZeroDuration()) return usable_until();
  DualDeadline end = expiry_;
  end += policy.max_stale_on_error;
  return end;
}

void TokenLifetime::DrawAgain(Jitter& jitter) {
  const absl::Duration without_jitter =
      stale_before_expiry_ - max_stale_jitter_ * drawn_;
  drawn_ = jitter.Draw();
  stale_before_expiry_ = std::max(unusable_before_expiry_,
                                  without_jitter + max_stale_jitter_ * drawn_);
}

}  // namespace internal
}  // namespace refreshable
