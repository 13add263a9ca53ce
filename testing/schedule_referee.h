// SPDX-License-Identifier: Apache-2.0
//
// ScheduleReferee: what must hold of a Refreshable whatever happens, said
// anew from docs/contract.md. The schedule explorer's; not for other use.

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
// done to the Refreshable and from the events it told, and complains where the
// Refreshable does otherwise. Takes no part: no call of it changes anything but
// that account. Thread-compatible.
class Referee final : public refreshable::Observer {
 public:
  // `clock` must outlive it. Requires: policy.jitter == 0.
  Referee(const refreshable::RefreshPolicy& policy,
          const refreshable::Clock* clock)
      : policy_(policy), clock_(clock) {}

  // ---- What is done to the Refreshable ----

  // `token` is about to be offered: by the source, in answer to a call that
  // began at `start`, or by Install, now.
  void Offer(const std::string& token, absl::Duration lifetime,
             std::optional<refreshable::Instant> start);
  // Invalidate is about to be called, while a refresh is in flight or not.
  void BeforeInvalidate(bool in_flight);
  void BeforeWallStep();
  void OnReset();
  // The source was called.
  void OnFetch();
  void OnEvent(const refreshable::Event& event) override;

  // ---- What it hands out and says of itself ----

  // `late`: a timer is due and has not run, so that a read which looks at the
  // wall clock alone may be behind.
  void OnLease(const refreshable::Lease<std::string>& lease, bool late);
  void CheckHealth(const refreshable::Health& health);
  void CheckStats(const refreshable::Stats& stats);

  void Complain(absl::string_view what);
  // The first complaint; empty: none.
  const std::string& complaint() const { return complaint_; }

  // ---- What is known ----

  // The token last published may be handed out.
  bool Usable() const;
  // It is, or is served degraded.
  bool Servable() const;
  refreshable::Freshness Fresh() const;
  // Whether an attempt may start now; with a usable token: one in the
  // background.
  bool Permitted() const;
  // Rises with each publication and each withdrawal: what a call brings that
  // began under another epoch is of no use.
  int epoch() const { return epoch_; }
  refreshable::Generation generation() const { return generation_; }
  // The token that was withdrawn and not replaced since; empty: none.
  const std::string& rejected() const { return rejected_; }
  // F5: a source that brings this has failed.
  bool Refuses(const std::string& token) const {
    return token == rejected_ && !rejected_let_go_;
  }
  int failures() const { return failures_; }
  // Refreshing has given up: no attempt, or single ones from time to time.
  bool Exhausted() const {
    return failures_ - excused_ >= policy_.retry.max_consecutive_failures &&
           !Usable();
  }
  int Count(refreshable::EventKind kind) const;
  bool fatal() const { return Exhausted() && Fatal(); }

  // All of the above that the future depends on.
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
  std::string token_;  // Empty: none, or withdrawn.
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
  bool in_flight_ = false;  // When Invalidate was called.
  bool exempt_ = false;     // From the minimum interval.
  bool replacing_ = false;  // An attempt that was under way: at once.
  int failures_ = 0;
  int failures_before_ = 0;  // The last publication.
  int excused_ = 0;          // Of the failures, what does not exhaust.
  int excused_before_ = 0;
  absl::Duration last_start_ = -absl::InfiniteDuration();
  absl::Duration last_end_ = -absl::InfiniteDuration();
  std::optional<absl::Duration> asked_until_;  // By the server.
  absl::Duration floor_ = -absl::InfiniteDuration();
  absl::Duration cooldown_ = -absl::InfiniteDuration();
  bool cooldown_over_ = false;  // The token has expired meanwhile.
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_REFEREE_H_
