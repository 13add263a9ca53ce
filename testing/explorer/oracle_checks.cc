// SPDX-License-Identifier: Apache-2.0
//
// The Oracle's checks of what the Refreshable returns and reports.

#include "absl/strings/str_cat.h"
#include "refreshable/testing/explorer/oracle.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::EventKind;
using refreshable::Health;
using refreshable::Instant;
using refreshable::Stats;

// ---- What the Refreshable returns and reports ----

void Oracle::OnLease(const refreshable::Lease<std::string>& lease, bool late) {
  const Instant now = Now();
  if (lease.token() != token_) {
    Fail(lease.token() == invalidated_
             ? "R9: a withdrawn token was handed out"
             : "F2: a token was handed out that is not the last published");
    return;
  }
  if (lease.generation() != generation_) {
    Fail("F2: a lease names another generation than its publication");
  }
  if (lease.expires_at() != expiry_.wall) {
    Fail("F3: a lease names another expiry than its token has");
  }
  DualDeadline end = usable_until_;
  if (lease.degraded()) {
    if (policy_.max_stale_on_error == absl::ZeroDuration() || failures_ == 0) {
      Fail("B10: a lease is degraded");
    }
    end = DualDeadline{expiry_.wall + policy_.max_stale_on_error,
                       expiry_.boot + policy_.max_stale_on_error};
  }
  if (now.wall >= end.wall || (now.boot >= end.boot && !late)) {
    Fail("R3, R6: an expired token was handed out");
  }
}

void Oracle::CheckHealth(const Health& health) {
  if (health.generation != generation_) {
    Fail("S2: health() names another generation");
  }
  if (health.freshness != Fresh()) {
    Fail(absl::StrCat("R4: health() says ",
                      refreshable::FreshnessName(health.freshness)));
  }
  if (health.rejected != noted_) {
    Fail("A13: health() says wrongly whether the token was rejected");
  }
  if (health.failures != failures_) {
    Fail(absl::StrCat("B6: health() counts ", health.failures,
                      " failures, there were ", failures_));
  }
  if (health.exhausted != Exhausted() ||
      health.fatal != (Exhausted() && Fatal())) {
    Fail("B7: health() says wrongly whether refreshing has given up");
  }
}

void Oracle::CheckStats(const Stats& stats) {
  if (stats.attempts_started != Count(EventKind::kAttemptStarted) ||
      stats.attempts_failed != Count(EventKind::kAttemptFailed) ||
      stats.attempts_abandoned != Count(EventKind::kAttemptAbandoned) ||
      stats.attempts_discarded != Count(EventKind::kAttemptDiscarded) ||
      stats.tokens_published != Count(EventKind::kTokenPublished) ||
      stats.tokens_rejected != Count(EventKind::kTokenRejected) ||
      stats.tokens_unchanged != Count(EventKind::kTokenUnchanged) ||
      stats.tokens_invalidated != Count(EventKind::kTokenInvalidated)) {
    Fail("S1, S2: stats() and the events told differ");
  }
}

}  // namespace schedule
}  // namespace refreshable_testing
