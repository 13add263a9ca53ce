// SPDX-License-Identifier: Apache-2.0
//
// Fault: what the token endpoint does wrong, and the constants of the tests.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable_examples {

enum class Fault {
  kNone,            // It answers with a token.
  kTrickle,         // It sends spaces until the fault ends, then the answer.
  kCut,             // It sends half of the body, then disconnects.
  kGarbage,         // It answers 200 with bytes that are not JSON.
  kThrottle,        // It answers 429 with a Retry-After in seconds.
  kThrottleByDate,  // It answers 429 with a Retry-After as a date.
  kExpired,         // It sends a token that has already expired.
  kHuge,            // It sends a token of kHugeAnswer bytes.
};

constexpr Fault kFaults[] = {
    Fault::kNone,     Fault::kTrickle,        Fault::kCut,     Fault::kGarbage,
    Fault::kThrottle, Fault::kThrottleByDate, Fault::kExpired, Fault::kHuge};

// Returns the fault's name in the commands to the endpoint.
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

// How long a token lives, in whole seconds as RFC 6749 requires.
constexpr absl::Duration kShortLife = absl::Seconds(2);
// How long a throttled client is told to wait, in whole seconds as RFC 9110
// requires.
constexpr absl::Duration kRetryAfter = absl::Seconds(1);
// kTrickle sends one space character after each such time.
constexpr absl::Duration kTrickleInterval = absl::Milliseconds(20);
// The length of the token in bytes.
constexpr int64_t kHugeAnswer = int64_t{1} << 30;

// The endpoint's only client.
constexpr char kClientId[] = "faults";
constexpr char kClientSecret[] = "f-secret";

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_H_
