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

// How the token endpoint behaves.
enum class Phase {
  kHealthy,     // Issues tokens.
  kBadGateway,  // Answers 502.
  kHanging,     // Answers nothing.
  kRevoking,    // Issues tokens, but revokes every token.
  kRecovered,   // Issues tokens again.
};

// Returns "healthy", "502", "hangs", "revokes" or "recovered".
absl::string_view PhaseName(Phase phase);

// Returns whether `phase` is part of the outage, in which the endpoint issues
// no token that works.
bool InOutage(Phase phase);

struct Act {
  Phase phase;
  absl::Duration length;
};

// The phases of the script, in order. The 502s last longer than a token's life,
// and the revocations longer than a probe interval. So every client notices
// both, unless it has given up.
const std::vector<Act>& Script();

// The factor by which the clients' times are shorter than in production.
constexpr int kFactor = 20;

// How long a token lives. This is `expires_in` of the answer, which RFC 6749
// requires to be in whole seconds.
constexpr absl::Duration kTokenLife = absl::Seconds(4);

// Returns the library's default policy with its times divided by `factor`, with
// two exceptions: `background_cooldown`, which is unset by default, is 60 s
// divided by `factor`, and there is no jitter, so that the waits are exact.
refreshable::RefreshPolicy ScaledPolicy(int factor);

// Each client has `kThreads` threads. Each thread makes a call every
// `kCallInterval`; if a call takes longer, the next one follows at once.
constexpr int kThreads = 8;
constexpr absl::Duration kCallInterval = absl::Milliseconds(500 / kFactor);
// How long a call of the Refreshable client waits for tokens, at most.
constexpr absl::Duration kReadTimeout = absl::Milliseconds(5000 / kFactor);
// The timeout of the requests that the other two clients send to the token
// endpoint, and of those that all three send to the API.
constexpr absl::Duration kHttpTimeout = absl::Milliseconds(30000 / kFactor);
// The `unit` and the `max_failures` of the client Lockout (rivals.h).
constexpr absl::Duration kLockoutUnit = absl::Milliseconds(1000 / kFactor);
constexpr int kLockoutFailures = 5;

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_SCRIPT_H_
