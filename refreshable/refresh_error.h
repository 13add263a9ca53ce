// SPDX-License-Identifier: Apache-2.0
//
// What the statuses of this library say beyond their code and message.

#ifndef REFRESHABLE_REFRESH_ERROR_H_
#define REFRESHABLE_REFRESH_ERROR_H_

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// Why a read got no token. Comes with every status that a read returns because
// refreshing failed; the status has the code of the last cause, or, if `fatal`,
// FAILED_PRECONDITION.
struct RefreshError {
  // The message of the last failed attempt's status.
  std::string cause;
  // Failed attempts in a row. 0 if none failed: the executor lost the refresh,
  // or the minimum interval has not passed; `cause` says which.
  int failures = 0;
  // Before this, no attempt is made and every read without a usable token fails
  // at once; if `rejected`, no rejection starts an attempt. Wall time, as it
  // was computed when that time last changed: all reads are told the same, and
  // a clock that is set later does not move it. The message has it in whole
  // seconds, rounded up. Infinite future: never.
  absl::Time next_attempt;
  // Nothing will be attempted until `Reset()` or `Install()`.
  bool fatal = false;
  // The read rejected a token (`ReadOptions::rejected`) that is still being
  // served to others, and no other is to be had.
  bool rejected = false;
};

// One line of name=value.
std::ostream& operator<<(std::ostream& os, const RefreshError& error);
template <typename Sink>
void AbslStringify(Sink& sink, const RefreshError& error) {
  sink.Append(internal::Streamed(error));
}

// What `status` carries, if a read returned it because refreshing failed.
std::optional<RefreshError> GetRefreshError(const absl::Status& status);

// Whether `status` says that refreshing has given up for good
// (`OnExhausted::kFatal`). No retry helps; the program should say so and end,
// or call `Reset()` once the cause is mended.
bool IsFatal(const absl::Status& status);

// Whether a read returned `status` because its own timeout passed while it
// waited; the refresh goes on. False for a refresh that failed with
// DEADLINE_EXCEEDED, and for any status that is not from a read.
bool IsReadTimeout(const absl::Status& status);

// Attaches to a failed attempt's status how long the server asked to be left
// alone (Retry-After, RFC 9110, section 10.2.3). It then replaces the computed
// wait before the next attempt, be it longer or shorter; see
// `RetryPolicy::max_retry_after`. A negative duration is stored as zero, and
// zero asks for nothing. Requires: !status.ok().
void SetRetryAfter(absl::Duration retry_after, absl::Status& status);

// What SetRetryAfter attached, if anything.
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

namespace internal {

// A status of `code` that carries `error`, its message naming all of it.
// Requires: code is not kOk.
absl::Status MakeRefreshError(absl::StatusCode code, const RefreshError& error);

// A status for which IsReadTimeout is true.
absl::Status MakeReadTimeout(absl::string_view message);

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REFRESH_ERROR_H_
