// SPDX-License-Identifier: Apache-2.0
//
// RefreshError and other details that this library attaches to a status.

#ifndef REFRESHABLE_REFRESH_ERROR_H_
#define REFRESHABLE_REFRESH_ERROR_H_

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/internal/printing.h"

namespace refreshable {

// Why a read got no token. It is attached to the read's status if the refresh
// failed, brought only the rejected token again, was lost by the executor, or
// is not permitted yet. The status's code is FAILED_PRECONDITION if `fatal`,
// otherwise the code of the failure that `cause` describes.
struct RefreshError {
  // The last failed attempt's message, or a message that names another reason.
  std::string cause;
  // The number of failures in a row, as in `Event::failures`. It can be 0, for
  // example if the executor lost the refresh.
  int failures = 0;
  // The wall time before which no attempt starts; the infinite future if
  // `fatal`. If `rejected` is set, this time applies only to attempts started
  // by rejecting reads. If this time is finite, the status's message contains
  // it, rounded up to whole seconds.
  //
  // All errors with the same value of `rejected` report the same time until it
  // has come. (`Reset()`, for example, replaces it at once.) Setting the wall
  // clock does not change this time.
  absl::Time next_attempt;
  // Whether refreshing has given up for good (`OnExhausted::kFatal`).
  bool fatal = false;
  // Whether the read was a rejecting read (`ReadOptions::rejected`) that got no
  // later token, and the rejected token is still served to other reads.
  //
  // A rejecting read may join a refresh that an ordinary read or a timer
  // started. If the read ends with the failure of that refresh, `rejected` is
  // false.
  bool rejected = false;
};

// Writes all fields as name=value, on one line.
std::ostream& operator<<(std::ostream& os, const RefreshError& error);
template <typename Sink>
void AbslStringify(Sink& sink, const RefreshError& error) {
  sink.Append(internal::Streamed(error));
}

// Returns the RefreshError attached to `status`, or nullopt if there is none.
std::optional<RefreshError> GetRefreshError(const absl::Status& status);

// Returns whether `status` says that refreshing has given up for good
// (`OnExhausted::kFatal`). The program should then exit, or call `Reset()`
// after the cause has been fixed.
bool IsFatal(const absl::Status& status);

// Returns whether `status` says that a read's own timeout passed while the read
// waited for a refresh. Returns false if the refresh itself failed with
// DEADLINE_EXCEEDED.
bool IsReadTimeout(const absl::Status& status);

// Attaches the wait that the server asked for (Retry-After, RFC 9110, section
// 10.2.3) to the status of a failed attempt. The wait counts from the moment at
// which the source reports the failure. The wait replaces the backoff
// (`RetryPolicy`), even if the backoff is longer.
// `RetryPolicy::max_retry_after` limits the wait. Negative durations are stored
// as zero, and zero has no effect. Requires: !status.ok().
void SetRetryAfter(absl::Duration retry_after, absl::Status& status);

// Returns the wait that SetRetryAfter attached to `status`; nullopt if there is
// none.
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

namespace internal {

// Returns a status with `error` attached and a message that describes it.
// Requires: code is not kOk.
absl::Status MakeRefreshError(absl::StatusCode code, const RefreshError& error);

// Returns a DEADLINE_EXCEEDED status for which IsReadTimeout is true.
absl::Status MakeReadTimeout(absl::string_view message);

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REFRESH_ERROR_H_
