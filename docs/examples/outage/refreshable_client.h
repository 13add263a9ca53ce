// SPDX-License-Identifier: Apache-2.0
//
// RefreshableClient: the outage example's client that uses this library.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REFRESHABLE_CLIENT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REFRESHABLE_CLIENT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "docs/examples/outage/client.h"
#include "refreshable/call_with_token.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {

class RefreshableClient final : public Client {
 public:
  // `Token` and `Call` wait for a token at most until `timeout` has passed
  // since they were called. `token` must outlive the client.
  RefreshableClient(refreshable::Refreshable<std::string>* token,
                    absl::Duration timeout)
      : token_(token), timeout_(timeout) {}

  absl::StatusOr<Bearer> Token() override {
    absl::StatusOr<refreshable::Lease<std::string>> lease =
        token_->Get(timeout_);
    if (!lease.ok()) return lease.status();
    return BearerOf(*lease);
  }

  absl::Status Call(Send send) override {
    return refreshable::CallWithToken(
               *token_, {timeout_},
               [send](const refreshable::Lease<std::string>& lease) {
                 return send(BearerOf(lease));
               },
               [](bool rejected) { return rejected; })
        .status();
  }

  ClientState state() const override {
    const refreshable::Health health = token_->health();
    return {health.exhausted
                ? "probing"
                : std::string(refreshable::FreshnessName(health.freshness)),
            health.generation.value()};
  }

 private:
  static Bearer BearerOf(const refreshable::Lease<std::string>& lease) {
    return {lease.Share(), lease.expires_at(), lease.generation().value()};
  }

  refreshable::Refreshable<std::string>* const token_;
  const absl::Duration timeout_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REFRESHABLE_CLIENT_H_
