// SPDX-License-Identifier: Apache-2.0
//
// What can be seen of a RefreshMachine from outside, and what the contract says
// about it, in whole milliseconds. Written from docs/contract.md, without the
// machine: ages instead of deadlines, facts instead of phases.

#ifndef REFRESHABLE_REFRESH_MACHINE_FACTS_TEST_UTIL_H_
#define REFRESHABLE_REFRESH_MACHINE_FACTS_TEST_UTIL_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/freshness.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_machine.h"

namespace refreshable {
namespace internal {

// A span, or a moment since the machine was made, in milliseconds.
using Ms = int64_t;
inline constexpr Ms kNever = std::numeric_limits<Ms>::max() / 8;
inline constexpr Ms kLongAgo = -kNever;

// Rounds down; what is infinite becomes kNever or kLongAgo.
Ms ToMs(absl::Duration duration);
// kNever is infinite.
absl::Duration FromMs(Ms ms);

// A policy without jitter, in milliseconds.
struct Rules {
  explicit Rules(const RefreshPolicy& p);

  // B1: after the n-th failure in a row.
  Ms Wait(int n) const { return Wait(n, max_backoff); }
  // A13: after the n-th attempt of a row.
  Ms RowWait(int n) const { return Wait(n, max_rejection_backoff); }

  RefreshPolicy policy;
  Ms margin, max_window, min_interval, timeout, young, grace;
  std::optional<Ms> window, cooldown;
  Ms initial_backoff, max_backoff, probe_interval, max_retry_after;
  Ms max_rejection_backoff;

 private:
  Ms Wait(int n, Ms max) const;
};

// What has been seen so far, and what follows from it.
struct Facts {
  struct Call {
    AttemptId id = AttemptId::kNone;
    Ms started = 0;
    bool current = true;  // Nothing was published or invalidated since.
    uint64_t told = 0;    // Which generation was rejected.
    bool in_row = false;  // A rejection started it.
  };
  enum Flight { kNone, kWaiting, kQueued, kRunning };

  // By the clock that says the token is older (R6).
  Ms Age() const;
  // F4: the age at which it stops being usable, and being fresh.
  Ms UsableFor() const;
  Ms FreshFor() const;
  bool Held() const { return generation > 0 && !withdrawn; }
  bool Usable() const { return Held() && Age() < UsableFor(); }
  bool Stale() const { return Usable() && Age() >= FreshFor(); }
  Freshness State() const;
  // A5.
  bool Young() const;
  // B10: what is not usable is served all the same.
  bool Grace() const;
  // When its life is over for good, whatever the wall clock does.
  Ms LetGoAt() const;
  bool LetGoDue() const { return Held() && !let_go && t >= LetGoAt(); }
  // B7.
  bool Exhausted() const;
  bool Fatal() const;
  // B3: after a failure now. To be compared with whole milliseconds only.
  Ms Cooldown() const;
  // F4, B1, B2, B7: when the next attempt may start.
  Ms NotBefore() const;
  // F6: whether the source may be called.
  bool MayCall() const;
  // A7: a read that rejects this is not served the present token.
  bool Covers(uint64_t generation) const;
  // A13: the present token was rejected.
  bool CurrentRejected() const { return Covers(noted); }
  // A9: when a rejection may start an attempt.
  Ms RejectedNotBefore() const;
  // A10, A13: what the passing of time has brought about when an event comes.
  void PassTime();
  void PromoteIfUnservable();
  // F7: were there no flight, a timer would start one now.
  bool AheadPermitted() const;
  // A timer has something to do now.
  bool Overdue() const;
  // Until when a read gets what is published and changes nothing, since boot
  // and, in milliseconds since boot too, by the wall clock.
  struct Check {
    Ms since_boot;
    Ms wall;
  };
  Check CheckAt() const;
  Ms WakeAt() const;
  // Facts with this in common, relative to now, have one future.
  std::string Fingerprint() const;

  const Rules* rules = nullptr;
  Ms t = 0;
  Ms wall_step = 0;  // How far the wall clock has stepped in all.

  // The token last published.
  uint64_t generation = 0;
  Ms born = 0;
  Ms born_wall_step = 0;
  Ms life = 0;
  bool from_source = false;
  bool withdrawn = false;
  bool degraded = false;  // Published again as such.
  bool let_go = false;    // It can never be served again, and is forgotten.
  int failures_before = 0;
  int excused_before = 0;
  uint64_t rejected = 0;
  uint64_t same_since = 0;  // The first generation with the same bytes.
  uint64_t noted = 0;       // The last one that was rejected.
  Ms issued = 0;            // When it was published first, and its life then.
  Ms issued_life = 0;

  // The row: its attempts, and until when the server asked the last to wait.
  int row = 0;
  Ms row_asked_until = kLongAgo;
  absl::StatusCode row_cause = absl::StatusCode::kOk;

  Flight flight = kNone;
  bool foreground = false;
  bool by_rejection = false;    // A rejection started the flight.
  bool rejected_waits = false;  // A read that rejected the token joined it.
  uint64_t told = 0;            // What the attempt is told was rejected.
  int budget = 0;
  int failed = 0;  // Attempts of this flight.
  Ms due = kNever;
  AttemptId queued = AttemptId::kNone;
  Ms submitted = 0;  // When the queued attempt was.
  AttemptId last_submitted = AttemptId::kNone;
  std::optional<Call> running;
  absl::InlinedVector<Call, 2> abandoned;
  int beyond = 0;  // Calls made though too many were abandoned.
  Ms last_call = kLongAgo;

  int failures = 0;
  int excused = 0;  // B7: of these, what does not count.
  absl::StatusCode cause = absl::StatusCode::kOk;
  Ms last_start = kLongAgo;
  Ms start_before = kLongAgo;  // Of the attempt before the last.
  Ms last_end = kLongAgo;
  Ms backoff_until = kLongAgo;
  std::optional<Ms> asked_until;  // By the server.
  Ms cooldown_until = kLongAgo;
  Ms lost_until = kLongAgo;
  bool exempt = false;  // From the minimum interval.

  // B9: when the next attempt may start, as reads were told last.
  Ms told_next = kNever;
  Ms told_next_wall = kNever;
  Freshness told_state = Freshness::kExpired;
  bool told_exhausted = false;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REFRESH_MACHINE_FACTS_TEST_UTIL_H_
