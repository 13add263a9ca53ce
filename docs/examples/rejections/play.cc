// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/play.h"

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "docs/examples/rejections/servers.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {
namespace {

using refreshable::Lease;
using refreshable::ManualExecutor;
using refreshable::Refreshable;

// The timeout of each read or, with CallWithToken, of the whole call.
constexpr absl::Duration kTimeout = absl::Seconds(30);

bool IsRejected(int status) { return status == 401; }

class Program {
 public:
  Program(const Play& play, OnRejection on_rejection)
      : play_(play),
        on_rejection_(on_rejection),
        servers_(play, &executor_),
        token_(servers_.MakeRefreshable()) {}

  Outcome Run() {
    absl::Duration next_bad = play_.bad_period;
    absl::Duration disturbed_at =
        play_.disturbed_at.value_or(absl::InfiniteDuration());
    for (int i = 0;; ++i) {
      const absl::Duration at = absl::Seconds(i) / play_.callers;
      if (at >= play_.length) break;
      const absl::Duration left = at - servers_.Elapsed();
      // Nobody calls while the computer is suspended.
      if (left < absl::ZeroDuration()) continue;
      executor_.AdvanceBy(left);
      absl::Duration start = at;
      if (at >= disturbed_at) {
        disturbed_at = absl::InfiniteDuration();
        executor_.StepWall(play_.wall_step);
        executor_.Suspend(play_.suspended);
        start += play_.suspended;
      }
      if (at >= next_bad) {
        Call([](Token) { return 401; }, [](int) {});
        next_bad += play_.bad_period;
      }
      Call([this](Token token) { return servers_.Serve(token); },
           [this, start](int status) { servers_.OnGoodCall(start, status); });
    }
    executor_.AdvanceBy(kTimeout);  // Lets waiting reads end.
    return servers_.outcome();
  }

 private:
  // Calls `server` with a token. Then calls `done` with the final HTTP status,
  // or with 0 if nothing was sent.
  template <typename Server, typename Done>
  void Call(Server server, Done done) {
    if (on_rejection_ != OnRejection::kRejectingRead) {
      token_->GetAsync(
          kTimeout, [this, server, done](absl::StatusOr<Lease<Token>> lease) {
            OnLease(server, done, std::move(lease));
          });
      return;
    }
    // All callers share this thread, and CallWithToken blocks it until the
    // endpoint has answered. So CallWithToken is used only if the endpoint
    // answers at once.
    if (play_.answers_after == absl::ZeroDuration()) {
      done(refreshable::CallWithToken(
               *token_, {kTimeout},
               [&](const Lease<Token>& lease) { return server(lease.token()); },
               IsRejected)
               .value_or(0));
      return;
    }
    refreshable::CallWithTokenAsync<int>(
        *token_, {kTimeout},
        [server](Lease<Token> lease, absl::AnyInvocable<void(int)> answer) {
          answer(server(lease.token()));
        },
        IsRejected,
        [done](absl::StatusOr<int> status) { done(status.value_or(0)); });
  }

  // Continues `Call` after the read, except for kRejectingRead.
  template <typename Server, typename Done>
  void OnLease(Server server, Done done, absl::StatusOr<Lease<Token>> lease) {
    const int first = lease.ok() ? server(lease->token()) : 0;
    if (!IsRejected(first) || on_rejection_ == OnRejection::kNothing) {
      return done(first);
    }
    token_->Invalidate(lease->generation());
    token_->GetAsync(kTimeout, [server, done, first](
                                   const absl::StatusOr<Lease<Token>>& second) {
      done(second.ok() ? server(second->token()) : first);
    });
  }

  const Play play_;
  const OnRejection on_rejection_;
  ManualExecutor executor_;
  Servers servers_;
  const std::unique_ptr<Refreshable<Token>> token_;
};

}  // namespace

Outcome PlayThrough(const Play& play, OnRejection on_rejection) {
  return Program(play, on_rejection).Run();
}

}  // namespace refreshable_examples
