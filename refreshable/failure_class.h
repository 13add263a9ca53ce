// SPDX-License-Identifier: Apache-2.0
//
// FailureClass: how a failed attempt bears on the next one.

#ifndef REFRESHABLE_FAILURE_CLASS_H_
#define REFRESHABLE_FAILURE_CLASS_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace refreshable {

// What a failed attempt says of the next one.
enum class FailureClass {
  kTransient,  // Likely to pass: retried by the schedule.
  kThrottled,  // The server asked for patience: retried, after its wait.
  kPermanent,  // A retry would fail alike: ends the refresh.
};

// "transient", "throttled" or "permanent".
constexpr absl::string_view FailureClassName(FailureClass kind) {
  switch (kind) {
    case FailureClass::kTransient:
      return "transient";
    case FailureClass::kThrottled:
      return "throttled";
    case FailureClass::kPermanent:
      return "permanent";
  }
  return "unknown";
}
inline std::ostream& operator<<(std::ostream& os, FailureClass kind) {
  return os << FailureClassName(kind);
}
template <typename Sink>
void AbslStringify(Sink& sink, FailureClass kind) {
  sink.Append(FailureClassName(kind));
}

// The sorting that is used unless a Refreshable is given another: UNAVAILABLE,
// DEADLINE_EXCEEDED and ABORTED are transient, RESOURCE_EXHAUSTED is throttled,
// everything else is permanent. Requires: !status.ok().
inline FailureClass ClassifyFailure(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
      return FailureClass::kTransient;
    case absl::StatusCode::kResourceExhausted:
      return FailureClass::kThrottled;
    default:
      return FailureClass::kPermanent;
  }
}

}  // namespace refreshable

#endif  // REFRESHABLE_FAILURE_CLASS_H_
