// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/crowd.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {

using refreshable::BootTime;
using refreshable::Generation;
using refreshable::Instant;
using refreshable::Refreshable;

Crowd::Crowd(Options options, Refreshable<std::string>* token,
             const refreshable::Clock* clock)
    : options_(std::move(options)),
      token_(token),
      clock_(clock),
      members_(options_.threads) {
  for (int member = 0; member < options_.threads; ++member) {
    threads_.emplace_back([this, member] { Live(member); });
  }
}

Crowd::~Crowd() { Stop(); }

void Crowd::Stop() {
  if (threads_.empty()) return;
  stop_.Notify();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Crowd::Live(int member) {
  const Api api = options_.make_api();
  // Spreads the reads of threads that start at the same time.
  absl::Duration pause = options_.pace * member / options_.threads;
  while (!stop_.WaitForNotificationWithTimeout(pause)) {
    Generation withdrawn;
    {
      absl::MutexLock lock(&mu_);
      withdrawn = withdrawn_;
    }
    const Instant asked = clock_->Now();
    const absl::StatusOr<Lease> lease = Read(member);
    Note(lease, asked.wall, withdrawn, member);
    if (lease.ok()) Use(*lease, api, asked.boot, member);
    pause = options_.pace;
  }
}

absl::StatusOr<Crowd::Lease> Crowd::Read(int member) {
  switch (member % 3) {
    case 0:
      return token_->Get();
    case 1:
      return token_->Get(options_.timeout);
    default: {
      absl::Notification called;
      std::optional<absl::StatusOr<Lease>> result;
      token_->GetAsync(absl::InfiniteDuration(),
                       [&](absl::StatusOr<Lease> lease) {
                         result = std::move(lease);
                         called.Notify();
                       });
      called.WaitForNotification();
      return *std::move(result);
    }
  }
}

void Crowd::Note(const absl::StatusOr<Lease>& lease, absl::Time asked,
                 Generation withdrawn, int member) {
  absl::MutexLock lock(&mu_);
  ++book_.reads;
  if (lease.ok()) {
    ++book_.leases;
    last_token_ = lease->token();
    if (lease->expires_at() - options_.margin <= asked) {
      ++book_.handed_out_expired;
    }
    if (lease->generation() <= withdrawn) ++book_.handed_out_withdrawn;
    return;
  }
  ++members_[member].errors;
  if (refreshable::GetRefreshError(lease.status()).has_value()) {
    ++book_.refused;
  } else if (absl::IsDeadlineExceeded(lease.status()) && member % 3 == 1) {
    ++book_.timed_out;
  } else {
    book_.unnamed.push_back(lease.status().ToString());
  }
}

void Crowd::Use(const Lease& lease, const Api& api, BootTime asked,
                int member) {
  const ApiResult result = api(lease.token());
  if (result == ApiResult::kRevoked) token_->Invalidate(lease.generation());
  const absl::Duration under_way = clock_->Now().boot - asked;
  absl::MutexLock lock(&mu_);
  switch (result) {
    case ApiResult::kOk:
      ++book_.ok;
      members_[member].served = lease.expires_at() - options_.token_life;
      break;
    case ApiResult::kExpired:
      ++book_.expired;
      if (under_way <= options_.margin) ++book_.handed_out_late;
      break;
    case ApiResult::kRevoked:
      ++book_.revoked;
      withdrawn_ = std::max(withdrawn_, lease.generation());
      break;
    case ApiResult::kUnreachable:
      ++book_.unreachable;
      break;
    case ApiResult::kRejected:
    case ApiResult::kFailed:
      ++book_.other;
      break;
  }
}

int Crowd::Lacking(const std::function<bool(size_t)>& done,
                   absl::Duration timeout) const {
  int lacking = 0;
  const auto all_done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    lacking = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
      if (!done(i)) ++lacking;
    }
    return lacking == 0;
  };
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(&all_done), timeout);
  return lacking;
}

int Crowd::StillNotRefused(absl::Duration timeout) const {
  std::vector<int64_t> errors;
  {
    absl::MutexLock lock(&mu_);
    for (const Member& member : members_) errors.push_back(member.errors);
  }
  return Lacking(
      [&](size_t i) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return members_[i].errors > errors[i];
      },
      timeout);
}

int Crowd::StillNotServed(absl::Time since, absl::Duration timeout) const {
  return Lacking(
      [&](size_t i) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return members_[i].served >= since;
      },
      timeout);
}

std::string Crowd::last_token() const {
  absl::MutexLock lock(&mu_);
  return last_token_;
}

Crowd::Book Crowd::book() const {
  absl::MutexLock lock(&mu_);
  return book_;
}

}  // namespace refreshable_examples
