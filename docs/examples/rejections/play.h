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
  // Repeats the call with a later token, if it can get one (CallWithToken).
  kRejectingRead,
  // Withdraws the token, and repeats the call with another one if it can.
  kWithdraw,
  // Returns the 401. A token is replaced only because of its age.
  kNothing,
};

// A program to simulate, and its servers. Each caller of the program calls a
// good server once a second. All moments are in BootTime, counted from the
// start of the program.
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
  // The servers reject a token that is younger than this. Has no effect if
  // `mistake_at` or `rotated_at` is set.
  absl::Duration accepted_after;
  // At each of these moments, all tokens issued so far are revoked.
  std::optional<absl::Duration> revoked_at;
  std::optional<absl::Duration> revoked_again_at;
  // If set, the source has one token that never changes. The good servers
  // reject one call by mistake: the first at or after this moment.
  std::optional<absl::Duration> mistake_at;

  // ---- The token endpoint ----

  absl::Duration answers_after;
  // If true, a token counts as issued when the endpoint is asked for it; if
  // false, when the endpoint answers.
  bool issued_when_asked = false;
  // From `down_from` to `down_until` the endpoint answers 503. If `retry_after`
  // is not zero, the endpoint answers 429 with this Retry-After instead.
  absl::Duration down_from;
  absl::Duration down_until;
  absl::Duration retry_after;
  // If set, the source reads a file. The token in the file is revoked at
  // `revoked_at`, and the file gets another token at `rotated_at`.
  std::optional<absl::Duration> rotated_at;

  // ---- The program's own clocks ----

  // At this moment the wall clock is set forward by `wall_step` (back if
  // negative), and the computer is suspended for `suspended`.
  std::optional<absl::Duration> disturbed_at;
  absl::Duration wall_step;
  absl::Duration suspended;
};

struct Outcome {
  // Calls to the good servers. A repeated call counts once.
  int64_t good_calls = 0;
  // Calls to the good servers that ended without a 200.
  int64_t failed = 0;
  // Each answer of the endpoint with a token is an *issue*, unless the attempt
  // was told of a rejected or withdrawn token. A second count of the failed
  // calls starts again at 0 at each issue. `failed_after_first` is the largest
  // value of that count before the second issue. `failed_after_later` is the
  // largest value after it.
  int64_t failed_after_first = 0;
  int64_t failed_after_later = 0;
  int64_t asked = 0;     // Calls to the token endpoint.
  int64_t too_soon = 0;  // Calls to the endpoint that a Retry-After forbade.
  int64_t minted = 0;    // Calls to the endpoint that returned a token.
  double asked_per_hour = 0;
  double minted_per_hour = 0;
  // How long calls to good servers still failed after a *change*: a revocation,
  // `rotated_at` or `down_until`. Each failed call gives a time: from the last
  // change before the call to the caller's next call. `healed_after` is the
  // longest of these times. Calls before `revoked_at` do not count. Calls that
  // start while the endpoint has no good token do not count either.
  absl::Duration healed_after;
};

// Simulates `play` on one thread. The calls are spread over each second.
Outcome PlayThrough(const Play& play, OnRejection on_rejection);

// Simulates `play` for this library, with a thread for each caller and one for
// a bad server. The callers call at the same moment. The counts in the outcome
// may depend on the order in which the threads run. Ignores `disturbed_at`.
Outcome PlayWithThreads(const Play& play);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
