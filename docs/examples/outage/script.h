// SPDX-License-Identifier: Apache-2.0
//
// The script of the outage: its phases and their lengths, how long a token
// lives, and the constants of the three clients.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_SCRIPT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_SCRIPT_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/policy.h"

namespace refreshable_examples {

// What the token endpoint does in each phase.
enum class Phase {
  kHealthy,     // Issues tokens.
  kBadGateway,  // Answers 502.
  kHanging,     // Answers nothing.
  kRevoking,    // Issues tokens, but the API rejects every token.
  kRecovered,   // Issues tokens again.
};

// Returns "healthy", "502", "hangs", "revokes" or "recovered".
absl::string_view PhaseName(Phase phase);

// During the outage, the endpoint issues no token that works.
bool InOutage(Phase phase);

struct Act {
  Phase phase;
  absl::Duration length;
};

// kBadGateway lasts longer than a token's life, so every client needs a new
// token during this phase. kRevoking lasts longer than a probe interval, so
// every client that has not given up asks for a token during this phase.
const std::vector<Act>& Script();

// The times of the clients are the times in production divided by this factor.
constexpr int kFactor = 20;

// A whole number of seconds, because the endpoint sends it as `expires_in`.
constexpr absl::Duration kTokenLife = absl::Seconds(4);

// Returns the library's default policy with its times divided by `factor`, and
// without jitter. `background_cooldown`, which is unset by default, is 60 s
// divided by `factor`.
refreshable::RefreshPolicy ScaledPolicy(int factor);

// Each of a client's `kThreads` threads makes a call every `kCallInterval`. If
// a call takes longer, the next call follows at once.
constexpr int kThreads = 8;
constexpr absl::Duration kCallInterval = absl::Milliseconds(500 / kFactor);
// The longest time that a call of the Refreshable client waits for tokens.
constexpr absl::Duration kReadTimeout = absl::Milliseconds(5000 / kFactor);
// The timeout of requests to the API, and of token requests of Hammer and
// Lockout (rivals.h).
constexpr absl::Duration kHttpTimeout = absl::Milliseconds(30000 / kFactor);
// The `unit` and the `max_failures` of Lockout.
constexpr absl::Duration kLockoutUnit = absl::Milliseconds(1000 / kFactor);
constexpr int kLockoutFailures = 5;

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_SCRIPT_H_
