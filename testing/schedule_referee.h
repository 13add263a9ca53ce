// SPDX-License-Identifier: Apache-2.0
//
// Referee: what must hold for a Refreshable whatever happens, stated anew from
// docs/contract.md. For the schedule explorer only.

#ifndef REFRESHABLE_TESTING_SCHEDULE_REFEREE_H_
#define REFRESHABLE_TESTING_SCHEDULE_REFEREE_H_

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

// Keeps its own account of tokens, failures and permitted starts, from what was
// done to the Refreshable and from the events that it sent, and complains if
// the Refreshable behaves differently. It only watches: its methods change
// nothing but that account. Thread-compatible.
class Referee final : public refreshable::Observer {
 public:
  // `clock` must outlive it. Requires: policy.jitter == 0.
  Referee(const refreshable::RefreshPolicy& policy,
          const refreshable::Clock* clock)
      : policy_(policy), clock_(clock) {}

  // ---- What is done to the Refreshable ----

  // `token` is about to be offered by the source, in answer to a call that
  // began at `start`, or, if `start` is not set, by Install.
  void Offer(const std::string& token, absl::Duration lifetime,
             std::optional<refreshable::Instant> start);
  // Invalidate is about to be called. `in_flight`: whether a refresh is.
  void BeforeInvalidate(bool in_flight);
  void BeforeWallStep();
  void OnReset();
  // The source was called.
  void OnFetch();
  void OnEvent(const refreshable::Event& event) override;

  // ---- What the Refreshable returns and reports ----

  // `late`: whether a timer is due and has not run, so that a read that looks
  // only at the wall clock may be behind.
  void OnLease(const refreshable::Lease<std::string>& lease, bool late);
  void CheckHealth(const refreshable::Health& health);
  void CheckStats(const refreshable::Stats& stats);

  void Complain(absl::string_view what);
  // The first complaint; empty if there is none.
  const std::string& complaint() const { return complaint_; }

  // ---- What is known ----

  // Whether the token last published may be handed out as usable.
  bool Usable() const;
  // Whether it is usable or served degraded.
  bool Servable() const;
  refreshable::Freshness Fresh() const;
  // Whether an attempt may start now. If the token is usable, whether a
  // background attempt may.
  bool Permitted() const;
  // Rises with each publication and each withdrawal. The answer to a call that
  // began in an earlier epoch is discarded.
  int epoch() const { return epoch_; }
  refreshable::Generation generation() const { return generation_; }
  // The token that was withdrawn and has not been replaced; empty if there is
  // none.
  const std::string& rejected() const { return rejected_; }
  // Whether a source that returns `token` has failed (F5).
  bool Refuses(const std::string& token) const {
    return token == rejected_ && !rejected_let_go_;
  }
  int failures() const { return failures_; }
  // Whether there were too many failures in a row and no token is usable.
  bool Exhausted() const {
    return failures_ - excused_ >= policy_.retry.max_consecutive_failures &&
           !Usable();
  }
  int Count(refreshable::EventKind kind) const;
  bool fatal() const { return Exhausted() && Fatal(); }

  // Appends everything known here that future behaviour depends on.
  void AppendTo(std::string& fingerprint) const;

 private:
  struct Moment {
    absl::Time wall = absl::InfiniteFuture();
    absl::Duration since_boot = absl::InfiniteDuration();
  };

  refreshable::Instant Now() const { return clock_->Now(); }
  static bool Reached(const Moment& moment, const refreshable::Instant& now) {
    return now.wall >= moment.wall || now.since_boot >= moment.since_boot;
  }
  bool Fatal() const {
    return policy_.retry.on_exhausted == refreshable::OnExhausted::kFatal;
  }
  absl::Duration Backoff() const;
  absl::Duration Cooldown() const;
  absl::Duration AfterInterval() const;
  bool MayStart(bool after_cooldown = false) const;
  void SetFloor();
  void Started();
  void Failed(const absl::Status& status);
  void BackoffAnnounced(absl::Duration until);
  void Published(refreshable::Generation generation);
  void Invalidated();

  const refreshable::RefreshPolicy policy_;
  const refreshable::Clock* const clock_;
  std::string complaint_;
  std::map<refreshable::EventKind, int> counts_;

  // The token.
  std::string offered_;
  absl::Duration offered_for_;
  bool offered_by_source_ = false;
  std::string token_;  // Empty if there is none or it was withdrawn.
  std::string rejected_;
  bool rejected_let_go_ = false;
  refreshable::Generation generation_;
  int epoch_ = 0;
  Moment stale_at_;
  Moment usable_until_;
  Moment expiry_;
  absl::Duration young_until_ = -absl::InfiniteDuration();

  // The schedule, since boot.
  bool running_ = false;
  bool abandoned_now_ = false;
  bool in_flight_ = false;  // Whether a refresh was when Invalidate was called.
  bool exempt_ = false;     // Exempt from the minimum interval.
  // The next attempt replaces one that was running, and may start at once.
  bool replacing_ = false;
  int failures_ = 0;
  int failures_before_ = 0;  // `failures_` before the last publication.
  int excused_ = 0;          // Those that do not count towards exhaustion.
  int excused_before_ = 0;
  absl::Duration last_start_ = -absl::InfiniteDuration();
  absl::Duration last_end_ = -absl::InfiniteDuration();
  std::optional<absl::Duration> asked_until_;  // The end of a Retry-After.
  absl::Duration floor_ = -absl::InfiniteDuration();
  absl::Duration cooldown_ = -absl::InfiniteDuration();
  bool cooldown_over_ = false;  // The token has expired since it began.
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_REFEREE_H_
