// SPDX-License-Identifier: Apache-2.0
//
// HttpErrorToStatus: turns a failed HTTP answer of a token endpoint into a
// status. ExpiryByServerClock: turns the time at which an answer says that its
// token expires into an expiry.

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

// One header field: its name, in any case, and its value.
using HttpHeader = std::pair<absl::string_view, absl::string_view>;

// Returns the status that a token source should return for a failed HTTP
// answer:
//
//   429                             RESOURCE_EXHAUSTED   throttled
//   502, 503, 504                   UNAVAILABLE          transient
//   401, 403                        UNAUTHENTICATED, PERMISSION_DENIED
//   404                             NOT_FOUND
//   other 4xx                       INVALID_ARGUMENT
//   anything else (500, 302, ...)   UNKNOWN
//
// `ClassifyFailure` treats the codes of the last four lines as permanent, and
// `ClassifyHttpFailure` treats some of the HTTP statuses in these lines as
// transient. `GetHttpStatus` returns the HTTP status of a status made here.
//
// A Retry-After header (RFC 9110, section 10.2.3) is attached with
// `SetRetryAfter`. It may be a number of seconds or an HTTP-date of any of the
// three forms. A date becomes a wait: the time from the answer's Date header to
// that date. Without a valid Date header, the wait counts from `now`, the wall
// time at which the answer arrived. A date in the past becomes a wait of zero,
// which has no effect. A value that cannot be parsed is ignored.
//
// `oauth_error` is the value of `error` in the body of an OAuth 2.0 error
// answer (RFC 6749, section 5.2), or empty if there is none. The caller parses
// the JSON. If the HTTP status is 429, 502, 503 or 504, `oauth_error` does not
// change the code. Otherwise "temporarily_unavailable" and "server_error" make
// the failure UNAVAILABLE (transient), and "slow_down" makes it
// RESOURCE_EXHAUSTED (throttled); any other value does not change the code.
//
// The message contains the HTTP status. It also contains `oauth_error` if that
// looks like a registered error code: at most 64 lower-case letters and
// underscores. It contains nothing else of the answer, because a server may
// echo a secret.
//
// Thread-safe. Meant for an answer that is not 2xx; never returns OK.
absl::Status HttpErrorToStatus(int http_status,
                               absl::Span<const HttpHeader> headers,
                               absl::Time now,
                               absl::string_view oauth_error = {});

// Returns the HTTP status from which HttpErrorToStatus made `status`; nullopt
// if `status` was not made by it.
std::optional<int> GetHttpStatus(const absl::Status& status);

// Like `ClassifyFailure`, but HTTP statuses 408, 425, 500, 520 to 524 and 529
// are transient too: proxies, and servers in trouble, answer with them for a
// while. For `Refreshable::Options::classify`. Requires: !status.ok().
FailureClass ClassifyHttpFailure(const absl::Status& status);

// Returns the expiry of a token that an HTTP answer says expires at `time`: an
// "expires_at", or the `exp` of a JWT, say. If the answer has a valid Date
// header, the expiry is relative: the time from that date to `time`. So it is
// right even if the clock of this computer is wrong. Otherwise it is
// `Expiry::At(time)`. `now` is the wall time at which the answer arrived.
Expiry ExpiryByServerClock(absl::Time time,
                           absl::Span<const HttpHeader> headers,
                           absl::Time now);

// Returns the time that an HTTP-date (RFC 9110, section 5.6.7) states, or
// nullopt if `text` is not an HTTP-date. Accepts all three forms: IMF-fixdate,
// the obsolete RFC 850 form, or asctime's. The two-digit year of the RFC 850
// form means the latest year with these last two digits for which the date is
// at most 50 years after `now`. The name of the day is not checked. Does not
// depend on the locale.
std::optional<absl::Time> ParseHttpDate(absl::string_view text, absl::Time now);

}  // namespace refreshable

#endif  // REFRESHABLE_HTTP_ERROR_H_
