// SPDX-License-Identifier: Apache-2.0
//
// Tells from a server's answer whether it rejected the token.

#ifndef REFRESHABLE_REJECTION_H_
#define REFRESHABLE_REJECTION_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace refreshable {

// How much of an error answer's body is worth reading for its `error` value: a
// longer body is no token error.
inline constexpr size_t kMaxErrorBodyBytes = 64 * 1024;

// Whether an answer of status 401 or 403 rejects the token, by the value of
// `error` in its JSON body, compared with `codes` letter by letter. Reading the
// body is the caller's: with its JSON library, and no more of it than
// `kMaxErrorBodyBytes`; a missing `error` is the empty string, which matches
// nothing. Not for the token endpoint's own answers.
bool IsTokenError(int http_status, absl::string_view error,
                  absl::Span<const absl::string_view> codes);

// Whether an answer of status 401 rejects the token, by the value of its
// WWW-Authenticate header: a Bearer challenge with error="invalid_token" (RFC
// 6750, section 3), among other challenges perhaps (RFC 9110, section 11.6.1).
// A header that cannot be parsed rejects nothing.
bool IsInvalidTokenChallenge(int http_status,
                             absl::string_view www_authenticate);

}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_H_
