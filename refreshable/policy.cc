// SPDX-License-Identifier: Apache-2.0

#include "refreshable/policy.h"

#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace refreshable {
namespace {

std::string Show(absl::Duration value) { return absl::FormatDuration(value); }
std::string Show(double value) { return absl::StrCat(value); }
std::string Show(int value) { return absl::StrCat(value); }
std::string Show(bool value) { return value ? "true" : "false"; }
std::string Show(const std::optional<absl::Duration>& value) {
  return value.has_value() ? Show(*value) : "unset";
}

// `status()` is the error of the first field that violates its rule, or OK.
class Checker {
 public:
  template <typename Value>
  void Require(bool holds, absl::string_view field, const Value& value,
               absl::string_view rule) {
    if (holds || !status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(
        "RefreshPolicy.", field, " is ", Show(value), ", must be ", rule));
  }
  absl::Status status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace

absl::Status Validate(const RefreshPolicy& policy) {
  constexpr absl::Duration kZero = absl::ZeroDuration();
  const absl::Duration infinite = absl::InfiniteDuration();
  const RetryPolicy& retry = policy.retry;
  Checker check;
  check.Require(policy.expiry_margin >= kZero, "expiry_margin",
                policy.expiry_margin, ">= 0");
  if (policy.stale_window.has_value()) {
    check.Require(*policy.stale_window >= kZero, "stale_window",
                  *policy.stale_window, ">= 0");
  }
  check.Require(policy.max_stale_window >= kZero, "max_stale_window",
                policy.max_stale_window, ">= 0");
  check.Require(!policy.refresh_ahead || policy.background_refresh,
                "refresh_ahead", policy.refresh_ahead,
                "false where background_refresh is false");
  if (policy.background_cooldown.has_value()) {
    check.Require(*policy.background_cooldown >= kZero, "background_cooldown",
                  *policy.background_cooldown, ">= 0");
  }
  check.Require(policy.min_interval >= kZero && policy.min_interval < infinite,
                "min_interval", policy.min_interval, ">= 0 and finite");
  check.Require(policy.attempt_timeout > kZero, "attempt_timeout",
                policy.attempt_timeout, "> 0");
  check.Require(policy.max_abandoned_calls >= 1, "max_abandoned_calls",
                policy.max_abandoned_calls, ">= 1");
  check.Require(policy.young_token_age >= kZero, "young_token_age",
                policy.young_token_age, ">= 0");
  check.Require(policy.max_stale_on_error >= kZero &&
                    policy.max_stale_on_error < infinite,
                "max_stale_on_error", policy.max_stale_on_error,
                ">= 0 and finite");
  if (policy.max_rejection_backoff.has_value()) {
    check.Require(*policy.max_rejection_backoff >= retry.initial_backoff &&
                      *policy.max_rejection_backoff < infinite,
                  "max_rejection_backoff", *policy.max_rejection_backoff,
                  ">= retry.initial_backoff and finite");
  }
  // The comparisons of `jitter` and `multiplier` are written such that NaN
  // violates the rule.
  check.Require(policy.jitter >= 0.0 && policy.jitter < 1.0, "jitter",
                policy.jitter, "in [0, 1)");
  check.Require(
      retry.initial_backoff > kZero && retry.initial_backoff < infinite,
      "retry.initial_backoff", retry.initial_backoff, "> 0 and finite");
  check.Require(retry.multiplier >= 1.0 && std::isfinite(retry.multiplier),
                "retry.multiplier", retry.multiplier, ">= 1 and finite");
  check.Require(retry.max_backoff >= retry.initial_backoff &&
                    retry.max_backoff < infinite,
                "retry.max_backoff", retry.max_backoff,
                ">= retry.initial_backoff and finite");
  check.Require(retry.max_retries >= 0, "retry.max_retries", retry.max_retries,
                ">= 0");
  check.Require(retry.max_consecutive_failures > retry.max_retries,
                "retry.max_consecutive_failures",
                retry.max_consecutive_failures,
                absl::StrCat("> retry.max_retries (", retry.max_retries, ")"));
  check.Require(retry.probe_interval > kZero && retry.probe_interval < infinite,
                "retry.probe_interval", retry.probe_interval, "> 0 and finite");
  // If the probe interval were shorter than the longest backoff, attempts would
  // become more frequent after too many failures.
  const absl::Duration longest =
      retry.multiplier > 1.0 ? retry.max_backoff : retry.initial_backoff;
  check.Require(retry.on_exhausted == OnExhausted::kFatal ||
                    retry.probe_interval >= longest,
                "retry.probe_interval", retry.probe_interval,
                absl::StrCat(">= the longest backoff (", Show(longest), ")"));
  check.Require(
      retry.max_retry_after >= kZero && retry.max_retry_after < infinite,
      "retry.max_retry_after", retry.max_retry_after, ">= 0 and finite");
  return check.status();
}

std::ostream& operator<<(std::ostream& os, OnExhausted on_exhausted) {
  return os << (on_exhausted == OnExhausted::kFatal ? "fatal" : "self_heal");
}

std::ostream& operator<<(std::ostream& os, const RetryPolicy& policy) {
  return os << "initial_backoff=" << policy.initial_backoff
            << " multiplier=" << policy.multiplier
            << " max_backoff=" << policy.max_backoff
            << " max_retries=" << policy.max_retries
            << " max_consecutive_failures=" << policy.max_consecutive_failures
            << " on_exhausted=" << policy.on_exhausted
            << " probe_interval=" << policy.probe_interval
            << " max_retry_after=" << policy.max_retry_after;
}

std::ostream& operator<<(std::ostream& os, const RefreshPolicy& policy) {
  return os << "expiry_margin=" << policy.expiry_margin
            << " stale_window=" << Show(policy.stale_window)
            << " max_stale_window=" << policy.max_stale_window
            << " background_refresh=" << Show(policy.background_refresh)
            << " refresh_ahead=" << Show(policy.refresh_ahead)
            << " background_cooldown=" << Show(policy.background_cooldown)
            << " min_interval=" << policy.min_interval
            << " attempt_timeout=" << policy.attempt_timeout
            << " max_abandoned_calls=" << policy.max_abandoned_calls
            << " young_token_age=" << policy.young_token_age
            << " max_rejection_backoff=" << Show(policy.max_rejection_backoff)
            << " max_stale_on_error=" << policy.max_stale_on_error
            << " jitter=" << policy.jitter << ' ' << policy.retry;
}

}  // namespace refreshable
