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
  // Attempts start no sooner than about `probe_interval` apart. The first read
  // after that time starts an attempt, unless the timer of
  // `RefreshPolicy::refresh_ahead` has started it. A read that may not be
  // served an expired token (`RefreshPolicy::max_stale_on_error`) waits for the
  // attempt that it has started or finds in progress; if there is none, it
  // fails at once.
  kSelfHeal,
  // No further attempt starts until `Reset()` is called or a token is usable
  // again, which `Install()` or an abandoned attempt may bring. A read that may
  // not be served an expired token (`RefreshPolicy::max_stale_on_error`) gets
  // an error for which `IsFatal(status)` is true, unless an attempt is still in
  // progress.
  kFatal,
};

// How failed attempts are spaced and counted. The wait after the n-th failure
// in a row is min(initial_backoff * multiplier^(n-1), max_backoff), counted
// from the start of the last attempt. This is the *computed wait*. A wait that
// the server asks for (`SetRetryAfter`) replaces it, as `max_retry_after` says.
struct RetryPolicy {
  // > 0 and finite.
  absl::Duration initial_backoff = absl::Seconds(2);
  // >= 1 and finite.
  double multiplier = 2.0;
  // >= initial_backoff; finite.
  absl::Duration max_backoff = absl::Seconds(60);
  // How often a refresh that a read waits for may retry after its first
  // attempt. >= 0. A background refresh does not retry, and no refresh does
  // while refreshing is exhausted. A rejecting read (`ReadOptions::rejected`)
  // makes no refresh retry while the token that it rejected can still be
  // served.
  int max_retries = 6;
  // `on_exhausted` applies after this many failures in a row, counted across
  // refreshes, once no usable token is left. A failure does not count here if,
  // because of the wait that the server asked for, the next attempt may start
  // sooner than after the computed wait. Must be greater than `max_retries`.
  int max_consecutive_failures = 7;
  OnExhausted on_exhausted = OnExhausted::kSelfHeal;
  // The time that must pass between the starts of two attempts while refreshing
  // is exhausted under kSelfHeal. `RefreshPolicy::max_abandoned_calls` uses
  // this time too. > 0 and finite. For kSelfHeal it must be at least the
  // longest computed wait: `max_backoff`, or `initial_backoff` if `multiplier`
  // is 1.
  absl::Duration probe_interval = absl::Seconds(60);
  // The longest wait that a server may ask for (Retry-After). If a server asks
  // for more, the wait is `max_retry_after` or the computed wait, whichever is
  // longer. Finite; >= 0.
  absl::Duration max_retry_after = absl::Minutes(5);
};

// When a token is refreshed, and what is done when that fails. The defaults
// suit an OAuth 2.0 access token. No step of the wall clock lengthens any of
// these durations, because each is limited by BootTime (clock.h). A value.
struct RefreshPolicy {
  // A token is treated as expired this long before its expiry, or a quarter of
  // its lifetime before if that is shorter. >= 0.
  absl::Duration expiry_margin = absl::Seconds(40);
  // A token is stale from this long before its expiry, unless the source gave a
  // hint (`Expiry::WithRefreshIn`). If unset, this is half the token's
  // lifetime, at most `max_stale_window`. >= 0.
  //
  // The window is at most three quarters of the lifetime. Otherwise a
  // short-lived token would be stale on arrival and refreshed again at once. If
  // the window is not longer than the margin that `expiry_margin` gives the
  // token, the token is never stale: it is refreshed when it has expired.
  std::optional<absl::Duration> stale_window;
  // The longest stale window if `stale_window` is unset. Has no effect if
  // `stale_window` is set. >= 0.
  absl::Duration max_stale_window = absl::Minutes(20);
  // Whether a read of a stale token starts a refresh in the background. If
  // false, a token is refreshed only when it has expired, or was rejected or
  // withdrawn.
  bool background_refresh = true;
  // Whether a timer starts the background refresh of a stale token, so that no
  // read is needed for it. Once a token has been published, the timer also
  // starts every later attempt that is due and permitted. Requires
  // `background_refresh`.
  bool refresh_ahead = false;
  // How long no background refresh starts after one has failed. The token's
  // expiry ends this time early. >= 0. If unset, this is 60 s, but at most a
  // quarter of the time for which the token is still usable, and at least
  // `min_interval`.
  std::optional<absl::Duration> background_cooldown;
  // The minimum time between the starts of two attempts, and from the end of an
  // attempt that counts as a failure (`Event::failures`) to the start of the
  // next one. The first attempt to replace an invalidated token, and the first
  // one after `Install` or in the child of a fork(), are exempt from the time
  // between starts. Finite; >= 0.
  absl::Duration min_interval = absl::Seconds(1);
  // An attempt that runs for longer than this is abandoned and fails. An
  // attempt that the executor has not started within this time also ends, but
  // does not count as a failure. > 0.
  absl::Duration attempt_timeout = absl::Seconds(30);
  // The limit on abandoned calls of the source that have not been answered.
  // Once there are this many, an attempt fails without calling the source,
  // unless enough time has passed since the last call: first
  // `retry.probe_interval`, and after each further call twice as long as
  // before. When any call is answered, this time is `retry.probe_interval`
  // again. >= 1.
  int max_abandoned_calls = 2;
  // If a token is invalidated within this time of its publication, or within
  // half its lifetime if that is shorter, that counts as a failure, and the
  // failures that its publication had cleared count again. A token that
  // `Install` published is exempt. >= 0.
  absl::Duration young_token_age = absl::Seconds(30);
  // The longest wait between two attempts that rejections start
  // (`ReadOptions::rejected`). These waits grow as the computed waits of
  // RetryPolicy do. If unset, this is `retry.max_backoff`. Finite and at least
  // `retry.initial_backoff`.
  std::optional<absl::Duration> max_rejection_backoff;
  // While refreshes fail, an expired token is served for at most this long
  // after its expiry, with leases that are marked (`Lease::degraded`). If zero,
  // no expired token is served. Finite; >= 0.
  absl::Duration max_stale_on_error = absl::ZeroDuration();
  // The fraction, in [0, 1), by which times vary at random, to spread the load
  // of many clients. A token is stale earlier by up to this fraction of its
  // lifetime, but not before a quarter of its lifetime. Computed waits are
  // longer or shorter by up to this fraction, but never longer than the longest
  // wait that the policy sets. Waits before probes are only shortened; waits
  // that a server asked for are only lengthened. If zero, everything happens
  // exactly on time.
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
// value. `Refreshable::Create` calls this.
absl::Status Validate(const RefreshPolicy& policy);

}  // namespace refreshable

#endif  // REFRESHABLE_POLICY_H_
