// SPDX-License-Identifier: Apache-2.0
//
// Oracle: what docs/contract.md promises of a Refreshable. For the schedule
// explorer only.

#ifndef REFRESHABLE_TESTING_EXPLORER_ORACLE_H_
#define REFRESHABLE_TESTING_EXPLORER_ORACLE_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/observer.h"
#include "refreshable/policy.h"

namespace refreshable_testing {
namespace schedule {

// A second implementation of the promises in docs/contract.md, independent of
// the library's code. The oracle derives its own record of tokens, failures and
// permitted starts from the calls and events of the Refreshable. The oracle
// fails if the Refreshable does not agree with this record. Thread-compatible.
class Oracle final : public refreshable::Observer {
 public:
  // Requires: policy.jitter == 0. `clock` must outlive the oracle.
  Oracle(const refreshable::RefreshPolicy& policy,
         const refreshable::Clock* clock)
      : policy_(policy), clock_(clock) {}

  // ---- What is done to the Refreshable ----

  // Must be called before `token` is given to the Refreshable. If `start` is
  // set, the source returns the token for a call that began at `start`.
  // Otherwise the token is passed to Install. An empty `token` ends the
  // previous offer.
  void Offer(const std::string& token, absl::Duration lifetime,
             std::optional<refreshable::Instant> start);
  // Must be called before a read and before ReportRejected.
  void BeforeRead() { PassTime(); }
  // Must be called before Invalidate. `in_flight` is true if a refresh is in
  // flight. `serves` is true if the running attempt goes on in spite of
  // Invalidate (A2). Such an attempt was told that a server rejected the token.
  void BeforeInvalidate(bool in_flight, bool serves);
  void BeforeWallStep();
  void AfterWallStep();
  void OnReset();
  // Whether a rejecting read started an attempt. kUnclear means that this is
  // not visible from outside.
  enum class ByRejection { kNo, kYes, kUnclear };
  // Must be called when an attempt is given to the executor, and again if `by`
  // becomes known later.
  void OnSubmit(ByRejection by) { queued_by_ = by; }
  void OnFetch();
  void OnEvent(const refreshable::Event& event) override;

  // ---- What the Refreshable returns and reports ----

  // Checks a lease that the Refreshable has handed out. If a timer may be late
  // (`World::Late`), a token that has expired by BootTime is accepted.
  void OnLease(const refreshable::Lease<std::string>& lease, bool late);
  void CheckHealth(const refreshable::Health& health);
  void CheckStats(const refreshable::Stats& stats);

  void Fail(absl::string_view what);
  // Returns the first failure, or an empty string.
  const std::string& failure() const { return failure_; }

  // ---- What is known ----

  // Returns whether the token published last was not withdrawn and has not
  // reached its `usable_until` (F4).
  bool Usable() const;
  // Returns whether the token published last is usable, or may be served
  // although it has expired (B10).
  bool Servable() const;
  refreshable::Freshness Fresh() const;
  // Returns whether a read that is not a rejecting read (A7) may start an
  // attempt now.
  bool Permitted() const;
  // A7, A11: returns whether the token published last has the same bytes as the
  // token of `generation`.
  bool Covers(refreshable::Generation generation) const {
    return generation.value() > 0 && same_since_ <= generation &&
           generation <= generation_;
  }
  // A7: returns whether a read with `rejected = generation` that begins now is
  // a rejecting read.
  bool Rejects(refreshable::Generation generation) const {
    return Covers(generation) && Servable();
  }
  // A9: returns whether a rejecting read may start an attempt now, or nullopt
  // if that is not visible from outside.
  std::optional<bool> RejectionPermitted() const;
  // A13: returns whether the token published last counts as rejected.
  bool noted() const { return noted_; }
  // A10: returns whether every attempt is still forbidden by the Retry-After of
  // an attempt that a rejection started.
  bool AskedToWait() const { return Now().boot < row_asked_until_; }
  // Returns whether a rejecting read started the running attempt or, if none is
  // running, the attempt that has just failed.
  ByRejection running_by() const { return running_by_; }
  // The epoch increases with each publication and each withdrawal. If the
  // source was called in an earlier epoch, its answer is discarded, unless A2
  // lets the call go on.
  int epoch() const { return epoch_; }
  refreshable::Generation generation() const { return generation_; }
  // Returns the token published last, or "" if there is none or it was
  // withdrawn.
  const std::string& token() const { return token_; }
  // R12: returns whether the Refreshable may have released the token published
  // last. It would then not recognize that token again.
  bool LetGo() const;
  // Returns the withdrawn token, or "" if there is none or another token has
  // been published since.
  const std::string& invalidated() const { return invalidated_; }
  // F5: returns whether an attempt that brings `token` fails, because the
  // Refreshable remembers that `token` was withdrawn.
  bool Refuses(const std::string& token) const {
    return token == invalidated_ && !invalidated_let_go_ &&
           !invalidated_forgotten_;
  }
  // A3: returns whether attempts are told that the token was withdrawn.
  bool TellsRejected() const {
    return !invalidated_.empty() && !invalidated_forgotten_;
  }
  int failures() const { return failures_; }
  // B7: returns true if there have been too many failures in a row and no token
  // is usable.
  bool Exhausted() const {
    return failures_ - excused_ >= policy_.retry.max_consecutive_failures &&
           !Usable();
  }
  int Count(refreshable::EventKind kind) const;
  bool fatal() const { return Exhausted() && Fatal(); }

  // Appends everything in the record that affects later checks.
  void AppendTo(std::string& fingerprint) const;

 private:
  // A moment on each clock. The deadline is reached when either clock has
  // reached its moment (R6).
  struct DualDeadline {
    absl::Time wall = absl::InfiniteFuture();
    refreshable::BootTime boot = refreshable::BootTime::InfiniteFuture();
  };

  refreshable::Instant Now() const { return clock_->Now(); }
  static bool Reached(const DualDeadline& moment,
                      const refreshable::Instant& now) {
    return now.wall >= moment.wall || now.boot >= moment.boot;
  }
  bool Fatal() const {
    return policy_.retry.on_exhausted == refreshable::OnExhausted::kFatal;
  }
  absl::Duration Backoff() const;
  absl::Duration Cooldown() const;
  refreshable::BootTime AfterInterval() const;
  // Returns whether F4, B1 to B3, B7 and A10 permit an attempt now. If
  // `after_cooldown` is true, ignores B3's cooldown.
  bool MayStart(bool after_cooldown = false) const;
  bool Probes() const;
  void SetFloor();
  void PassTime();
  absl::Duration Wait(int n, absl::Duration max) const;
  refreshable::BootTime RowFloor() const;
  void Started();
  void AttemptFailed(const refreshable::Event& event, bool was_running);
  void Failed(const absl::Status& status);
  void FailedByRejection(const absl::Status& status);
  void BackoffAnnounced(refreshable::BootTime until);
  void SetEdges();
  void Answered();
  void Published(refreshable::Generation generation);
  void Unchanged();
  void Invalidated();

  const refreshable::RefreshPolicy policy_;
  const refreshable::Clock* const clock_;
  std::string failure_;
  std::map<refreshable::EventKind, int> counts_;

  // What is known about the token.
  std::string offered_;
  absl::Duration offered_for_;
  bool offered_by_source_ = false;
  std::string token_;
  std::string invalidated_;
  bool invalidated_let_go_ = false;
  bool invalidated_forgotten_ = false;  // Reset has forgotten `invalidated_`.
  refreshable::Generation generation_;
  // The tokens from this generation to `generation_` have the same bytes.
  refreshable::Generation same_since_;
  int epoch_ = 0;
  DualDeadline stale_at_;
  DualDeadline usable_until_;
  DualDeadline expiry_;
  refreshable::BootTime young_until_ = refreshable::BootTime::InfinitePast();

  // What is known about the attempts and their schedule.
  bool running_ = false;
  bool abandoned_now_ = false;
  // Whether a refresh was in flight when Invalidate was called.
  bool in_flight_ = false;
  bool serves_ = false;
  bool exempt_ = false;     // The next start may ignore min_interval.
  bool replacing_ = false;  // The next attempt may start at once (A2).
  int failures_ = 0;
  int failures_before_ = 0;  // `failures_` before the last publication.
  int excused_ = 0;  // The failures that do not count towards exhaustion (B2).
  int excused_before_ = 0;
  refreshable::BootTime last_start_ = refreshable::BootTime::InfinitePast();
  refreshable::BootTime failed_start_ = refreshable::BootTime::InfinitePast();
  refreshable::BootTime last_end_ = refreshable::BootTime::InfinitePast();
  // B2: the end of the Retry-After that replaces the wait of B1, if any.
  std::optional<refreshable::BootTime> asked_until_;
  refreshable::BootTime floor_ = refreshable::BootTime::InfinitePast();
  refreshable::BootTime cooldown_ = refreshable::BootTime::InfinitePast();
  // Whether an attempt may start in spite of the cooldown. Becomes true if the
  // wall clock is stepped while no token is usable. Before the step, the
  // cooldown did not apply (B3), so an attempt may have been submitted. Becomes
  // false when a cooldown begins.
  bool cooldown_over_ = false;

  // Whether a rejecting read started the queued attempt.
  ByRejection queued_by_ = ByRejection::kNo;
  ByRejection running_by_ = ByRejection::kNo;
  bool noted_ = false;
  // The number of attempts in the present row of attempts that rejections
  // started (A13). Meaningful only if `row_known_` is true.
  int row_ = 0;
  bool row_known_ = true;
  // The end of the Retry-After with which an attempt of the row failed.
  refreshable::BootTime row_asked_until_ =
      refreshable::BootTime::InfinitePast();
  // Whether a rejection started the attempt that failed last.
  bool failed_by_rejection_ = false;
  // Whether an event must still announce `row_asked_until_`.
  bool announces_ = false;
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_EXPLORER_ORACLE_H_
