// SPDX-License-Identifier: Apache-2.0
//
// Simulates, in virtual time, a program whose servers reject some of its calls.

#ifndef REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
#define REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace refreshable_examples {

// What a client does if a server answers 401.
enum class OnRejection {
  // Asks for a later token (CallWithToken). If it gets one, repeats the call.
  kRejectingRead,
  // Withdraws the token for all callers. If it gets another, repeats the call.
  kWithdraw,
  // Returns the 401. A token is replaced only because of its age.
  kNothing,
};

// A program to simulate, and its servers. Each caller of the program calls a
// good server once a second. A moment, such as `revoked_at`, is given as the
// time since the start of the program, by BootTime. The servers use this clock
// too.
struct Play {
  absl::Duration length = absl::Hours(2);
  int callers = 1;
  absl::Duration token_life = absl::Hours(1);
  // The longest wait between two attempts that rejections start.
  absl::Duration max_rejection_backoff = absl::Minutes(1);

  // ---- The servers that are called with a token ----

  // A bad server, which answers every call with 401, is called at this
  // interval. If the interval is infinite, there is no bad server.
  absl::Duration bad_period = absl::InfiniteDuration();
  // A token is accepted only once it is this old. Has no effect on the tokens
  // of `mistake_at` and `rotated_at`.
  absl::Duration accepted_after;
  // At each of these two moments, all tokens issued so far are revoked.
  std::optional<absl::Duration> revoked_at;
  std::optional<absl::Duration> revoked_again_at;
  // If set, the source has one token that never changes. The first call of a
  // good server at or after this moment is rejected by mistake; no other is.
  std::optional<absl::Duration> mistake_at;

  // ---- The token endpoint ----

  // How long the endpoint takes to answer.
  absl::Duration answers_after;
  // If true, a token counts as issued when the endpoint is asked for it; if
  // false, when the endpoint answers.
  bool issued_when_asked = false;
  // From `down_from` to `down_until` the endpoint answers 503 or, if
  // `retry_after` is not zero, 429 with that Retry-After.
  absl::Duration down_from;
  absl::Duration down_until;
  absl::Duration retry_after;
  // If set, the source reads a file. The token in the file is revoked at
  // `revoked_at`, and the file gets another token at `rotated_at`.
  std::optional<absl::Duration> rotated_at;

  // ---- The program's own clocks ----

  // At this moment the program's wall clock is set forward by `wall_step` (back
  // if negative), and the program's computer is suspended for `suspended`.
  std::optional<absl::Duration> disturbed_at;
  absl::Duration wall_step;
  absl::Duration suspended;
};

struct Outcome {
  // Calls of the good servers. A call that is repeated counts once.
  int64_t good_calls = 0;
  // Calls of the good servers that ended without a 200.
  int64_t failed = 0;
  // The number of these failed calls after the first issue of a token, and the
  // maximum after a later issue, each until the next issue. Issues to attempts
  // that were told that a token was rejected or withdrawn are left out.
  int64_t failed_after_first = 0;
  int64_t failed_after_later = 0;
  int64_t asked = 0;     // Calls of the token endpoint.
  int64_t too_soon = 0;  // Calls of the endpoint that a Retry-After forbade.
  int64_t minted = 0;    // Calls of the endpoint that returned a token.
  double asked_per_hour = 0;
  double minted_per_hour = 0;
  // The longest time from a revocation, `rotated_at` or `down_until`, whichever
  // was last, to one second after the start of a call of a good server that
  // failed. Leaves out calls that start before `revoked_at`, or while the
  // endpoint has no good token to give. Zero if no other call failed, or if
  // nothing was revoked.
  absl::Duration healed_after;
};

// Simulates `play` on one thread. The calls of the callers are spread over each
// second.
Outcome PlayThrough(const Play& play, OnRejection on_rejection);

// Simulates `play` for this library, with a thread for each caller and, if
// there is a bad server, one that calls it. The callers call at the same
// moment. The counts in the outcome may depend on how the threads race, but no
// promise may be broken. Ignores `disturbed_at`.
Outcome PlayWithThreads(const Play& play);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
