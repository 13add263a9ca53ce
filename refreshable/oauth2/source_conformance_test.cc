// SPDX-License-Identifier: Apache-2.0
//
// Tests the OAuth 2.0 sources with the conformance suite for token sources.

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/oauth2/fake_transport_test_util.h"
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/oauth2/source.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/secret.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/token_source_conformance.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace oauth2 {
namespace {

constexpr absl::Duration kLifetime = absl::Hours(1);

// A server that accepts each refresh token once. In the state kFailing, its
// answers contain the request's body. No absl::Status may show the body.
class Server {
 public:
  enum class State { kWorking, kFailing, kStalled };

  std::shared_ptr<Transport> NewTransport() {
    return BlockingTransport(
        [this](const TokenRequest& request, const SendOptions& options) {
          return Send(request, options);
        });
  }
  void Set(State state) {
    absl::MutexLock lock(&mu_);
    state_ = state;
    changed_.SignalAll();
  }
  void AwaitStalled(int requests) {
    absl::MutexLock lock(&mu_);
    while (stalled_ < requests) changed_.Wait(&mu_);
  }

 private:
  absl::StatusOr<HttpAnswer> Send(const TokenRequest& request,
                                  const SendOptions& options) {
    const absl::Time start = absl::Now();
    absl::MutexLock lock(&mu_);
    ++stalled_;
    changed_.SignalAll();
    while (state_ == State::kStalled && !options.cancelled() &&
           absl::Now() - start < options.timeout) {
      changed_.WaitWithTimeout(&mu_, absl::Milliseconds(1));
    }
    --stalled_;
    if (state_ == State::kStalled) return absl::CancelledError("given up");
    if (state_ == State::kFailing) {
      return Answer(502, absl::StrCat("<html>", request.body.reveal()));
    }
    if (absl::StrContains(request.body.reveal(), "grant_type=refresh_token") &&
        !absl::EndsWith(request.body.reveal(),
                        absl::StrCat("refresh_token=r", last_))) {
      return Answer(400, "error=invalid_grant");
    }
    ++last_;
    return Answer(200, absl::StrCat("access_token=token", last_,
                                    ";token_type=bearer;expires_in=3600;"
                                    "refresh_token=r",
                                    last_));
  }

  absl::Mutex mu_;
  absl::CondVar changed_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kWorking;
  int stalled_ ABSL_GUARDED_BY(mu_) = 0;
  int last_ ABSL_GUARDED_BY(mu_) = 0;
};

class ClientCredentialsRig
    : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  std::shared_ptr<TokenSource<std::string>> Make() override {
    return *CreateSource(OptionsFor(server_.NewTransport()));
  }
  bool Fail() override {
    server_.Set(Server::State::kFailing);
    return true;
  }
  bool Stall() override {
    server_.Set(Server::State::kStalled);
    return true;
  }
  void AwaitStalled(int calls) override { server_.AwaitStalled(calls); }
  void Heal() override { server_.Set(Server::State::kWorking); }
  std::optional<absl::Duration> Lifetime() override { return kLifetime; }
  // "grant_type=" stands for the body of a request.
  std::vector<std::string> Secrets() override {
    return {"s3cret", "grant_type="};
  }
  bool HeedsCancellation() override { return true; }
  bool HeedsTimeout() override { return true; }

 protected:
  Server server_;
};

class RefreshTokenRig final : public ClientCredentialsRig {
 public:
  std::shared_ptr<TokenSource<std::string>> Make() override {
    const auto tokens = *RefreshTokens::Create();
    EXPECT_TRUE(tokens->Install(Secret("r0")).ok());
    SourceOptions options = OptionsFor(server_.NewTransport());
    options.grant = RefreshTokenGrant{tokens};
    return *CreateSource(std::move(options));
  }
  // Most tests of a hanging server make two requests at once, or end a call by
  // cancellation or its timeout. With a refresh token, there is one request at
  // a time, and neither cancellation nor the attempt's timeout ends it. `false`
  // skips those tests, so HeedsCancellation and HeedsTimeout do not matter.
  bool Stall() override { return false; }
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(
    OAuth2, TokenSourceConformanceTest,
    testing::Values(
        TokenSourceSubject{
            "ClientCredentials",
            [] { return std::make_unique<ClientCredentialsRig>(); }},
        TokenSourceSubject{"RefreshToken",
                           [] { return std::make_unique<RefreshTokenRig>(); }}),
    refreshable_testing::SubjectName());

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
