// SPDX-License-Identifier: Apache-2.0
//
// The Shell's statistics and health.

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/health.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {

Stats Shell::stats() const noexcept {
  ForkMutexLock lock(&mutex_);
  Stats stats = trouble_ != nullptr ? trouble_->stats : Stats();
  stats.attempts_started = attempts_started_;
  stats.tokens_published = static_cast<int64_t>(machine_.generation().value());
  return stats;
}

Health Shell::health() noexcept {
  Section section(this);
  const Instant now = Now();
  Health health;
  health.freshness = machine_.freshness(now);
  health.generation = machine_.generation();
  health.expires_at = machine_.expires_at();
  health.rejected = machine_.current_rejected();
  health.refreshing = machine_.refreshing();
  health.failures = machine_.failures();
  health.last_cause = machine_.last_cause();
  health.exhausted = machine_.exhausted(now);
  health.fatal = machine_.fatal(now);
  health.next_attempt = ToWall(now, machine_.next_start(now));
  if (active_ != nullptr) {
    health.waiters =
        static_cast<int64_t>(active_->blocked.size() + active_->async.size());
  }
  return health;
}

void Shell::Count(const Event& event) {
  const auto count = [&](int64_t Stats::*number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                         mutex_) { ++(trouble().stats.*number); };
  switch (event.kind) {
    case EventKind::kAttemptStarted:
      ++attempts_started_;
      break;
    case EventKind::kAttemptFailed:
      count(&Stats::attempts_failed);
      break;
    case EventKind::kAttemptAbandoned:
      count(&Stats::attempts_abandoned);
      break;
    case EventKind::kAttemptDiscarded:
      count(&Stats::attempts_discarded);
      break;
    case EventKind::kTokenInvalidated:
      count(&Stats::tokens_invalidated);
      break;
    case EventKind::kTokenRejected:
      count(&Stats::tokens_rejected);
      break;
    case EventKind::kTokenUnchanged:
      count(&Stats::tokens_unchanged);
      break;
    default:
      break;
  }
}

}  // namespace internal
}  // namespace refreshable
