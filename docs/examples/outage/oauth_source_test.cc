// SPDX-License-Identifier: Apache-2.0
//
// Tests RequestToken and HttpApi with an OAuthServer on loopback.

#include "docs/examples/outage/oauth_source.h"

#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "docs/examples/outage/http_api.h"
#include "docs/examples/outage/http_server.h"
#include "docs/examples/outage/oauth_server.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/failure_class.h"
#include "refreshable/secret.h"

namespace refreshable_examples {
namespace {

using refreshable::ClassifyFailure;
using refreshable::FailureClass;

constexpr absl::Duration kTimeout = absl::Minutes(1);

class RequestTokenTest : public testing::Test {
 protected:
  void SetUp() override {
    auto http = HttpServer::Start(&server_, /*threads=*/8);
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
  }

  OAuthOptions Options(const std::string& id, const std::string& secret) {
    return {*ParseUrl(http_->token_url()), id, refreshable::Secret(secret),
            "read"};
  }

  OAuthServer server_{{{"me", "s3cret"}, {"a b:%~", "p+q:/&=\xC3\xBC"}},
                      absl::Hours(1),
                      &refreshable::SystemClock::Get()};
  std::unique_ptr<HttpServer> http_;
};

TEST_F(RequestTokenTest, TheTokenOpensTheApi) {
  const auto credential = RequestToken(Options("me", "s3cret"), kTimeout);
  ASSERT_TRUE(credential.ok()) << credential.status();
  EXPECT_EQ(credential->expiry.lifetime(), absl::Hours(1));
  const Api api = HttpApi(*ParseUrl(http_->api_url()), kTimeout);
  EXPECT_EQ(api(credential->token), ApiResult::kOk);
  EXPECT_EQ(api("stolen"), ApiResult::kRejected);
  server_.SetPhase(Phase::kRevoking);
  EXPECT_EQ(api(credential->token), ApiResult::kRevoked);
}

TEST_F(RequestTokenTest, CredentialsMayHoldAnyByte) {
  const auto credential =
      RequestToken(Options("a b:%~", "p+q:/&=\xC3\xBC"), kTimeout);
  EXPECT_TRUE(credential.ok()) << credential.status();
}

TEST_F(RequestTokenTest, AWrongSecretIsPermanentAndNotShown) {
  // The server's error description happens to contain this secret, so the
  // status must not show the description.
  const absl::Status status =
      RequestToken(Options("me", "wrong secret"), kTimeout).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(status.message(), "HTTP status 401, error invalid_client");
}

TEST_F(RequestTokenTest, A502IsTransient) {
  server_.SetPhase(Phase::kBadGateway);
  const absl::Status status =
      RequestToken(Options("me", "s3cret"), kTimeout).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "HTTP status 502");
}

TEST_F(RequestTokenTest, AHangingRequestEndsWithTheHanging) {
  server_.SetPhase(Phase::kHanging);
  absl::Status status;
  std::thread asking([&] {
    status = RequestToken(Options("me", "s3cret"), kTimeout).status();
  });
  server_.AwaitHanging();
  server_.SetPhase(Phase::kRecovered);
  asking.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.outage_requests("me"), 1);
}

TEST_F(RequestTokenTest, TheServerCanBeStoppedWhileARequestHangs) {
  server_.SetPhase(Phase::kHanging);
  absl::Status status;
  const OAuthOptions options = Options("me", "s3cret");
  std::thread asking(
      [&] { status = RequestToken(options, kTimeout).status(); });
  server_.AwaitHanging();
  http_.reset();
  asking.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(RequestTokenTest, AnUnreachableServerIsTransient) {
  const OAuthOptions options = Options("me", "s3cret");
  const Api api = HttpApi(*ParseUrl(http_->api_url()), kTimeout);
  http_.reset();
  const absl::Status status = RequestToken(options, kTimeout).status();
  EXPECT_EQ(ClassifyFailure(status), FailureClass::kTransient);
  EXPECT_EQ(status.message(), "cannot connect");
  EXPECT_EQ(api("any"), ApiResult::kUnreachable);
}

}  // namespace
}  // namespace refreshable_examples
