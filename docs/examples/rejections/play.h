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
  kRejectedRead,  // CallWithToken: repeats the call with a newer token.
  kWithdraw,      // Withdraws the token for all, and repeats the call.
  kNothing,       // Returns the 401; only expiry replaces a token.
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
  // A token is accepted only once it is this old.
  absl::Duration accepted_after;
  // At each of these two moments, all tokens issued so far are revoked.
  std::optional<absl::Duration> revoked_at;
  std::optional<absl::Duration> revoked_again_at;
  // If set, the source has one token that never changes, and at this moment a
  // server mistakenly rejects one call.
  std::optional<absl::Duration> mistake_at;

  // ---- The token endpoint ----

  // How long the endpoint takes to answer.
  absl::Duration answers_after;
  // If true, a token counts as issued at the moment of the request; if false,
  // at the moment of the answer.
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
  int64_t good_calls = 0;  // Calls of the good servers.
  // Calls of the good servers that ended without a 200.
  int64_t failed = 0;
  // The number of calls that failed between one issue of a token and the next:
  // after the first issue, and the maximum after the later ones. An issue that
  // a rejection caused does not count as one.
  int64_t failed_after_first = 0;
  int64_t failed_after_later = 0;
  int64_t asked = 0;     // Calls of the token endpoint.
  int64_t too_soon = 0;  // Calls of the endpoint that a Retry-After forbade.
  int64_t minted = 0;    // Calls of the endpoint that returned a token.
  double asked_per_hour = 0;
  double minted_per_hour = 0;
  // The longest time for which calls of good servers failed although the
  // endpoint had a good token to give. It begins at a revocation, `rotated_at`
  // or `down_until`, whichever was last, and ends one second after the last
  // call that failed. Zero if no such call failed, or if nothing was revoked.
  absl::Duration healed_after;
};

// Simulates `play` on one thread. The calls of the callers are spread over each
// second.
Outcome PlayThrough(const Play& play, OnRejection on_rejection);

// Simulates `play` for this library, with a thread for each caller and one for
// the bad server. In each second all threads call at the same time. The counts
// in the outcome may depend on how the threads race, but no promise may be
// broken.
Outcome PlayWithThreads(const Play& play);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
