// SPDX-License-Identifier: Apache-2.0
//
// RefreshPolicy: the settings that govern how a token is kept valid.

#ifndef REFRESHABLE_POLICY_H_
#define REFRESHABLE_POLICY_H_

#include <optional>
#include <ostream>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/internal/printing.h"

namespace refreshable {

// What happens while refreshing is *exhausted*: there were too many failures in
// a row (`RetryPolicy::max_consecutive_failures`), and no usable token is left.
enum class OnExhausted {
  // The next attempt is permitted about `RetryPolicy::probe_interval` after the
  // start of the last one. The first read after that time, or the timer of
  // `RefreshPolicy::refresh_ahead`, starts it. A read that may be served an
  // expired token (`RefreshPolicy::max_stale_on_error`) gets it at once. Any
  // other read waits for the attempt in progress, or fails at once if there is
  // none.
  kSelfHeal,
  // No further attempt starts. `Reset()` ends this state, and so does a usable
  // token, such as one from `Install()`. A read that may be served an expired
  // token (`RefreshPolicy::max_stale_on_error`) gets it. Any other read waits
  // for an attempt that is still in progress. If there is none, it gets an
  // error for which `IsFatal(status)` is true.
  kFatal,
};

// How failed attempts are spaced and counted. The *backoff* after the n-th
// failure in a row is min(initial_backoff * multiplier^(n-1), max_backoff). The
// backoff counts from the start of the last attempt. A wait that the server
// asks for (`SetRetryAfter`) replaces the backoff, and counts from the failure.
struct RetryPolicy {
  // > 0 and finite.
  absl::Duration initial_backoff = absl::Seconds(2);
  // >= 1 and finite.
  double multiplier = 2.0;
  // >= initial_backoff; finite.
  absl::Duration max_backoff = absl::Seconds(60);
  // How many times a refresh may retry if a read waits for it. >= 0. A
  // background refresh does not retry, nor does any refresh while refreshing is
  // exhausted. A rejecting read (`ReadOptions::rejected`) causes no retries as
  // long as the rejected token can be served.
  int max_retries = 6;
  // Refreshing is exhausted after this many failures in a row, as soon as no
  // usable token is left. Failures are counted across refreshes. A failure does
  // not count here if the server's Retry-After makes the wait after it shorter
  // than the backoff. Must be greater than `max_retries`.
  int max_consecutive_failures = 7;
  OnExhausted on_exhausted = OnExhausted::kSelfHeal;
  // The time between the starts of two attempts while refreshing is exhausted
  // under kSelfHeal. > 0 and finite. For kSelfHeal it must be at least the
  // longest backoff: `max_backoff`, or `initial_backoff` if `multiplier` is 1.
  absl::Duration probe_interval = absl::Seconds(60);
  // The longest wait that a server may ask for (Retry-After). If a server asks
  // for more, the wait is `max_retry_after` or the backoff, whichever is
  // longer. Finite; >= 0.
  absl::Duration max_retry_after = absl::Minutes(5);
};

// When a token is refreshed, and what happens when a refresh fails. The
// defaults suit an OAuth 2.0 access token. A token's *lifetime* here is the
// time from its publication to its expiry. No step of the wall clock lengthens
// any of these durations. A value type.
struct RefreshPolicy {
  // A token is treated as expired this long before its expiry. The margin is at
  // most a quarter of the token's lifetime. >= 0.
  absl::Duration expiry_margin = absl::Seconds(40);
  // A token is stale from this long before its expiry. >= 0. If unset, this is
  // half the token's lifetime, at most `max_stale_window`. A hint of the source
  // (`Expiry::WithRefreshIn`) replaces the window.
  //
  // The window is at most three quarters of the token's lifetime. If the window
  // is not longer than the token's margin (`expiry_margin`), the token is never
  // stale.
  std::optional<absl::Duration> stale_window;
  // The longest stale window if `stale_window` is unset. >= 0.
  absl::Duration max_stale_window = absl::Minutes(20);
  // Whether a read of a stale token starts a refresh in the background. If
  // false, a token is refreshed only when it has expired, or was rejected or
  // withdrawn.
  bool background_refresh = true;
  // Whether a timer starts the background refresh of a stale token, without any
  // read. While no token is usable, the timer also starts attempts, each as
  // soon as it is permitted. It does so only after a first token has been
  // published. Requires `background_refresh`.
  bool refresh_ahead = false;
  // After a failed background refresh, no other starts for this long. The
  // token's expiry ends this time early. >= 0. If unset, this is 60 s, but at
  // most a quarter of the time for which the token is still usable, and at
  // least `min_interval`.
  std::optional<absl::Duration> background_cooldown;
  // The minimum time between the starts of two attempts. Also the minimum time
  // from the end of an attempt that counts as a failure (`Event::failures`) to
  // the start of the next attempt. Finite; >= 0. The first attempt to replace
  // an invalidated token is exempt from the time between starts. So is the
  // first attempt after `Install`, or in the child of a fork().
  absl::Duration min_interval = absl::Seconds(1);
  // An attempt that runs for longer than this is abandoned and fails. An
  // attempt that the executor has not started within this time also ends, but
  // does not count as a failure. > 0.
  absl::Duration attempt_timeout = absl::Seconds(30);
  // If this many abandoned calls of the source are unanswered, an attempt fails
  // without calling the source. But an attempt calls the source if
  // `retry.probe_interval` has passed since the last call. This time doubles
  // with each further call, until any call is answered. >= 1.
  int max_abandoned_calls = 2;
  // A token is young for this long after its publication, but at most for half
  // its lifetime. The invalidation of a young token counts as a failure. The
  // failures from before its publication then count again, too. A token from
  // `Install` is exempt. >= 0.
  absl::Duration young_token_age = absl::Seconds(30);
  // The longest wait between two attempts started by rejecting reads
  // (`ReadOptions::rejected`). These waits grow like the backoffs of
  // RetryPolicy. If unset, this is `retry.max_backoff`. Finite and at least
  // `retry.initial_backoff`.
  std::optional<absl::Duration> max_rejection_backoff;
  // While refreshes fail, an expired token is served for at most this long
  // after its expiry, with leases that are marked (`Lease::degraded`). If zero,
  // no expired token is served. Finite; >= 0.
  absl::Duration max_stale_on_error = absl::ZeroDuration();
  // The fraction, in [0, 1), by which times vary at random, to spread the load
  // of many clients. A token is stale earlier by up to this fraction of its
  // lifetime, but not before a quarter of its lifetime. Backoffs are longer or
  // shorter by up to this fraction, but never longer than `max_backoff`. Waits
  // between attempts of rejecting reads vary in the same way, up to
  // `max_rejection_backoff`. Waits of `probe_interval` are only shortened;
  // waits that a server asked for are only lengthened. If zero, everything
  // happens exactly on time.
  double jitter = 0.1;
  RetryPolicy retry;
};

// Writes "self_heal" or "fatal".
std::ostream& operator<<(std::ostream& os, OnExhausted on_exhausted);
// Writes all fields as name=value, on one line.
std::ostream& operator<<(std::ostream& os, const RetryPolicy& policy);
// Writes all fields as name=value, on one line, including those of `retry`.
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

// Returns OK if each field of `policy` keeps the rule in its comment. Otherwise
// returns INVALID_ARGUMENT with a message that names one invalid field and its
// value.
absl::Status Validate(const RefreshPolicy& policy);

}  // namespace refreshable

#endif  // REFRESHABLE_POLICY_H_
