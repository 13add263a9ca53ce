// SPDX-License-Identifier: Apache-2.0
//
// HttpErrorToStatus: what a token endpoint's failing HTTP answer means.

#ifndef REFRESHABLE_HTTP_ERROR_H_
#define REFRESHABLE_HTTP_ERROR_H_

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "refreshable/failure_class.h"

namespace refreshable {

// One header field: its name, in any case, and its value.
using HttpHeader = std::pair<absl::string_view, absl::string_view>;

// The status of a failed HTTP answer, for a token source to return:
//
//   429                             RESOURCE_EXHAUSTED   throttled
//   502, 503, 504                   UNAVAILABLE          transient
//   401, 403                        UNAUTHENTICATED, PERMISSION_DENIED
//   404                             NOT_FOUND
//   other 4xx                       INVALID_ARGUMENT
//   anything else (500, 302, ...)   UNKNOWN
//
// where the last four are permanent by `ClassifyFailure`, and some of them
// worth a retry by `ClassifyHttpFailure`. `GetHttpStatus` reads the HTTP status
// back. A Retry-After header, in seconds or as an HTTP-date of any of the three
// forms (RFC 9110, section 10.2.3), is attached with `SetRetryAfter`; a date is
// measured from the answer's Date header, else from `now`, the wall time at
// which the answer came, and one that has passed means zero, which asks for
// nothing. A value that cannot be read is ignored.
//
// `oauth_error` is the value of `error` in the body of an OAuth 2.0 error
// answer (RFC 6749, section 5.2), empty if there is none; reading JSON is left
// to the caller's library. It overrides the class: "temporarily_unavailable"
// and "server_error" are transient, "slow_down" is throttled, any other code is
// permanent, but for the statuses 429, 502, 503 and 504.
//
// The message holds the HTTP status and, if it looks like the registered error
// codes (lower-case letters and underscores, at most 64), `oauth_error`:
// nothing else of the answer, lest a server's echo bring a secret into a log.
//
// Thread-safe. Meant for an answer that is not 2xx; never returns OK.
absl::Status HttpErrorToStatus(int http_status,
                               absl::Span<const HttpHeader> headers,
                               absl::Time now,
                               absl::string_view oauth_error = {});

// The HTTP status of the answer that `status` was made from by
// HttpErrorToStatus; nullopt if it was not.
std::optional<int> GetHttpStatus(const absl::Status& status);

// As `ClassifyFailure`, but transient are also 408, 425, 500, 520 to 524 and
// 529: answers that a proxy, or a server in trouble, gives for a while. For
// `Refreshable::Options::classify`. Requires: !status.ok().
FailureClass ClassifyHttpFailure(const absl::Status& status);

// Reads an HTTP-date (RFC 9110, section 5.6.7): IMF-fixdate, the obsolete RFC
// 850 form, or asctime's. The two-digit year of the second is the latest that
// puts the date no more than 50 years after `now`. The day's name is not
// checked. Does not depend on the locale.
std::optional<absl::Time> ParseHttpDate(absl::string_view text, absl::Time now);

}  // namespace refreshable

#endif  // REFRESHABLE_HTTP_ERROR_H_
