// SPDX-License-Identifier: Apache-2.0
//
// Fault: what the token endpoint does wrong, and the constants of time.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable_examples {

// How the token endpoint answers.
enum class Fault {
  kNone,            // With a token.
  kTrickle,         // A byte now and then, as long as the fault lasts.
  kCut,             // Half of the answer; then it closes the connection.
  kGarbage,         // 200, and bytes that are no JSON.
  kThrottle,        // 429, Retry-After in seconds.
  kThrottleByDate,  // 429, Retry-After as an HTTP-date.
  kExpired,         // A token that has expired.
  kHuge,            // kHugeAnswer bytes.
};

constexpr Fault kFaults[] = {
    Fault::kNone,     Fault::kTrickle,        Fault::kCut,     Fault::kGarbage,
    Fault::kThrottle, Fault::kThrottleByDate, Fault::kExpired, Fault::kHuge};

// "none", "trickle", ...: what the endpoint is told.
constexpr absl::string_view FaultName(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "none";
    case Fault::kTrickle:
      return "trickle";
    case Fault::kCut:
      return "cut";
    case Fault::kGarbage:
      return "garbage";
    case Fault::kThrottle:
      return "throttle";
    case Fault::kThrottleByDate:
      return "throttle_by_date";
    case Fault::kExpired:
      return "expired";
    case Fault::kHuge:
      return "huge";
  }
  return "unknown";
}

// `expires_in` of the tokens, in whole seconds as RFC 6749 requires.
constexpr absl::Duration kShortLife = absl::Seconds(2);
// How long a throttled client is asked to wait, in whole seconds as RFC 9110
// requires.
constexpr absl::Duration kRetryAfter = absl::Seconds(1);
// The time from one byte of a trickling answer to the next.
constexpr absl::Duration kTrickleInterval = absl::Milliseconds(20);
constexpr int64_t kHugeAnswer = int64_t{1} << 30;

// The endpoint's one client.
constexpr char kClientId[] = "faults";
constexpr char kClientSecret[] = "f-secret";

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_
