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
struct Play {
  absl::Duration length = absl::Hours(2);
  int callers = 1;
  // The longest wait between two attempts that rejections start.
  absl::Duration max_rejection_backoff = absl::Minutes(1);
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
  // The source reads a file, which holds a token that is revoked at
  // `revoked_at` and replaced at this moment.
  std::optional<absl::Duration> rotated_at;
};

struct Outcome {
  int64_t good_calls = 0;  // Calls of the good servers.
  int64_t failed = 0;      // Of those: ended without a 200.
  int64_t minted = 0;
  double minted_per_hour = 0;
  // The longest time from a revocation (or from `rotated_at`, once that has
  // passed) to a good call's failure, and on to the next call.
  absl::Duration healed_after;
};

Outcome PlayThrough(const Play& play, OnRejection on_rejection);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_PLAY_H_
