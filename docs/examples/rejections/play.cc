// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/play.h"

#include <algorithm>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Lease;
using refreshable::ManualExecutor;
using refreshable::Refreshable;

// A token is the moment of its issue, in milliseconds.
using Token = std::string;

constexpr absl::Duration kTokenLife = absl::Hours(1);

class Program {
 public:
  Program(const Play& play, OnRejection on_rejection)
      : play_(play), on_rejection_(on_rejection) {
    refreshable::RefreshPolicy policy;
    policy.jitter = 0;
    policy.max_rejection_backoff = play.max_rejection_backoff;
    token_ = *Refreshable<Token>::Create(
        refreshable::BlockingSource<Token>([this] { return Mint(); }),
        {&executor_, policy});
  }

  Outcome Run() {
    absl::Duration next_bad = play_.bad_period;
    for (int second = 0; absl::Seconds(second) < play_.length; ++second) {
      AdvanceTo(absl::Seconds(second));
      if (Elapsed() >= next_bad) {
        Call([](const Token&) { return 401; });
        next_bad += play_.bad_period;
      }
      for (int i = 0; i < play_.callers; ++i) CallGoodServer();
    }
    outcome_.minted_per_hour = static_cast<double>(outcome_.minted) /
                               absl::ToDoubleHours(play_.length);
    return outcome_;
  }

 private:
  absl::Duration Elapsed() const {
    return executor_.clock().Now().since_boot -
           ManualExecutor::DefaultStart().since_boot;
  }
  void AdvanceTo(absl::Duration elapsed) {
    executor_.AdvanceBy(elapsed - Elapsed());
    executor_.RunUntilIdle();
  }

  absl::StatusOr<Credential<Token>> Mint() {
    ++outcome_.minted;
    absl::Duration issued = Elapsed();
    if (play_.mistake_at.has_value()) issued = absl::ZeroDuration();
    if (play_.rotated_at.has_value()) {
      issued =
          issued < *play_.rotated_at ? absl::ZeroDuration() : *play_.rotated_at;
    }
    return Credential<Token>(absl::StrCat(absl::ToInt64Milliseconds(issued)),
                             Expiry::In(kTokenLife));
  }

  // A good server's answer.
  int Serve(const Token& token) {
    int64_t ms = 0;
    if (!absl::SimpleAtoi(token, &ms)) return 400;
    const absl::Duration issued = absl::Milliseconds(ms);
    for (const auto& revoked : {play_.revoked_at, play_.revoked_again_at}) {
      if (revoked.has_value() && Elapsed() >= *revoked && issued < *revoked) {
        return 401;
      }
    }
    if (play_.mistake_at.has_value() && !mistaken_ &&
        Elapsed() >= *play_.mistake_at) {
      mistaken_ = true;
      return 401;
    }
    return Elapsed() - issued < play_.accepted_after ? 401 : 200;
  }

  void CallGoodServer() {
    ++outcome_.good_calls;
    if (Call([this](const Token& token) { return Serve(token); }) == 200) {
      return;
    }
    ++outcome_.failed;
    // What should have been put right since.
    for (const auto& since :
         {play_.rotated_at, play_.revoked_again_at, play_.revoked_at}) {
      if (!since.has_value()) continue;
      if (Elapsed() < *since) {
        if (since == play_.rotated_at) return;  // Nothing can be, before that.
        continue;
      }
      outcome_.healed_after = std::max(outcome_.healed_after,
                                       Elapsed() - *since + absl::Seconds(1));
      return;
    }
  }

  // What the caller gets in the end: an HTTP status, or 0 if nothing was sent.
  template <typename Server>
  int Call(Server server) {
    const auto send = [&](const Lease<Token>& lease) {
      return server(lease.token());
    };
    const auto is_rejected = [](int status) { return status == 401; };
    if (on_rejection_ == OnRejection::kRejectedRead) {
      return refreshable::CallWithToken(*token_, {}, send, is_rejected)
          .value_or(0);
    }
    absl::StatusOr<Lease<Token>> lease = token_->Get();
    if (!lease.ok()) return 0;
    const int first = send(*lease);
    if (!is_rejected(first) || on_rejection_ == OnRejection::kNothing) {
      return first;
    }
    token_->Invalidate(lease->generation());
    lease = token_->Get();
    return lease.ok() ? send(*lease) : first;
  }

  const Play play_;
  const OnRejection on_rejection_;
  ManualExecutor executor_;
  std::unique_ptr<Refreshable<Token>> token_;
  Outcome outcome_;
  bool mistaken_ = false;
};

}  // namespace

Outcome PlayThrough(const Play& play, OnRejection on_rejection) {
  return Program(play, on_rejection).Run();
}

}  // namespace refreshable_examples
