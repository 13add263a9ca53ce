// SPDX-License-Identifier: Apache-2.0
//
// The script of the outage: its phases and their lengths, and every constant of
// the three clients.

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

// Returns the library's default policy with its times divided by `factor`. The
// policy has no jitter, so that the number of attempts in an outage has an
// exact limit.
refreshable::RefreshPolicy ScaledPolicy(int factor);

// Each client has `kThreads` threads, and each thread makes a call every
// `kCallInterval`.
constexpr int kThreads = 8;
constexpr absl::Duration kCallInterval = absl::Milliseconds(500 / kFactor);
// How long a call of the Refreshable client waits for a token.
constexpr absl::Duration kReadTimeout = absl::Milliseconds(5000 / kFactor);
// How long the other two clients wait for an answer of the token endpoint, and
// all three for an answer of the API.
constexpr absl::Duration kHttpTimeout = absl::Milliseconds(30000 / kFactor);
// After n failures in a row, the client `Lockout` waits for 2^n of these units.
// After `kLockoutFailures` it gives up for good.
constexpr absl::Duration kLockoutUnit = absl::Milliseconds(1000 / kFactor);
constexpr int kLockoutFailures = 5;

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_SCRIPT_H_
