// SPDX-License-Identifier: Apache-2.0
//
// Plays a program whose servers reject some of its calls, in virtual time.

#ifndef REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
#define REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace refreshable_examples {

// What a client does when a server answers 401.
enum class OnRejection {
  kRejectedRead,  // CallWithToken: reads a later token, and replays.
  kWithdraw,      // Withdraws the token for everybody, reads, and replays.
  kNothing,       // The caller gets the 401; only expiry replaces a token.
};

// One program. It calls good servers once a second with each of its callers.
// Moments are counted from its start, by the clock of BootTime, by which the
// servers judge too.
struct Play {
  absl::Duration length = absl::Hours(2);
  int callers = 1;
  absl::Duration token_life = absl::Hours(1);
  // The longest wait between two attempts that rejections start.
  absl::Duration max_rejection_backoff = absl::Minutes(1);

  // ---- The servers that are called with a token. ----

  // A bad server that answers every call with 401 is called once in this time;
  // infinite: there is none.
  absl::Duration bad_period = absl::InfiniteDuration();
  // A token is accepted only from this time after its issue on.
  absl::Duration accepted_after;
  // All tokens issued until then are revoked at these moments.
  std::optional<absl::Duration> revoked_at;
  std::optional<absl::Duration> revoked_again_at;
  // The source has one token that never changes. At this moment a server
  // mistakenly rejects one call.
  std::optional<absl::Duration> mistake_at;

  // ---- The token endpoint. ----

  // How long it takes to answer; and whether a token counts as issued when it
  // was asked for, or when the answer comes.
  absl::Duration answers_after;
  bool issued_when_asked = false;
  // Between these moments it answers 503 or, if `retry_after` is not zero, 429
  // with that Retry-After.
  absl::Duration down_from;
  absl::Duration down_until;
  absl::Duration retry_after;
  // The source reads a file, which holds a token that is revoked at
  // `revoked_at` and replaced at this moment.
  std::optional<absl::Duration> rotated_at;

  // ---- The program's own clocks. ----

  // At this moment its wall clock is set forward by `wall_step` (back, if
  // negative), and its machine is suspended for `suspended`.
  std::optional<absl::Duration> disturbed_at;
  absl::Duration wall_step;
  absl::Duration suspended;
};

struct Outcome {
  int64_t good_calls = 0;  // Calls of the good servers.
  int64_t failed = 0;      // Of those: ended without a 200.
  // Of those: after the first issue, and the most after any later one. An issue
  // that a rejection asked for belongs to the one before it.
  int64_t failed_after_first = 0;
  int64_t failed_after_later = 0;
  int64_t asked = 0;     // Calls of the token endpoint.
  int64_t too_soon = 0;  // Of those: forbidden by its Retry-After.
  int64_t minted = 0;    // Of those: a token was the answer.
  double asked_per_hour = 0;
  double minted_per_hour = 0;
  // The longest time from the moment from which on a call could have succeeded
  // again (a revocation, `rotated_at` or `down_until`, whichever is last) to
  // the beginning of a call that failed, and on to the next call.
  absl::Duration healed_after;
};

// Plays it on one thread. The callers' calls are spread over each second.
Outcome PlayThrough(const Play& play, OnRejection on_rejection);

// Plays it for this library with a thread for each caller and one for the bad
// server. In each second all of them call at the same time: what is counted
// depends on how they race, what is promised does not.
Outcome PlayWithThreads(const Play& play);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
