// SPDX-License-Identifier: Apache-2.0
//
// TokenLifetime: the moments at which a token becomes stale, stops being
// usable, and expires.

#ifndef REFRESHABLE_MACHINE_TOKEN_LIFETIME_H_
#define REFRESHABLE_MACHINE_TOKEN_LIFETIME_H_

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/machine/dual_deadline.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

// How long a token lives, and the source's hint of when to replace it
// (`Expiry::WithRefreshIn`). Both count from the present moment. `refresh_in`
// is infinite if there is no hint. It may be zero or less, because the hinted
// moment may have come before the source's answer.
struct LifetimeLeft {
  absl::Duration lifetime;
  absl::Duration refresh_in = absl::InfiniteDuration();
};

// A token becomes stale, stops being usable, and expires, in this order. While
// refreshes fail, a token may be served until it *ends* (see `end`). Each of
// these moments is a wall time and a boot time. A token is *young* for some
// time after it came from a source.
//
// The default value is the lifetime of a token that never becomes stale and is
// not young.
class TokenLifetime {
 public:
  TokenLifetime() = default;
  // Makes the lifetime of a token that a source returned at `now`. If the token
  // was installed instead, call SetInstalled next. Requires: `left.lifetime` >
  // 0.
  TokenLifetime(const RefreshPolicy& policy, const Instant& now,
                const LifetimeLeft& left, Jitter& jitter);

  // Called when the same token has come again at `now`, with another expiry.
  // Does not change how long the token is young.
  void Extend(const RefreshPolicy& policy, const Instant& now,
              const LifetimeLeft& left, Jitter& jitter) {
    SetEdges(policy, now, left, jitter);
  }
  // Makes the token not young.
  void SetInstalled() { young_until_ = BootTime::InfinitePast(); }
  // Draws the jitter of `stale_at` anew.
  void DrawAgain(Jitter& jitter);

  bool Stale(const Instant& now) const { return stale_at().Reached(now); }
  bool Usable(const Instant& now) const { return !usable_until().Reached(now); }
  bool Young(const Instant& now) const { return now.boot < young_until_; }
  // Whether the policy lets the token be served after a failure.
  bool UsableOnError(const RefreshPolicy& policy, const Instant& now) const {
    return policy.max_stale_on_error > absl::ZeroDuration() &&
           !end(policy).Reached(now);
  }

  DualDeadline stale_at() const { return BeforeExpiry(stale_before_expiry_); }
  DualDeadline usable_until() const {
    return BeforeExpiry(unusable_before_expiry_);
  }
  const DualDeadline& expiry() const { return expiry_; }
  // Returns when the token ends: `max_stale_on_error` after the expiry if the
  // policy sets that; otherwise at `usable_until`.
  DualDeadline end(const RefreshPolicy& policy) const;

 private:
  // Sets all members but `young_until_`.
  void SetEdges(const RefreshPolicy& policy, const Instant& now,
                const LifetimeLeft& left, Jitter& jitter);

  DualDeadline BeforeExpiry(absl::Duration d) const {
    DualDeadline edge = expiry_;
    edge += -d;
    return edge;
  }

  DualDeadline expiry_;
  absl::Duration stale_before_expiry_;
  absl::Duration unusable_before_expiry_;
  // The jitter makes the token stale earlier, by `max_stale_jitter_ * drawn_`.
  absl::Duration max_stale_jitter_;
  double drawn_ = 0;
  BootTime young_until_ = BootTime::InfinitePast();
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_TOKEN_LIFETIME_H_
