// SPDX-License-Identifier: Apache-2.0
//
// ReferenceModel: the reference model of RefreshMachine. It computes in whole
// milliseconds what docs/contract.md says about a machine. It is written from
// that document alone, so that it does not repeat the machine's mistakes.

#ifndef REFRESHABLE_MACHINE_REFERENCE_MODEL_TEST_UTIL_H_
#define REFRESHABLE_MACHINE_REFERENCE_MODEL_TEST_UTIL_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/freshness.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

// A duration, or the time since the machine was made, in milliseconds. kNever
// stands for infinity. A few such values can be added without overflow.
using Ms = int64_t;
inline constexpr Ms kNever = std::numeric_limits<Ms>::max() / 8;
inline constexpr Ms kLongAgo = -kNever;

// Rounds towards zero. Infinite durations become kNever or kLongAgo.
Ms ToMs(absl::Duration duration);
// kNever becomes the infinite duration.
absl::Duration FromMs(Ms ms);

// A policy without jitter, in milliseconds.
struct ModelPolicy {
  explicit ModelPolicy(const RefreshPolicy& p);

  // B1: the wait after the n-th failure in a row.
  Ms Wait(int n) const { return Wait(n, max_backoff); }
  // A13: the wait after the n-th attempt of the row.
  Ms RowWait(int n) const { return Wait(n, max_rejection_backoff); }

  RefreshPolicy policy;
  // The fields of `policy` in milliseconds. `grace` is `max_stale_on_error`.
  Ms margin, max_window, min_interval, timeout, young, grace;
  std::optional<Ms> window, cooldown;
  Ms initial_backoff, max_backoff, probe_interval, max_retry_after;
  Ms max_rejection_backoff;

 private:
  Ms Wait(int n, Ms max) const;
};

// What has been observed of a machine so far, and what follows from that by
// docs/contract.md.
struct ReferenceModel {
  struct Call {
    AttemptId id = AttemptId::kNone;
    Ms started = 0;
    // Whether the answer may publish a token. Becomes false when another token
    // is published. Also becomes false when the present token is invalidated,
    // unless the attempt goes on by A2.
    bool current = true;
    // The rejected generation that the call was told of, or 0.
    uint64_t told_rejected = 0;
    bool in_row = false;  // Whether a rejection started the attempt.
  };
  enum Flight { kNone, kWaiting, kQueued, kRunning };

  // The greater of the token's ages by the two clocks (R6).
  Ms Age() const;
  // F4: the ages at which the token stops being usable, and stops being fresh.
  Ms UsableFor() const;
  Ms FreshFor() const;
  bool Held() const { return generation > 0 && !withdrawn; }
  bool Usable() const { return Held() && Age() < UsableFor(); }
  bool Stale() const { return Usable() && Age() >= FreshFor(); }
  Freshness State() const;
  // A5: whether an invalidation of the token would count as a failure.
  bool Young() const;
  // B10: whether the token may be served as degraded if it is not usable.
  bool Grace() const;
  // R12: the time from which the token can never be served, whatever the wall
  // clock does.
  Ms LetGoAt() const;
  bool LetGoDue() const { return Held() && !let_go && t >= LetGoAt(); }
  // B7: whether refreshing is exhausted, and whether that is fatal.
  bool Exhausted() const;
  bool Fatal() const;
  // B3: the cooldown that would begin if a background attempt failed now.
  Ms Cooldown() const;
  // F4, B1, B2, B7, A10: when the next attempt may start.
  Ms NotBefore() const;
  // F6: whether the source may be called.
  bool MayCall() const;
  // A7: whether the present token is withheld from a read that rejects
  // `generation`.
  bool Covers(uint64_t generation) const;
  // A13: whether the present token was rejected or invalidated.
  bool CurrentRejected() const { return Covers(noted); }
  // A9: when a rejection may start an attempt.
  Ms RejectedNotBefore() const;
  // A13: if the token has become stale and was never rejected or invalidated,
  // sets `row` and `noted` to 0. In every case, calls PromoteIfUnservable.
  void PassTime();
  // A10: makes the flight a foreground flight if the token can no longer be
  // served, and a rejecting read has waited for the flight.
  void PromoteIfUnservable();
  // F7: whether a timer would start a flight now if no flight were in progress.
  bool AheadPermitted() const;
  // Whether OnWake would now submit or end an attempt.
  bool Overdue() const;
  // R2: the moment before which an ordinary read returns what is published and
  // changes nothing. `boot` and `wall` count from what their clocks showed when
  // the machine was made.
  struct Check {
    Ms boot;
    Ms wall;
  };
  Check CheckAt() const;
  // When a timer must wake the machine; kNever if never.
  Ms WakeAt() const;
  // Two models of the same rules with equal fingerprints have the same future,
  // if no input sets the wall clock back by more than 20 s.
  std::string Fingerprint() const;

  const ModelPolicy* rules = nullptr;
  Ms t = 0;
  Ms wall_step = 0;  // The sum of all steps of the wall clock.

  // Except `noted`, the members from `generation` to `issued_life` describe the
  // token that was published last.
  uint64_t generation = 0;
  // `born` is when the token was published or last extended (A11).
  // `born_wall_step` and `life` are `wall_step` and the token's life at that
  // time.
  Ms born = 0;
  Ms born_wall_step = 0;
  Ms life = 0;
  // The source's hint of when to replace the token, counted from `born`; kNever
  // if there is none.
  Ms hint = kNever;
  bool from_source = false;
  bool withdrawn = false;
  bool degraded = false;  // The token was published again as degraded.
  bool let_go = false;    // R12: the token was released.
  // The values of `failures` and `excused` before the token was published.
  int failures_before = 0;
  int excused_before = 0;
  uint64_t invalidated = 0;  // The generation that was invalidated, or 0.
  // The generation since which all published tokens have had the same bytes.
  uint64_t same_since = 0;
  uint64_t noted = 0;  // The last generation rejected or invalidated, or 0.
  // When the generation was published, and the token's life then. An extension
  // (A11) changes neither.
  Ms issued = 0;
  Ms issued_life = 0;

  // A13: the length of the row, the sequence of attempts that rejections
  // started.
  int row = 0;
  // A10 does not count the failures of attempts that rejections started.
  // `row_asked_until` is the end of the wait that a server asked for with such
  // a failure. `row_cause` is the cause of the latest such failure.
  Ms row_asked_until = kLongAgo;
  absl::StatusCode row_cause = absl::StatusCode::kOk;

  Flight flight = kNone;
  bool foreground = false;
  // A rejection started the flight, and the flight is still in the background.
  bool by_rejection = false;
  // Whether a read that rejected the token has waited for the flight.
  bool rejecting_read_waits = false;
  // The present generation, if a read rejected it while an attempt was queued;
  // otherwise 0. That attempt and the flight's later ones are told of that
  // generation.
  uint64_t told_rejected = 0;
  int budget = 0;  // How many retries the flight may make in the foreground.
  int failed = 0;  // How many attempts of the flight failed.
  Ms due = kNever;
  AttemptId queued = AttemptId::kNone;
  Ms submitted = 0;  // When the queued attempt was submitted.
  AttemptId last_submitted = AttemptId::kNone;
  std::optional<Call> running;
  absl::InlinedVector<Call, 2> abandoned;
  // F6: how many calls in a row were made beyond `max_abandoned_calls`.
  int beyond = 0;
  Ms last_call = kLongAgo;

  int failures = 0;
  // B7: how many of `failures` do not count towards exhaustion.
  int excused = 0;
  absl::StatusCode cause = absl::StatusCode::kOk;
  Ms last_start = kLongAgo;
  Ms previous_start = kLongAgo;  // The start of the attempt before the last.
  Ms last_end = kLongAgo;
  Ms backoff_until = kLongAgo;
  // B2: the end of the wait that a server asked for, which replaces
  // `backoff_until`.
  std::optional<Ms> asked_until;
  Ms cooldown_until = kLongAgo;
  Ms lost_until = kLongAgo;  // E2: until then no timer starts a flight.
  // F4: whether the next attempt is exempt from the minimum interval.
  bool exempt = false;

  // B9: the time of the next attempt by each clock, as ordinary reads were last
  // told.
  Ms told_next = kNever;
  Ms told_next_wall = kNever;
  // S1: what observers were last told.
  Freshness told_state = Freshness::kExpired;
  bool told_exhausted = false;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_REFERENCE_MODEL_TEST_UTIL_H_
