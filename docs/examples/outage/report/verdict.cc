// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/verdict.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace refreshable_examples {
namespace {

// Limits the loop of `Attempts`. No outage here has so many attempts.
constexpr int kMostAttempts = 100'000;

// Returns the shortest time that `policy` allows between the starts of two
// attempts, if the first is the n-th consecutive failure. Assumes that the
// server sent no Retry-After.
absl::Duration ShortestWait(const refreshable::RefreshPolicy& policy, int n) {
  const refreshable::RetryPolicy& retry = policy.retry;
  absl::Duration wait =
      std::min(retry.max_backoff,
               retry.initial_backoff * std::pow(retry.multiplier, n - 1)) *
      (1 - policy.jitter);
  if (n >= retry.max_consecutive_failures) {
    // While the token is usable, the backoff continues. If it is not usable,
    // probes follow. The shorter wait covers both cases.
    wait = std::min(wait, retry.probe_interval * (1 - policy.jitter));
  }
  return std::max(wait, policy.min_interval);
}

// Returns how many attempts can start within `length`, if the first starts at
// once and all fail.
int64_t Attempts(const refreshable::RefreshPolicy& policy,
                 absl::Duration length) {
  int64_t attempts = 1;
  absl::Duration start = ShortestWait(policy, 1);
  while (start <= length && attempts < kMostAttempts) {
    ++attempts;
    start += ShortestWait(policy, static_cast<int>(attempts));
  }
  return attempts;
}

}  // namespace

Promise PromiseOf(const refreshable::RefreshPolicy& policy,
                  absl::Duration outage, absl::Duration revoking) {
  Promise promise;
  promise.requests = Attempts(policy, outage);
  if (revoking > absl::ZeroDuration()) {
    promise.requests += Attempts(policy, revoking);
  }
  promise.recovery = policy.retry.probe_interval + policy.attempt_timeout;
  return promise;
}

std::vector<std::string> BrokenPromises(const Promise& promise,
                                        const Tally& tally,
                                        int64_t outage_requests) {
  std::vector<std::string> broken;
  if (tally.expired_sent > 0) {
    broken.push_back(
        absl::StrCat("an expired token was sent ", tally.expired_sent,
                     tally.expired_sent == 1 ? " time" : " times"));
  }
  if (outage_requests > promise.requests) {
    broken.push_back(absl::StrCat(outage_requests,
                                  " token requests during the outage, the "
                                  "schedule allows ",
                                  promise.requests));
  }
  if (!tally.healed_after.has_value()) {
    broken.push_back("no call succeeded after the endpoint had recovered");
  } else if (*tally.healed_after > promise.recovery) {
    broken.push_back(absl::StrFormat(
        "the first call to succeed came %.2f s after the recovery, %.2f s are "
        "allowed",
        absl::ToDoubleSeconds(*tally.healed_after),
        absl::ToDoubleSeconds(promise.recovery)));
  }
  return broken;
}

}  // namespace refreshable_examples
