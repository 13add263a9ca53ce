// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/rivals.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Instant;

absl::Time ExpiryTime(const Expiry& expiry, const Instant& asked_at) {
  return expiry.is_relative() ? asked_at.wall + expiry.lifetime()
                              : expiry.time();
}

}  // namespace

Hammer::Hammer(Mint mint, const refreshable::Clock* clock)
    : mint_(std::move(mint)), clock_(clock) {}

absl::StatusOr<Bearer> Hammer::Token() {
  {
    absl::MutexLock lock(&mu_);
    if (held_.token != nullptr) return held_;
  }
  return MintOne();
}

bool Hammer::OnRejected(const Bearer&) { return MintOne().ok(); }

absl::StatusOr<Bearer> Hammer::MintOne() {
  const Instant start = clock_->Now();
  absl::StatusOr<Credential<std::string>> minted = mint_();
  if (!minted.ok()) return minted.status();
  absl::MutexLock lock(&mu_);
  held_ = {std::make_shared<const std::string>(std::move(minted->token)),
           ExpiryTime(minted->expiry, start), held_.generation + 1};
  return held_;
}

ClientState Hammer::state() const {
  absl::MutexLock lock(&mu_);
  return {held_.token == nullptr ? "no token" : "has token", held_.generation};
}

Lockout::Lockout(Mint mint, const refreshable::Clock* clock,
                 absl::Duration unit, int max_failures)
    : mint_(std::move(mint)),
      clock_(clock),
      unit_(unit),
      max_failures_(max_failures),
      state_{"no token", 0} {}

absl::StatusOr<Bearer> Lockout::Token() {
  absl::MutexLock lock(&mu_);
  if (held_.token == nullptr || rejected_ ||
      held_.expires_at <= clock_->Now().wall) {
    const absl::Status status = Refresh();
    if (!status.ok()) return status;
  }
  return held_;
}

bool Lockout::OnRejected(const Bearer& rejected) {
  absl::MutexLock lock(&mu_);
  // Another thread has already replaced the rejected token.
  if (rejected.generation != held_.generation) return true;
  rejected_ = true;
  return Refresh().ok();
}

absl::Status Lockout::Refresh() {
  if (failures_ >= max_failures_) {
    return absl::FailedPreconditionError(
        absl::StrCat("gave up after ", failures_, " failures in a row"));
  }
  const Instant start = clock_->Now();
  if (failures_ > 0 && start.boot < last_start_ + unit_ * (1 << failures_)) {
    return absl::UnavailableError(
        absl::StrCat(failures_, " failures in a row; not time to retry yet"));
  }
  last_start_ = start.boot;
  absl::StatusOr<Credential<std::string>> minted = mint_();
  if (minted.ok()) {
    failures_ = 0;
    rejected_ = false;
    held_ = {std::make_shared<const std::string>(std::move(minted->token)),
             ExpiryTime(minted->expiry, start), held_.generation + 1};
  } else {
    ++failures_;
  }
  absl::MutexLock lock(&state_mu_);
  state_ = {minted.ok()                  ? "has token"
            : failures_ >= max_failures_ ? "locked out"
                                         : "backs off",
            held_.generation};
  return minted.status();
}

ClientState Lockout::state() const {
  absl::MutexLock lock(&state_mu_);
  return state_;
}

}  // namespace refreshable_examples
