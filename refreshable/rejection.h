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

// The statuses of answers whose challenge is looked at.
enum class ChallengeStatuses {
  k401,
  // Also 403, for servers that send the challenge of RFC 6750 with either.
  k401And403,
};

// The `error` by which a Bearer challenge rejects the token (RFC 6750, section
// 3.1).
inline constexpr absl::string_view kInvalidTokenErrors[] = {"invalid_token"};

// Whether an answer rejects the token, by its WWW-Authenticate header fields: a
// Bearer challenge whose `error` is one of `errors`, compared letter by letter
// (RFC 6750, section 3), perhaps among other challenges (RFC 9110, section
// 11.6.1).
//
// `www_authenticate` has the values of all fields of that name. An answer may
// have several, and the "get header" function of many HTTP clients returns the
// first alone, which may be another scheme's. A field that cannot be parsed
// says nothing; the others still count.
bool IsInvalidTokenChallenge(
    int http_status, absl::Span<const absl::string_view> www_authenticate,
    absl::Span<const absl::string_view> errors = kInvalidTokenErrors,
    ChallengeStatuses statuses = ChallengeStatuses::k401);

}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_H_
