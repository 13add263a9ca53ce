// SPDX-License-Identifier: Apache-2.0
//
// HttpErrorToStatus turns a failed HTTP answer into a status.
// ExpiryByServerClock turns an answer's expiry time into an Expiry.

#ifndef REFRESHABLE_HTTP_ERROR_H_
#define REFRESHABLE_HTTP_ERROR_H_

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/failure_class.h"

namespace refreshable {

// One header field: its name, in upper or lower case, and its value.
using HttpHeader = std::pair<absl::string_view, absl::string_view>;

// Returns the status for a failed HTTP answer. Without an `oauth_error`, the
// code depends on `http_status` only. `ClassifyFailure` derives the failure's
// class from the code:
//
//   http_status                     code                 class
//   429                             RESOURCE_EXHAUSTED   throttled
//   502, 503, 504                   UNAVAILABLE          transient
//   401                             UNAUTHENTICATED      permanent
//   403                             PERMISSION_DENIED    permanent
//   404                             NOT_FOUND            permanent
//   other 4xx                       INVALID_ARGUMENT     permanent
//   anything else (500, 302, ...)   UNKNOWN              permanent
//
// `ClassifyHttpFailure` treats more HTTP statuses as transient.
//
// The status carries the wait (`SetRetryAfter`) that a Retry-After header asks
// for (RFC 9110, section 10.2.3). The header's value may be a number of seconds
// or an HTTP-date. The wait until an HTTP-date counts from the answer's Date
// header. Without a valid Date header, the wait counts from `now`, the wall
// time at which the answer arrived. An HTTP-date in the past has no effect. A
// value that cannot be parsed is ignored.
//
// `oauth_error` is the value of `error` in the body of an OAuth 2.0 error
// answer (RFC 6749, section 5.2), or empty if there is none. If `http_status`
// is 429, 502, 503 or 504, `oauth_error` does not change the code. Otherwise
// "temporarily_unavailable" and "server_error" make the code UNAVAILABLE
// (transient), "slow_down" makes it RESOURCE_EXHAUSTED (throttled), and other
// values do not change it.
//
// The message contains `http_status`. It also contains `oauth_error` if that is
// at most 64 lower-case letters and underscores. It contains nothing else of
// the answer, because a server may echo a secret.
//
// Thread-safe. Never returns OK, not even for a 2xx.
absl::Status HttpErrorToStatus(int http_status,
                               absl::Span<const HttpHeader> headers,
                               absl::Time now,
                               absl::string_view oauth_error = {});

// Returns the HTTP status from which HttpErrorToStatus made `status`; nullopt
// for any other status.
std::optional<int> GetHttpStatus(const absl::Status& status);

// Like `ClassifyFailure`, but also returns kTransient if HttpErrorToStatus made
// `status` from the HTTP status 408, 425, 500, 520 to 524 or 529. Meant for
// `Refreshable::Options::classify`. Requires: !status.ok().
FailureClass ClassifyHttpFailure(const absl::Status& status);

// Returns the expiry of a token from an HTTP answer. `time` is the time of
// expiry in the answer, such as "expires_at" or the `exp` of a JWT. `now` is
// the wall time at which the answer arrived.
//
// If the answer has a valid Date header, returns a relative expiry: the time
// from that date to `time`. This expiry is right even if this computer's clock
// is wrong. Without a valid Date header, returns `Expiry::At(time)`.
Expiry ExpiryByServerClock(absl::Time time,
                           absl::Span<const HttpHeader> headers,
                           absl::Time now);

// Parses `text` as an HTTP-date of any of the three forms (RFC 9110, section
// 5.6.7). Returns nullopt if `text` cannot be parsed. A year of two digits
// means the latest year with these last digits for which the date is at most 50
// years after `now`. The name of the day is not checked. Does not depend on the
// locale.
std::optional<absl::Time> ParseHttpDate(absl::string_view text, absl::Time now);

}  // namespace refreshable

#endif  // REFRESHABLE_HTTP_ERROR_H_
