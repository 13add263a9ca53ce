// SPDX-License-Identifier: Apache-2.0

#include "refreshable/machine/retry_schedule.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {
namespace {

// The longest cooldown, unless the policy sets `background_cooldown` or a
// longer `min_interval`.
constexpr absl::Duration kLongestCooldown = absl::Seconds(60);

absl::Duration Cooldown(const RefreshPolicy& policy,
                        absl::Duration usable_for) {
  if (policy.background_cooldown.has_value()) {
    return *policy.background_cooldown;
  }
  return std::max(policy.min_interval,
                  std::min(kLongestCooldown, usable_for / 4));
}

}  // namespace

// Draws the wait from a range that does not go beyond `max`. If drawn values
// were cut to `max` instead, many clients would wait for exactly `max`.
absl::Duration Backoff(const RefreshPolicy& policy, int failures,
                       absl::Duration max, Jitter& jitter) {
  const RetryPolicy& retry = policy.retry;
  const absl::Duration wait = std::min(
      max, retry.initial_backoff * std::pow(retry.multiplier, failures - 1));
  const absl::Duration least = wait * (1 - policy.jitter);
  const absl::Duration most = std::min(max, wait * (1 + policy.jitter));
  return least + (most - least) * jitter.Draw();
}

BootTime RetrySchedule::OnStart(BootTime now) {
  interval_exempt_ = false;
  return std::exchange(last_start_, now);
}

RetrySchedule::Since& RetrySchedule::since() {
  if (since_ == nullptr) since_ = std::make_unique<Since>();
  return *since_;
}

void RetrySchedule::OnFailure(const RefreshPolicy& policy, BootTime now,
                              const absl::Status& cause,
                              std::optional<absl::Duration> retry_after,
                              Jitter& jitter) {
  ++since().failures;
  since_->last_cause = cause;
  last_end_ = now;
  DrawWaits(policy, jitter);
  since_->retry_after_until.reset();
  const absl::Duration asked = retry_after.value_or(absl::ZeroDuration());
  if (asked > absl::ZeroDuration()) {
    const absl::Duration longest = policy.retry.max_retry_after;
    since_->retry_after_until =
        now + std::min(asked, longest) * (1 + policy.jitter * jitter.Draw());
    if (asked > longest) {
      since_->retry_after_until =
          std::max(*since_->retry_after_until, since_->backoff_until);
    }
    if (std::max(*since_->retry_after_until, now + policy.min_interval) <
        since_->backoff_until) {
      ++since_->excused;
    }
  }
}

std::optional<absl::Duration> RetrySchedule::OnRejectionFailure(
    const RefreshPolicy& policy, BootTime now,
    std::optional<absl::Duration> retry_after, Jitter& jitter) {
  const absl::Duration asked = retry_after.value_or(absl::ZeroDuration());
  if (asked <= absl::ZeroDuration()) return std::nullopt;
  const absl::Duration delay = std::min(asked, policy.retry.max_retry_after) *
                               (1 + policy.jitter * jitter.Draw());
  since().rejection_retry_after = now + delay;
  return delay;
}

void RetrySchedule::BeginCooldown(const RefreshPolicy& policy, BootTime now,
                                  absl::Duration usable_for) {
  since().cooldown_until = now + Cooldown(policy, usable_for);
}

void RetrySchedule::OnAnswer() { since_ = nullptr; }

void RetrySchedule::OnPublish() {
  failures_before_ = failures();
  excused_before_ = since_ != nullptr ? since_->excused : 0;
}

void RetrySchedule::OnInvalidate(const RefreshPolicy& policy, bool young,
                                 bool attempt_kept, Jitter& jitter) {
  interval_exempt_ = !attempt_kept;
  if (!young) return;
  since().failures += failures_before_ + 1;
  since_->last_cause = absl::UnauthenticatedError(
      "the token was invalidated soon after it was issued");
  since_->excused += excused_before_;
  DrawWaits(policy, jitter);
  if (since_->retry_after_until &&
      *since_->retry_after_until < since_->backoff_until) {
    since_->retry_after_until.reset();
  }
}

void RetrySchedule::OnReset() {
  since_ = nullptr;
  failures_before_ = 0;
  excused_before_ = 0;
}

void RetrySchedule::OnFork(std::optional<BootTime> previous_start) {
  last_start_ = previous_start.value_or(last_start_);
  interval_exempt_ = true;
}

void RetrySchedule::DrawAgain(const RefreshPolicy& policy, Jitter& jitter) {
  if (failures() > 0) DrawWaits(policy, jitter);
}

BootTime RetrySchedule::NextStart(const RefreshPolicy& policy,
                                  bool usable) const {
  const bool exhausted = Exhausted(policy) && !usable;
  if (exhausted && policy.retry.on_exhausted == OnExhausted::kFatal) {
    return BootTime::InfiniteFuture();
  }
  BootTime at = BootTime::InfinitePast();
  if (!interval_exempt_) at = last_start_ + policy.min_interval;
  if (since_ == nullptr) return at;
  at = std::max(at, since_->rejection_retry_after);
  if (since_->failures == 0) return at;
  at = std::max(at, last_end_ + policy.min_interval);
  if (exhausted) {
    at = std::max(at, last_start_ + since_->probe_wait);
    return since_->retry_after_until ? std::max(at, *since_->retry_after_until)
                                     : at;
  }
  return std::max(at,
                  since_->retry_after_until.value_or(since_->backoff_until));
}

void RetrySchedule::DrawWaits(const RefreshPolicy& policy, Jitter& jitter) {
  since_->backoff_until =
      last_start_ +
      Backoff(policy, since_->failures, policy.retry.max_backoff, jitter);
  since_->probe_wait =
      policy.retry.probe_interval * (1 - policy.jitter * jitter.Draw());
}

}  // namespace internal
}  // namespace refreshable
