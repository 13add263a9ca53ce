// SPDX-License-Identifier: Apache-2.0
//
// Health and Stats: snapshots of a Refreshable.

#ifndef REFRESHABLE_HEALTH_H_
#define REFRESHABLE_HEALTH_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <cstdint>
#include <ostream>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// How a Refreshable is, at one moment. A value.
struct Health {
  Freshness freshness = Freshness::kExpired;
  Generation generation;  // The last published; 0: none yet.
  // Of that token, wall time; infinite future if it never expires or there is
  // none yet.
  absl::Time expires_at = absl::InfiniteFuture();
  bool rejected = false;    // A server rejected that token.
  bool refreshing = false;  // A refresh is in flight.
  int failures = 0;         // Failed attempts in a row.
  absl::Status last_cause;  // Of those; OK after a success.
  bool exhausted = false;   // Too many of them, and no usable token.
  bool fatal = false;       // Nothing is attempted until Reset or Install.
  // None starts before. Wall time as of the snapshot; infinite future if fatal.
  absl::Time next_attempt;
  int64_t waiters = 0;  // Reads that wait.
};

// One line, "fresh, generation 3, expires 2026-01-01T00:00:00+00:00, ...".
std::ostream& operator<<(std::ostream& os, const Health& health);
template <typename Sink>
void AbslStringify(Sink& sink, const Health& health) {
  sink.Append(internal::Streamed(health));
}

// Counts since the Refreshable was created. A value.
struct Stats {
  int64_t attempts_started = 0;
  int64_t attempts_failed = 0;
  int64_t attempts_abandoned = 0;  // One that timed out has failed too.
  int64_t attempts_discarded = 0;  // Late answers that changed nothing.
  int64_t tokens_published = 0;
  int64_t tokens_invalidated = 0;
  int64_t tokens_rejected = 0;   // And served on; not the calls rejected.
  int64_t tokens_unchanged = 0;  // Refreshes that brought the rejected token.
};

// One line of name=value.
std::ostream& operator<<(std::ostream& os, const Stats& stats);
template <typename Sink>
void AbslStringify(Sink& sink, const Stats& stats) {
  sink.Append(internal::Streamed(stats));
}

}  // namespace refreshable

#endif  // REFRESHABLE_HEALTH_H_
