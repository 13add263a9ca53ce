// SPDX-License-Identifier: Apache-2.0

#include "refreshable/event.h"

namespace refreshable {

std::ostream& operator<<(std::ostream& os, const Event& event) {
  os << event.kind << " generation=" << event.generation;
  if (event.kind == EventKind::kAttemptStarted) {
    os << " reason=" << event.reason;
  }
  if (event.attempt > 0) os << " attempt=" << event.attempt;
  if (event.kind == EventKind::kStateChanged) {
    os << " state=" << event.freshness;
  }
  if (event.failures > 0) os << " failures=" << event.failures;
  if (event.kind == EventKind::kBackoff) {
    os << " delay=" << absl::FormatDuration(event.delay);
  }
  if (!event.status.ok()) os << " status=" << internal::Quoted(event.status);
  return os;
}

}  // namespace refreshable
