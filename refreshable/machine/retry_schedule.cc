// SPDX-License-Identifier: Apache-2.0

#include "refreshable/machine/retry_schedule.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {
namespace {

// The longest default cooldown (`RefreshPolicy::background_cooldown`).
constexpr absl::Duration kLongestCooldown = absl::Seconds(60);

// Returns the cooldown after a failed background attempt, if the token remains
// usable for `usable_for`.
absl::Duration Cooldown(const RefreshPolicy& policy,
                        absl::Duration usable_for) {
  if (policy.background_cooldown.has_value()) {
    return *policy.background_cooldown;
  }
  return std::max(policy.min_interval,
                  std::min(kLongestCooldown, usable_for / 4));
}

}  // namespace

// `max` limits the range, and not the drawn value; otherwise many clients would
// wait for exactly `max`.
absl::Duration Backoff(const RefreshPolicy& policy, int failures,
                       absl::Duration max, Jitter& jitter) {
  const RetryPolicy& retry = policy.retry;
  const absl::Duration wait = std::min(
      max, retry.initial_backoff * std::pow(retry.multiplier, failures - 1));
  const absl::Duration least = wait * (1 - policy.jitter);
  const absl::Duration most = std::min(max, wait * (1 + policy.jitter));
  return least + (most - least) * jitter.Draw();
}

void RetrySchedule::OnStart(BootTime now) {
  start_before_ = std::exchange(last_start_, now);
  interval_exempt_ = false;
}

void RetrySchedule::OnFailure(const RefreshPolicy& policy, BootTime now,
                              std::optional<absl::Duration> retry_after,
                              Jitter& jitter) {
  ++failures_;
  last_end_ = now;
  DrawWaits(policy, jitter);
  retry_after_until_.reset();
  const absl::Duration asked = retry_after.value_or(absl::ZeroDuration());
  if (asked > absl::ZeroDuration()) {
    const absl::Duration longest = policy.retry.max_retry_after;
    retry_after_until_ =
        now + std::min(asked, longest) * (1 + policy.jitter * jitter.Draw());
    if (asked > longest) {
      retry_after_until_ = std::max(*retry_after_until_, backoff_until_);
    }
    // The failure is not counted if the server asks for a shorter wait than the
    // computed one.
    if (std::max(*retry_after_until_, now + policy.min_interval) <
        backoff_until_) {
      ++excused_;
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
  rejection_retry_after_ = now + delay;
  return delay;
}

void RetrySchedule::BeginCooldown(const RefreshPolicy& policy, BootTime now,
                                  absl::Duration usable_for) {
  cooldown_until_ = now + Cooldown(policy, usable_for);
}

void RetrySchedule::OnAnswer() {
  failures_ = 0;
  excused_ = 0;
  retry_after_until_.reset();
  rejection_retry_after_ = BootTime::InfinitePast();
  cooldown_until_ = BootTime::InfinitePast();
}

void RetrySchedule::OnPublish() {
  failures_before_ = failures_;
  excused_before_ = excused_;
}

void RetrySchedule::OnInvalidate(const RefreshPolicy& policy, bool young,
                                 bool attempt_kept, Jitter& jitter) {
  interval_exempt_ = !attempt_kept;
  if (!young) return;
  failures_ += failures_before_ + 1;
  excused_ += excused_before_;
  DrawWaits(policy, jitter);
  if (retry_after_until_ && *retry_after_until_ < backoff_until_) {
    retry_after_until_.reset();
  }
}

void RetrySchedule::OnReset() {
  failures_ = 0;
  excused_ = 0;
  failures_before_ = 0;
  excused_before_ = 0;
  retry_after_until_.reset();
  rejection_retry_after_ = BootTime::InfinitePast();
  cooldown_until_ = BootTime::InfinitePast();
}

void RetrySchedule::OnFork(bool running) {
  if (running) last_start_ = start_before_;
  interval_exempt_ = true;
}

void RetrySchedule::DrawAgain(const RefreshPolicy& policy, Jitter& jitter) {
  if (failures_ > 0) DrawWaits(policy, jitter);
}

BootTime RetrySchedule::NextStart(const RefreshPolicy& policy,
                                  bool usable) const {
  const bool exhausted = Exhausted(policy) && !usable;
  if (exhausted && policy.retry.on_exhausted == OnExhausted::kFatal) {
    return BootTime::InfiniteFuture();
  }
  BootTime at = BootTime::InfinitePast();
  if (!interval_exempt_) at = last_start_ + policy.min_interval;
  at = std::max(at, rejection_retry_after_);
  if (failures_ == 0) return at;
  at = std::max(at, last_end_ + policy.min_interval);
  if (exhausted) {
    at = std::max(at, last_start_ + probe_wait_);
    return retry_after_until_ ? std::max(at, *retry_after_until_) : at;
  }
  return std::max(at, retry_after_until_.value_or(backoff_until_));
}

// Draws the computed waits after a failed attempt.
void RetrySchedule::DrawWaits(const RefreshPolicy& policy, Jitter& jitter) {
  backoff_until_ = last_start_ +
                   Backoff(policy, failures_, policy.retry.max_backoff, jitter);
  probe_wait_ =
      policy.retry.probe_interval * (1 - policy.jitter * jitter.Draw());
}

}  // namespace internal
}  // namespace refreshable
