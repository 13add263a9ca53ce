// SPDX-License-Identifier: Apache-2.0
//
// RetrySchedule: computes when the next attempt may start.

#ifndef REFRESHABLE_MACHINE_RETRY_SCHEDULE_H_
#define REFRESHABLE_MACHINE_RETRY_SCHEDULE_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/internal/copied_ptr.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

// Returns the wait after `failures` failures in a row: min(initial_backoff *
// multiplier^(failures-1), max), varied by the policy's jitter.
absl::Duration Backoff(const RefreshPolicy& policy, int failures,
                       absl::Duration max, Jitter& jitter);

// The failures in a row, and the waits before the next attempt: the minimum
// interval between attempts, the backoff, a Retry-After, the probe interval
// after too many failures, and the cooldown of background attempts. All calls
// must pass the same policy.
class RetrySchedule {
 public:
  // ---- Inputs ----

  // Called when an attempt starts. Returns the start of the previous attempt;
  // the infinite past if there was none.
  BootTime OnStart(BootTime now);

  // Counts the failure of the attempt that started last. `retry_after` is the
  // wait that the server asked for; nullopt if none.
  void OnFailure(const RefreshPolicy& policy, BootTime now,
                 const absl::Status& cause,
                 std::optional<absl::Duration> retry_after, Jitter& jitter);

  // Called when an attempt made because of a rejection has failed. The failure
  // does not count, but `retry_after` delays every attempt. Returns that delay;
  // nullopt if there is none.
  std::optional<absl::Duration> OnRejectionFailure(
      const RefreshPolicy& policy, BootTime now,
      std::optional<absl::Duration> retry_after, Jitter& jitter);

  // Begins the cooldown after a failed background attempt. The token that is
  // held remains usable for `usable_for`.
  void BeginCooldown(const RefreshPolicy& policy, BootTime now,
                     absl::Duration usable_for);

  // Called when a token is about to be published, before OnAnswer. Remembers
  // the failures, which count again if the token is invalidated while young.
  void OnPublish();

  // Called when a token has come, from the source or by `Install`. Clears the
  // failures and the waits after them.
  void OnAnswer();

  // Called when a token was installed. Exempts the next attempt from the
  // minimum interval.
  void OnInstall() { interval_exempt_ = true; }

  // Called when the token was invalidated. If the token was `young`, the
  // invalidation counts as a failure, and the failures before the token's
  // publication count again. `attempt_kept` says whether a running attempt goes
  // on. If not, the next attempt is exempt from the minimum interval.
  void OnInvalidate(const RefreshPolicy& policy, bool young, bool attempt_kept,
                    Jitter& jitter);

  // Forgets the failures and the waits after them.
  void OnReset();

  // Called in the child of a fork(). Exempts the next attempt from the minimum
  // interval. A running attempt belongs to the parent and counts as not
  // started: `previous_start` is the start of the attempt before it. If no
  // attempt is running, `previous_start` must be nullopt.
  void OnFork(std::optional<BootTime> previous_start);

  // Draws the backoff and the wait before a probe anew, if `failures()` > 0.
  void DrawAgain(const RefreshPolicy& policy, Jitter& jitter);

  // ---- What is known between inputs ----

  // The number of failures in a row.
  int failures() const { return since_ != nullptr ? since_->failures : 0; }

  // The cause of the latest of the `failures()`; OK if there is none.
  absl::Status last_cause() const {
    return since_ != nullptr ? since_->last_cause : absl::OkStatus();
  }

  // Whether the failures in a row have reached `max_consecutive_failures`.
  // A failure is *excused*, and does not count here, if the server shortened
  // the wait after it.
  bool Exhausted(const RefreshPolicy& policy) const {
    return since_ != nullptr && since_->failures - since_->excused >=
                                    policy.retry.max_consecutive_failures;
  }

  // When the next attempt may start; the infinite future if never. `usable` is
  // whether a usable token is held.
  BootTime NextStart(const RefreshPolicy& policy, bool usable) const;

  // Whether a wait that OnRejectionFailure began still delays attempts.
  bool DelayedByRejection(BootTime now) const {
    return since_ != nullptr && now < since_->rejection_retry_after;
  }

  // While the token is usable, no background attempt starts before this time.
  // Attempts made because of a rejection are exempt.
  BootTime cooldown_until() const {
    return since_ != nullptr ? since_->cooldown_until
                             : BootTime::InfinitePast();
  }

  // When the last attempt of any kind started.
  BootTime last_start() const { return last_start_; }

 private:
  // What has happened since a token last came or OnReset was called.
  struct Since {
    int failures = 0;
    absl::Status last_cause;
    // How many of `failures` are excused (see Exhausted).
    int excused = 0;
    BootTime backoff_until = BootTime::InfinitePast();
    // How long after the start of the last attempt a probe may start.
    absl::Duration probe_wait;
    // If set, replaces `backoff_until`, because the server asked for a wait.
    std::optional<BootTime> retry_after_until;
    // The end of the latest wait that OnRejectionFailure began.
    BootTime rejection_retry_after = BootTime::InfinitePast();
    BootTime cooldown_until = BootTime::InfinitePast();
  };

  Since& since();
  void DrawWaits(const RefreshPolicy& policy, Jitter& jitter);

  CopiedPtr<Since> since_;  // Null if there is nothing to record.
  // The values of `failures` and `excused` before the last publication.
  int failures_before_ = 0;
  int excused_before_ = 0;
  BootTime last_start_ = BootTime::InfinitePast();
  // When OnFailure was last called.
  BootTime last_end_ = BootTime::InfinitePast();
  // Whether the next attempt is exempt from the minimum interval.
  bool interval_exempt_ = false;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_RETRY_SCHEDULE_H_
