// SPDX-License-Identifier: Apache-2.0
//
// FailureClass: whether a failed attempt may be retried.

#ifndef REFRESHABLE_FAILURE_CLASS_H_
#define REFRESHABLE_FAILURE_CLASS_H_

#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// Whether a failed attempt may be retried within its refresh
// (`RetryPolicy::max_retries`).
enum class FailureClass {
  kTransient,  // The cause is likely to pass. May be retried.
  kThrottled,  // The server asks clients to slow down. May be retried.
  kPermanent,  // A retry would fail in the same way. Ends the refresh.
};

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

// The default of `Refreshable::Options::classify`: UNAVAILABLE,
// DEADLINE_EXCEEDED and ABORTED are transient, RESOURCE_EXHAUSTED is throttled,
// and all other codes are permanent. Requires: !status.ok().
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
