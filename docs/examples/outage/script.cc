// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/script.h"

namespace refreshable_examples {

absl::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kHealthy:
      return "healthy";
    case Phase::kBadGateway:
      return "502";
    case Phase::kHanging:
      return "hangs";
    case Phase::kRevoking:
      return "revokes";
    case Phase::kRecovered:
      return "recovered";
  }
  return "unknown";
}

bool InOutage(Phase phase) {
  return phase != Phase::kHealthy && phase != Phase::kRecovered;
}

const std::vector<Act>& Script() {
  static const auto& script = *new std::vector<Act>{
      {Phase::kHealthy, absl::Seconds(7)},
      {Phase::kBadGateway, absl::Seconds(9)},
      {Phase::kHanging, absl::Seconds(4)},
      {Phase::kRevoking, absl::Milliseconds(3500)},
      {Phase::kRecovered, absl::Milliseconds(8500)},
  };
  return script;
}

refreshable::RefreshPolicy ScaledPolicy(int factor) {
  refreshable::RefreshPolicy policy;
  policy.jitter = 0;
  for (absl::Duration* duration :
       {&policy.expiry_margin, &policy.max_stale_window, &policy.min_interval,
        &policy.attempt_timeout, &policy.young_token_age,
        &policy.retry.initial_backoff, &policy.retry.max_backoff,
        &policy.retry.probe_interval, &policy.retry.max_retry_after}) {
    *duration /= factor;
  }
  policy.background_cooldown = absl::Seconds(60) / factor;
  return policy;
}

}  // namespace refreshable_examples
