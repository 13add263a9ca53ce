// SPDX-License-Identifier: Apache-2.0
//
// HttpError: what a token endpoint's failing HTTP answer means.

#ifndef REFRESHABLE_HTTP_ERROR_H_
#define REFRESHABLE_HTTP_ERROR_H_

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

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
// where the last four are permanent by `ClassifyFailure`. A Retry-After header,
// in seconds or as an HTTP-date of any of the three forms (RFC 9110, section
// 10.2.3), is attached with `SetRetryAfter`; a date is measured from the
// answer's Date header, else from `now`, and one that has passed means zero. A
// value that cannot be read is ignored.
//
// `oauth_error` is the value of `error` in the body of an OAuth 2.0 error
// answer (RFC 6749, section 5.2), empty if there is none; reading JSON is left
// to the caller's library. It overrides the class: "temporarily_unavailable"
// and "server_error" are transient, "slow_down" is throttled, any other code is
// permanent, but for the statuses 429, 502, 503 and 504.
//
// The message holds the HTTP status and, if it is a plausible error code (at
// most 64 printable characters, no quote, no backslash), `oauth_error`: nothing
// else of the answer, so no token and no secret. Thread-safe. Requires:
// http_status is not 2xx.
absl::Status HttpError(int http_status, absl::Span<const HttpHeader> headers,
                       absl::string_view oauth_error = {},
                       absl::Time now = absl::Now());

// An HTTP-date (RFC 9110, section 5.6.7): IMF-fixdate, the obsolete RFC 850
// form, or asctime's. The two-digit year of the second is the one that lies
// less than 50 years after `now`.
std::optional<absl::Time> ParseHttpDate(absl::string_view text, absl::Time now);

}  // namespace refreshable

#endif  // REFRESHABLE_HTTP_ERROR_H_
