// SPDX-License-Identifier: Apache-2.0
//
// RefreshPolicy: every constant that governs how a token is kept valid.

#ifndef REFRESHABLE_POLICY_H_
#define REFRESHABLE_POLICY_H_

#include <optional>
#include <ostream>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/internal/printing.h"

namespace refreshable {

// What happens when `RetryPolicy::max_consecutive_failures` is reached and no
// usable token is left.
enum class OnExhausted {
  // Once per `probe_interval` one read tries again. Reads that arrive during
  // that attempt wait for it too; all others fail at once.
  kSelfHeal,
  // Nothing is attempted until `Reset()` or `Install()`; reads get an error for
  // which `IsFatal(status)` is true.
  kFatal,
};

// How failed attempts are spaced and counted. The wait after the n-th failure
// in a row is min(initial_backoff * multiplier^(n-1), max_backoff), counted
// from the start of the attempt that failed. If the server asks for another
// wait (`SetRetryAfter`), that is used instead.
struct RetryPolicy {
  // > 0 and finite.
  absl::Duration initial_backoff = absl::Seconds(2);
  // >= 1 and finite.
  double multiplier = 2.0;
  // >= initial_backoff; finite.
  absl::Duration max_backoff = absl::Seconds(60);
  // The number of attempts after the first one, in a refresh that a reader
  // waits for; >= 0.
  int max_retries = 6;
  // `on_exhausted` applies after this many failures in a row, counted across
  // refreshes. Must be greater than `max_retries`. A failure does not count if
  // the server asked for a shorter wait than the computed one.
  int max_consecutive_failures = 7;
  OnExhausted on_exhausted = OnExhausted::kSelfHeal;
  // The time between the starts of two attempts, under kSelfHeal, once
  // `max_consecutive_failures` attempts have failed and no token is usable.
  // `RefreshPolicy::max_abandoned_calls` uses this time too. > 0, finite and,
  // for kSelfHeal, at least the longest wait (`max_backoff`, or
  // `initial_backoff` if `multiplier` is 1).
  absl::Duration probe_interval = absl::Seconds(60);
  // The longest wait that a server may ask for (Retry-After). If it asks for
  // more, the wait is this or the computed wait, whichever is longer. Finite;
  // >= 0.
  absl::Duration max_retry_after = absl::Minutes(5);
};

// When a token is refreshed, and what is done when that fails. The defaults
// suit an OAuth 2.0 access token. Durations are measured by BootTime (clock.h),
// so no step of the wall clock lengthens any of them. A value.
struct RefreshPolicy {
  // A token is treated as expired this long before its expiry, though never
  // more than a quarter of its lifetime; >= 0.
  absl::Duration expiry_margin = absl::Seconds(40);
  // A token is stale from this long before its expiry. If unset, this is half
  // its lifetime, at most `max_stale_window`. If zero, or not longer than
  // `expiry_margin`, a token is never stale: it is refreshed when it has
  // expired. Capped at three quarters of the lifetime; otherwise a short-lived
  // token would be stale on arrival and refreshed again immediately. >= 0.
  std::optional<absl::Duration> stale_window;
  // The limit on the window that is used if `stale_window` is unset; otherwise
  // this has no effect. >= 0.
  absl::Duration max_stale_window = absl::Minutes(20);
  // Whether a read of a stale token starts a refresh in the background. If
  // false, a token is refreshed only once it has expired.
  bool background_refresh = true;
  // Whether a timer starts the background refresh of a stale token, even if
  // there is no read. Once a token has been published, the timer also starts
  // every later attempt that is due and permitted. Requires
  // `background_refresh`.
  bool refresh_ahead = false;
  // After a background refresh has failed, no other is started for this long,
  // as long as the token stays usable. If unset, this is 60 s, at most a
  // quarter of the time for which the token is still usable, and at least
  // `min_interval`. >= 0.
  std::optional<absl::Duration> background_cooldown;
  // Minimum time between the starts of two attempts, and between the end of a
  // failed attempt and the next start. The time between starts does not apply
  // to the first attempt after an `Invalidate` or `Install`. Finite; >= 0.
  absl::Duration min_interval = absl::Seconds(1);
  // An attempt that runs for longer is abandoned and counts as failed. An
  // attempt that the executor has not started within this time ends too, but
  // does not count as a failure. > 0.
  absl::Duration attempt_timeout = absl::Seconds(30);
  // How many abandoned calls of the source may still be running when the source
  // is called again. Once this many are running, an attempt fails without
  // calling the source. As an exception, one more call may be made
  // `probe_interval` after the last one, another one after twice that time, and
  // so on. At least 1.
  int max_abandoned_calls = 2;
  // A token that is invalidated within this time of its publication, or within
  // half its life if that is shorter, counts as a failure. The failures from
  // before its publication then count again too. >= 0.
  absl::Duration young_token_age = absl::Seconds(30);
  // The longest wait between two attempts that rejections start while the
  // rejected token is still served (`ReadOptions::rejected`). The waits grow as
  // those after failures do. If unset, this is `retry.max_backoff`. Finite and
  // at least `retry.initial_backoff`.
  std::optional<absl::Duration> max_rejection_backoff;
  // While refreshes fail, an expired token is served for at most this long
  // after its expiry. Its leases say so (`Lease::degraded`). If zero, no
  // expired token is served. Finite; >= 0.
  absl::Duration max_stale_on_error = absl::ZeroDuration();
  // Spreads the load of many clients, by a fraction in [0, 1). A token is stale
  // earlier by up to this fraction of its lifetime, but not before a quarter of
  // its lifetime. Computed waits are longer or shorter by up to this fraction,
  // but never longer than `max_backoff`. Waits before probes are only
  // shortened; waits that a server asked for are only lengthened. If zero,
  // everything happens exactly on time.
  double jitter = 0.1;
  RetryPolicy retry;
};

// Writes "self_heal" or "fatal".
std::ostream& operator<<(std::ostream& os, OnExhausted on_exhausted);
// These write all fields as name=value, on one line.
std::ostream& operator<<(std::ostream& os, const RetryPolicy& policy);
std::ostream& operator<<(std::ostream& os, const RefreshPolicy& policy);

template <typename Sink>
void AbslStringify(Sink& sink, const RetryPolicy& policy) {
  sink.Append(internal::Streamed(policy));
}
template <typename Sink>
void AbslStringify(Sink& sink, const RefreshPolicy& policy) {
  sink.Append(internal::Streamed(policy));
}
template <typename Sink>
void AbslStringify(Sink& sink, OnExhausted on_exhausted) {
  sink.Append(internal::Streamed(on_exhausted));
}

// Returns OK, or INVALID_ARGUMENT with a message that names the invalid field
// and its value. `Refreshable::Create` calls this.
absl::Status Validate(const RefreshPolicy& policy);

}  // namespace refreshable

#endif  // REFRESHABLE_POLICY_H_
