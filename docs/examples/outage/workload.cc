// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/workload.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace refreshable_examples {

using refreshable::BootTime;
using refreshable::Instant;

namespace {

bool IsRejection(ApiResult result) {
  return result == ApiResult::kExpired || result == ApiResult::kRevoked ||
         result == ApiResult::kRejected;
}

}  // namespace

void Scoreboard::AddCall(bool good, const Instant& end) {
  absl::MutexLock lock(&mu_);
  ++tally_.calls;
  if (!good) {
    ++tally_.failed;
  } else if (recovered_at_.has_value() && !tally_.healed_after.has_value() &&
             end.boot >= *recovered_at_) {
    tally_.healed_after = end.boot - *recovered_at_;
  }
}

void Scoreboard::AddExpiredSent() {
  absl::MutexLock lock(&mu_);
  ++tally_.expired_sent;
}

void Scoreboard::AddRejection(ApiResult result, bool was_expired) {
  absl::MutexLock lock(&mu_);
  if (result == ApiResult::kRevoked) ++tally_.revoked;
  if (result == ApiResult::kExpired && !was_expired) {
    ++tally_.expired_in_transit;
  }
}

void Scoreboard::SetRecovered(const Instant& now) {
  absl::MutexLock lock(&mu_);
  recovered_at_ = now.boot;
}

Tally Scoreboard::tally() const {
  absl::MutexLock lock(&mu_);
  return tally_;
}

void MakeCall(Client& client, const Api& api, const refreshable::Clock& clock,
              Scoreboard& scoreboard) {
  ApiResult result = ApiResult::kFailed;
  const absl::Status sent = client.Call([&](const Bearer& bearer) {
    const bool expired = bearer.expires_at <= clock.Now().wall;
    if (expired) scoreboard.AddExpiredSent();
    result = api(*bearer.token);
    if (IsRejection(result)) scoreboard.AddRejection(result, expired);
    return IsRejection(result);
  });
  scoreboard.AddCall(sent.ok() && result == ApiResult::kOk, clock.Now());
}

Workload::Workload(Options options, Client* client,
                   const refreshable::Clock* clock, Scoreboard* scoreboard) {
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this, options, client, clock, scoreboard, i] {
      const Api api = options.make_api();
      // The calls of the threads are spread over the interval.
      BootTime next =
          clock->Now().boot + options.interval * i / options.threads;
      while (!stop_.WaitForNotificationWithTimeout(
          std::max(next - clock->Now().boot, absl::ZeroDuration()))) {
        MakeCall(*client, api, *clock, *scoreboard);
        next = std::max(next + options.interval, clock->Now().boot);
      }
    });
  }
}

Workload::~Workload() {
  stop_.Notify();
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace refreshable_examples
