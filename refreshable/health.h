// SPDX-License-Identifier: Apache-2.0
//
// Health and Stats: the state and the counters of a Refreshable at one moment.

#ifndef REFRESHABLE_HEALTH_H_
#define REFRESHABLE_HEALTH_H_

#include <cstdint>
#include <ostream>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// A value type.
struct Health {
  Freshness freshness = Freshness::kExpired;
  // The generation last published; 0 if there is none yet.
  Generation generation;
  // When the token last published expires, in wall time; the infinite future if
  // never or if no token has been published yet.
  absl::Time expires_at = absl::InfiniteFuture();
  // Whether the token last published was rejected by a server or invalidated.
  // `Reset` makes this false.
  bool rejected = false;
  bool refreshing = false;  // Whether a refresh is in flight.
  int failures = 0;         // Failures in a row, as in `Event::failures`.
  // The status of the last failure; OK if `failures` is 0.
  absl::Status last_cause;
  // Whether there were too many failures in a row and no token is usable
  // (`OnExhausted`).
  bool exhausted = false;
  bool fatal = false;  // Whether refreshing gave up (`OnExhausted::kFatal`).
  // The wall time from which an attempt may start; the infinite future if
  // `fatal`. Never earlier than the call of `health()`. A background refresh,
  // or an attempt for a rejecting read (`Refreshable::ReadOptions::rejected`),
  // may have to wait longer.
  absl::Time next_attempt;
  // The number of reads that wait for a refresh, or for their callback to run.
  int64_t waiters = 0;
};

// Writes one line: "fresh, generation 3, expires 2026-01-01T00:00:00+00:00",
// then what else applies.
std::ostream& operator<<(std::ostream& os, const Health& health);
template <typename Sink>
void AbslStringify(Sink& sink, const Health& health) {
  sink.Append(internal::Streamed(health));
}

// Numbers of events since the Refreshable was created. A value type.
struct Stats {
  int64_t attempts_started = 0;
  int64_t attempts_failed = 0;
  // An attempt that timed out is counted here and in `attempts_failed`.
  int64_t attempts_abandoned = 0;
  // Abandoned attempts whose answers arrived and were not used.
  int64_t attempts_discarded = 0;
  int64_t tokens_published = 0;
  int64_t tokens_invalidated = 0;
  int64_t tokens_rejected = 0;
  int64_t tokens_unchanged = 0;
};

// Writes all fields as name=value, on one line.
std::ostream& operator<<(std::ostream& os, const Stats& stats);
template <typename Sink>
void AbslStringify(Sink& sink, const Stats& stats) {
  sink.Append(internal::Streamed(stats));
}

}  // namespace refreshable

#endif  // REFRESHABLE_HEALTH_H_
