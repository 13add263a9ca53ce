// SPDX-License-Identifier: Apache-2.0
//
// Functions that tell from a server's answer whether the server rejected the
// token.

#ifndef REFRESHABLE_REJECTION_H_
#define REFRESHABLE_REJECTION_H_

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The most that a caller should read of an error answer's body to find its
// `error` value. A longer body is not a token error.
inline constexpr size_t kMaxErrorBodyBytes = 64 * 1024;

// Returns whether an answer rejects the token: its status is 401 or 403, and
// `error`, the value of that name in its JSON body, is one of `codes`
// (case-sensitive). The caller reads the body, with its own JSON library and at
// most `kMaxErrorBodyBytes` of it. If the body has no `error`, pass the empty
// string, which matches nothing. Not for answers of the token endpoint itself.
bool IsTokenError(int http_status, absl::string_view error,
                  absl::Span<const absl::string_view> codes);

// The HTTP statuses with which a challenge rejects the token.
enum class ChallengeStatuses {
  k401,
  // For servers that send the challenge of RFC 6750 with either status.
  k401And403,
};

// The values of `error` with which a Bearer challenge rejects the token (RFC
// 6750, section 3.1).
inline constexpr absl::string_view kInvalidTokenErrors[] = {"invalid_token"};

// Returns whether an answer rejects the token: its status is one of `statuses`,
// and its WWW-Authenticate header fields hold a Bearer challenge (RFC 6750,
// section 3) whose `error` is one of `errors` (case-sensitive). The fields may
// hold other challenges as well (RFC 9110, section 11.6.1).
//
// `www_authenticate` holds the values of all fields of that name. An answer may
// have several, and the first may be the challenge of another scheme. The "get
// header" function of many HTTP clients returns only the first. A field that
// cannot be parsed is ignored.
bool IsInvalidTokenChallenge(
    int http_status, absl::Span<const absl::string_view> www_authenticate,
    absl::Span<const absl::string_view> errors = kInvalidTokenErrors,
    ChallengeStatuses statuses = ChallengeStatuses::k401);

}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_H_
