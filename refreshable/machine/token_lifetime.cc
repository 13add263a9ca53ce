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
                             absl::Duration lifetime, Jitter& jitter) {
  SetEdges(policy, now, lifetime, jitter);
  young_until_ = now.boot + std::min(policy.young_token_age, lifetime / 2);
}

void TokenLifetime::SetEdges(const RefreshPolicy& policy, const Instant& now,
                             absl::Duration lifetime, Jitter& jitter) {
  const absl::Duration usable_for =
      lifetime - std::min(policy.expiry_margin, lifetime / 4);
  const absl::Duration window =
      policy.stale_window.has_value()
          ? std::min(*policy.stale_window, lifetime / 4 * 3)
          : std::min(lifetime / 2, policy.max_stale_window);
  absl::Duration fresh_for = lifetime - window;
  max_stale_jitter_ = stale_jitter_ = absl::ZeroDuration();
  if (fresh_for < usable_for) {
    const absl::Duration earliest =
        std::max(lifetime / 4, fresh_for - lifetime * policy.jitter);
    max_stale_jitter_ = fresh_for - earliest;
    stale_jitter_ = max_stale_jitter_ * jitter.Draw();
    fresh_for -= stale_jitter_;
  }
  expiry_ = DualDeadline::After(now, lifetime);
  usable_until_ = DualDeadline::After(now, usable_for);
  stale_at_ = DualDeadline::After(now, std::min(fresh_for, usable_for));
  has_grace_ = policy.max_stale_on_error > absl::ZeroDuration();
  end_ = has_grace_ ? expiry_ : usable_until_;
  end_ += policy.max_stale_on_error;
}

void TokenLifetime::DrawAgain(Jitter& jitter) {
  const absl::Duration early = max_stale_jitter_ * jitter.Draw();
  stale_at_ += stale_jitter_ - early;
  stale_at_.wall = std::min(stale_at_.wall, usable_until_.wall);
  stale_at_.boot = std::min(stale_at_.boot, usable_until_.boot);
  stale_jitter_ = early;
}

}  // namespace internal
}  // namespace refreshable
