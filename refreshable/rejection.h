// SPDX-License-Identifier: Apache-2.0
//
// IsTokenError and IsInvalidTokenChallenge: whether a server's answer rejects
// the caller's token.

#ifndef REFRESHABLE_REJECTION_H_
#define REFRESHABLE_REJECTION_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The most bytes of a body that a caller of IsTokenError should read. For a
// longer body, the caller should pass an empty `error`.
inline constexpr size_t kMaxErrorBodyBytes = 64 * 1024;

// Returns whether an answer rejects the token: whether `http_status` is 401 or
// 403 and `error` is one of `codes` (case-sensitive). `error` is the value
// named "error" in the answer's JSON body. The caller parses the JSON. An empty
// `error` matches nothing. Not for answers of the token endpoint itself.
bool IsTokenError(int http_status, absl::string_view error,
                  absl::Span<const absl::string_view> codes);

// The HTTP statuses for which IsInvalidTokenChallenge may return true.
enum class ChallengeStatuses {
  k401,  // Only 401, as RFC 6750 says.
  // For servers that also reject a token with 403.
  k401And403,
};

// The only value of `error` that rejects the token according to RFC 6750,
// section 3.1.
inline constexpr absl::string_view kInvalidTokenErrors[] = {"invalid_token"};

// Returns whether an answer rejects the token: whether `http_status` is one of
// `statuses` and the answer's WWW-Authenticate header fields hold a Bearer
// challenge (RFC 6750, section 3) whose `error` is one of `errors`
// (case-sensitive). The fields may hold challenges of other schemes as well
// (RFC 9110, section 11.6.1).
//
// `www_authenticate` holds the values of all WWW-Authenticate fields. Beware:
// an answer may have several, and the "get header" function of many HTTP
// clients returns only the first. A field that cannot be parsed is ignored.
bool IsInvalidTokenChallenge(
    int http_status, absl::Span<const absl::string_view> www_authenticate,
    absl::Span<const absl::string_view> errors = kInvalidTokenErrors,
    ChallengeStatuses statuses = ChallengeStatuses::k401);

}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_H_
