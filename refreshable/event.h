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
  kExpired,   // The token has expired.
  kRejected,  // A server rejected the token, or it was invalidated. The source
              // must bypass its cache.
  kProbe,     // Too many attempts in a row have failed; this is a single try.
};

// Returns "first", "stale", "expired", "rejected" or "probe".
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
  // An attempt failed; `status` is the cause. If too many earlier calls of the
  // source have not returned, an attempt fails without calling the source; no
  // kAttemptStarted is then sent for that attempt.
  kAttemptFailed,
  // Nobody waits for an attempt any longer, for one of three reasons. Either
  // the attempt timed out; kAttemptFailed then follows. Or an invalidation,
  // `Install` or the answer to an earlier attempt superseded it. Or it was
  // lost: the executor dropped it, or did not start it within
  // `RefreshPolicy::attempt_timeout`.
  kAttemptAbandoned,
  // The answer to an abandoned attempt arrived, and changed nothing.
  kAttemptDiscarded,
  kTokenPublished,    // A refresh succeeded, or `Install` was called.
  kTokenInvalidated,  // The token of `generation` was withdrawn.
  kBackoff,           // No attempt is made for the next `delay`.
  kStateChanged,      // `freshness` is the new state.
  kExhausted,         // Too many attempts in a row failed; no token is usable.
  kHealed,            // A token was published after kExhausted.
  kDegraded,          // An expired token is being served, by policy.
  // A server rejected the token of `generation`, which may still be served.
  // Sent once per token, however many calls were rejected.
  kTokenRejected,
  // A refresh that a rejection asked for returned the rejected token again.
  kTokenUnchanged,
};

inline constexpr size_t kEventKinds =
    static_cast<size_t>(EventKind::kTokenUnchanged) + 1;

// Returns a stable name for metrics: "attempt_started", "attempt_failed", ...
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

// One event, as `Observer::OnEvent` receives it. A value.
struct Event {
  EventKind kind = EventKind::kStateChanged;
  // The next three fields are set in every event. `generation` is the
  // generation last published. `freshness` is the state last reported; if the
  // state has changed since, a kStateChanged event follows. `failures` is the
  // number of failed attempts in a row.
  Generation generation;
  Freshness freshness = Freshness::kExpired;
  int failures = 0;
  // kAttemptStarted: why the attempt is made.
  RefreshReason reason = RefreshReason::kFirst;
  // kAttemptStarted, kAttemptFailed: the number of the attempt within its
  // refresh, from 1. Otherwise 0.
  int attempt = 0;
  // kAttemptFailed, kExhausted: the cause. kAttemptAbandoned: the cause if the
  // executor lost the attempt. kAttemptDiscarded: the discarded answer's status
  // if it was a failure. Otherwise OK.
  absl::Status status;
  // kBackoff: how long no attempt is made. `Reset`, `Install`, an invalidation
  // or the token's expiry may end the wait sooner.
  absl::Duration delay;
};

// Writes one line: the name of the event's kind, followed by the fields that
// this kind uses, each as name=value.
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
