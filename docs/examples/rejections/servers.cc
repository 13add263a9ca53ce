// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/servers.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "refreshable/event.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::FetchContext;
using refreshable::FetchDone;
using refreshable::ManualExecutor;
using refreshable::Refreshable;

class Servers::Endpoint final : public refreshable::TokenSource<Token> {
 public:
  explicit Endpoint(Servers* servers) : servers_(servers) {}

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    auto answer = servers_->Mint(context);
    const absl::Duration delay = servers_->play_.answers_after;
    if (delay == absl::ZeroDuration()) {
      done(std::move(answer));
      return;
    }
    servers_->executor_->RunAfter(
        delay, [done = std::move(done), answer = std::move(answer)]() mutable {
          done(std::move(answer));
        });
  }

 private:
  Servers* const servers_;
};

std::unique_ptr<Refreshable<Token>> Servers::MakeRefreshable() {
  refreshable::RefreshPolicy policy;
  policy.jitter = 0;
  policy.max_rejection_backoff = play_.max_rejection_backoff;
  return *Refreshable<Token>::Create(std::make_shared<Endpoint>(this),
                                     {executor_, policy});
}

absl::Duration Servers::Elapsed() const {
  return executor_->clock().Now().boot - ManualExecutor::DefaultStart().boot;
}

absl::StatusOr<Credential<Token>> Servers::Mint(const FetchContext& context) {
  const absl::Duration now = Elapsed();
  const absl::Duration answered = now + play_.answers_after;
  absl::MutexLock lock(&mutex_);
  ++outcome_.asked;
  next_answer_ = answered;
  if (now < not_before_) ++outcome_.too_soon;
  if (Down(now)) {
    if (play_.retry_after == absl::ZeroDuration()) {
      return absl::UnavailableError("HTTP status 503");
    }
    not_before_ = answered + play_.retry_after;
    absl::Status status = absl::ResourceExhaustedError("HTTP status 429");
    refreshable::SetRetryAfter(play_.retry_after, status);
    return status;
  }
  ++outcome_.minted;
  if (context.reason() != refreshable::RefreshReason::kRejected) {
    ++issues_;
    failed_since_ = 0;
  }
  absl::Duration issued = play_.issued_when_asked ? now : answered;
  if (play_.mistake_at.has_value()) issued = absl::ZeroDuration();
  if (play_.rotated_at.has_value()) {
    issued = now < *play_.rotated_at ? absl::ZeroDuration() : *play_.rotated_at;
  }
  return Credential<Token>(issued, Expiry::In(play_.token_life));
}

absl::Duration Servers::NextAnswer() const {
  absl::MutexLock lock(&mutex_);
  return next_answer_;
}

int Servers::Serve(Token issued) {
  const absl::Duration now = Elapsed();
  for (const auto& revoked : {play_.revoked_at, play_.revoked_again_at}) {
    if (revoked.has_value() && now >= *revoked && issued < *revoked) return 401;
  }
  if (play_.mistake_at.has_value()) {
    if (now < *play_.mistake_at) return 200;
    absl::MutexLock lock(&mutex_);
    return std::exchange(mistaken_, true) ? 200 : 401;
  }
  // If `rotated_at` is set, tokens come from a file. The servers accept them at
  // any age.
  if (play_.rotated_at.has_value()) return 200;
  return now - issued < play_.accepted_after || now - issued >= play_.token_life
             ? 401
             : 200;
}

void Servers::OnGoodCall(absl::Duration start, int status) {
  absl::MutexLock lock(&mutex_);
  ++outcome_.good_calls;
  if (status == 200) return;
  ++outcome_.failed;
  ++failed_since_;
  int64_t& most =
      issues_ <= 1 ? outcome_.failed_after_first : outcome_.failed_after_later;
  most = std::max(most, failed_since_);
  // There was no good token to get while the endpoint was down or before
  // `rotated_at`.
  if (Down(start) || start < play_.rotated_at.value_or(start)) return;
  absl::Duration since = -absl::InfiniteDuration();
  for (const auto& moment :
       {play_.revoked_at, play_.revoked_again_at, play_.rotated_at,
        std::optional(play_.down_until)}) {
    if (moment.has_value() && *moment <= start)
      since = std::max(since, *moment);
  }
  if (!play_.revoked_at.has_value() || start < *play_.revoked_at) return;
  outcome_.healed_after =
      std::max(outcome_.healed_after, start - since + absl::Seconds(1));
}

Outcome Servers::outcome() const {
  const double hours = absl::ToDoubleHours(play_.length);
  absl::MutexLock lock(&mutex_);
  Outcome outcome = outcome_;
  outcome.asked_per_hour = static_cast<double>(outcome.asked) / hours;
  outcome.minted_per_hour = static_cast<double>(outcome.minted) / hours;
  return outcome;
}

}  // namespace refreshable_examples
