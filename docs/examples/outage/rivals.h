// SPDX-License-Identifier: Apache-2.0
//
// Two typical hand-written clients.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_RIVALS_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_RIVALS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/outage/client.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"

namespace refreshable_examples {

// Requests a token once. May block. Thread-safe.
using Mint =
    std::function<absl::StatusOr<refreshable::Credential<std::string>>()>;

// Has no backoff. Requests a token for each call until it has one, and another
// token after each 401.
class Hammer final : public ReplayingClient {
 public:
  // `clock` must outlive the client.
  Hammer(Mint mint, const refreshable::Clock* clock);

  absl::StatusOr<Bearer> Token() override;
  bool OnRejected(const Bearer& rejected) override;
  ClientState state() const override;

 private:
  absl::StatusOr<Bearer> MintOne();

  const Mint mint_;
  const refreshable::Clock* const clock_;
  mutable absl::Mutex mu_;
  Bearer held_ ABSL_GUARDED_BY(mu_);
};

// Requests a token if it has none, or if its token has expired or was rejected.
// Only one thread at a time requests a token. After n consecutive failures (n >
// 0), the next request starts at least 2^n times `unit` after the start of the
// last request. After `max_failures` consecutive failures the client gives up
// for ever.
class Lockout final : public ReplayingClient {
 public:
  // `clock` must outlive the client.
  Lockout(Mint mint, const refreshable::Clock* clock, absl::Duration unit,
          int max_failures);

  absl::StatusOr<Bearer> Token() override;
  bool OnRejected(const Bearer& rejected) override;
  ClientState state() const override;

 private:
  absl::Status Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Mint mint_;
  const refreshable::Clock* const clock_;
  const absl::Duration unit_;
  const int max_failures_;

  // Guards only `state_`, so that `state()` does not wait for a request. `mu_`
  // is acquired before `state_mu_`.
  mutable absl::Mutex state_mu_;
  // Held during the request, as in typical hand-written clients.
  absl::Mutex mu_;
  Bearer held_ ABSL_GUARDED_BY(mu_);
  bool rejected_ ABSL_GUARDED_BY(mu_) = false;
  int failures_ ABSL_GUARDED_BY(mu_) = 0;
  refreshable::BootTime last_start_ ABSL_GUARDED_BY(mu_) =
      refreshable::BootTime::InfinitePast();
  ClientState state_ ABSL_GUARDED_BY(state_mu_);
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_RIVALS_H_
