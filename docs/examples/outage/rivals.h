// SPDX-License-Identifier: Apache-2.0
//
// The two usual hand-written clients, as they are met in the wild.

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

// Asks the token endpoint once. May block; thread-safe.
using Mint =
    std::function<absl::StatusOr<refreshable::Credential<std::string>>()>;

// Asks for a token whenever a call has failed: as long as the endpoint is down,
// every call of every thread asks again.
class Hammer final : public ReplayingClient {
 public:
  // The clock must outlive it.
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

// Asks for a token when the one it has is known to have expired or was
// rejected, one thread at a time, and after n failures in a row not before 2^n
// units of time have passed since the last attempt started. After
// `max_failures` of them it gives up: until the program is started again, every
// call fails.
class Lockout final : public ReplayingClient {
 public:
  // The clock must outlive it.
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

  mutable absl::Mutex state_mu_;  // Taken after mu_.
  // Held while the endpoint is asked, which is what such clients do.
  absl::Mutex mu_;
  Bearer held_ ABSL_GUARDED_BY(mu_);
  bool rejected_ ABSL_GUARDED_BY(mu_) = false;
  int failures_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration last_start_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
  ClientState state_ ABSL_GUARDED_BY(state_mu_);
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_RIVALS_H_
