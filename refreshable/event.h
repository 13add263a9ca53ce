// SPDX-License-Identifier: Apache-2.0
//
// Event: one thing that happened to a Refreshable, as its observer receives it.

#ifndef REFRESHABLE_EVENT_H_
#define REFRESHABLE_EVENT_H_

#include <cstddef>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// Why an attempt is made.
enum class RefreshReason {
  kFirst,     // No token has been held yet.
  kStale,     // The token is stale; it is still being served.
  kExpired,   // The last token is no longer usable.
  kRejected,  // A server rejected the token, or the token was invalidated. The
              // source must bypass its cache.
  kProbe,     // There were too many failures in a row, and no token is usable.
};

constexpr absl::string_view RefreshReasonName(RefreshReason reason) {
  switch (reason) {
    case RefreshReason::kFirst:
      return "first";
    case RefreshReason::kStale:
      return "stale";
    case RefreshReason::kExpired:
      return "expired";
    case RefreshReason::kRejected:
      return "rejected";
    case RefreshReason::kProbe:
      return "probe";
  }
  return "unknown";
}

enum class EventKind {
  kAttemptStarted,  // The source is about to be called.
  // An attempt failed; `status` is the cause. If no kAttemptStarted announced
  // the attempt, the source was not called: too many earlier calls have not
  // been answered.
  kAttemptFailed,
  // Nobody waits for an attempt any longer:
  // - The attempt timed out. kAttemptFailed follows.
  // - The source was being called, and the attempt was superseded: by an
  //   invalidation, by `Install`, or by the answer to an earlier attempt.
  // - The attempt was lost: the executor refused or dropped it, or did not
  //   start it within `RefreshPolicy::attempt_timeout`.
  kAttemptAbandoned,
  // The answer to an abandoned attempt arrived, and was not used.
  kAttemptDiscarded,
  kTokenPublished,    // A token was published, from the source or `Install`.
  kTokenInvalidated,  // The token of `generation` was withdrawn.
  kBackoff,           // An attempt failed, and a wait begins (`delay`).
  kStateChanged,      // The token's state changed to `freshness`.
  kExhausted,  // There were too many failures in a row; no token is usable.
  kHealed,     // A token has come, the first since kExhausted. Not sent if
               // `Reset` was called in between.
  // An expired token is being served (`RefreshPolicy::max_stale_on_error`).
  kDegraded,
  // A server rejected the token of `generation`. Other reads may still get this
  // token. Sent at most once per token, but perhaps again after `Reset`.
  kTokenRejected,
  // The source was told of a rejected token (`FetchContext::rejected`), and
  // returned that token again.
  kTokenUnchanged,
};

inline constexpr size_t kEventKinds =
    static_cast<size_t>(EventKind::kTokenUnchanged) + 1;

// Returns a stable name for metrics.
constexpr absl::string_view EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kAttemptStarted:
      return "attempt_started";
    case EventKind::kAttemptFailed:
      return "attempt_failed";
    case EventKind::kAttemptAbandoned:
      return "attempt_abandoned";
    case EventKind::kAttemptDiscarded:
      return "attempt_discarded";
    case EventKind::kTokenPublished:
      return "token_published";
    case EventKind::kTokenInvalidated:
      return "token_invalidated";
    case EventKind::kBackoff:
      return "backoff";
    case EventKind::kStateChanged:
      return "state_changed";
    case EventKind::kExhausted:
      return "exhausted";
    case EventKind::kHealed:
      return "healed";
    case EventKind::kDegraded:
      return "degraded";
    case EventKind::kTokenRejected:
      return "token_rejected";
    case EventKind::kTokenUnchanged:
      return "token_unchanged";
  }
  return "unknown";
}

// A value type.
struct Event {
  EventKind kind = EventKind::kStateChanged;
  // In every event: the generation last published; 0 if there is none yet.
  Generation generation;
  // In every event: the state that the latest kStateChanged reported; kExpired
  // if there was none yet. In kStateChanged: the new state.
  Freshness freshness = Freshness::kExpired;
  // In every event: the number of failures in a row. Failed attempts count, and
  // so do invalidations of young tokens (`RefreshPolicy::young_token_age`). An
  // attempt that a rejecting read (`Refreshable::ReadOptions::rejected`)
  // started does not count as long as the rejected token can be served.
  int failures = 0;
  // In kAttemptStarted: why the attempt is made.
  RefreshReason reason = RefreshReason::kFirst;
  // In kAttemptStarted and kAttemptFailed: 1 + the number of failed attempts
  // that the same refresh made before this attempt. In all other events: 0.
  int attempt = 0;
  // In kAttemptFailed: the cause. In kExhausted: the cause of the last failure.
  // In kAttemptAbandoned: the cause if the attempt was lost, OK if not. In
  // kAttemptDiscarded: the answer's status if the answer is a failure, OK if it
  // is a token. In all other events: OK.
  absl::Status status;
  // In kBackoff: how long no attempt is made. `Reset` and the publication of a
  // token (`Install`, or a late answer) end this wait early. If a background
  // refresh failed, a rejecting read, an invalidation or the token's expiry may
  // also end the wait early.
  absl::Duration delay;
};

// Writes one line: the kind's name, then each field that matters for the event
// as name=value.
std::ostream& operator<<(std::ostream& os, const Event& event);
template <typename Sink>
void AbslStringify(Sink& sink, const Event& event) {
  sink.Append(internal::Streamed(event));
}

inline std::ostream& operator<<(std::ostream& os, RefreshReason reason) {
  return os << RefreshReasonName(reason);
}
inline std::ostream& operator<<(std::ostream& os, EventKind kind) {
  return os << EventKindName(kind);
}
template <typename Sink>
void AbslStringify(Sink& sink, RefreshReason reason) {
  sink.Append(RefreshReasonName(reason));
}
template <typename Sink>
void AbslStringify(Sink& sink, EventKind kind) {
  sink.Append(EventKindName(kind));
}

}  // namespace refreshable

#endif  // REFRESHABLE_EVENT_H_
