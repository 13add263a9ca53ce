// SPDX-License-Identifier: Apache-2.0
//
// Tests OAuthSource: its parser alone, and the source over loopback with the
// server of the outage.

#include "docs/examples/outage/oauth_source.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "docs/examples/outage/http_api.h"
#include "docs/examples/outage/http_server.h"
#include "docs/examples/outage/oauth_server.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/failure_class.h"
#include "refreshable/http_error.h"
#include "refreshable/refresh_error.h"
#include "refreshable/secret.h"

namespace refreshable_examples {
namespace {

using refreshable::ClassifyFailure;
using refreshable::FailureClass;
using refreshable::GetRetryAfter;

constexpr absl::Duration kTimeout = absl::Minutes(1);

auto Read(int status, absl::string_view body,
          const std::vector<refreshable::HttpHeader>& headers = {}) {
  absl::Time now;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-01T00:00:00Z", &now,
                              nullptr));
  return ReadTokenAnswer(status, body, headers, now);
}

FailureClass ClassOf(int status, absl::string_view body) {
  return ClassifyFailure(Read(status, body).status());
}

TEST(ReadTokenAnswerTest, ReadsAToken) {
  const auto credential = Read(
      200, R"({"access_token":"t","token_type":"bearer","expires_in":3600})");
  ASSERT_TRUE(credential.ok()) << credential.status();
  EXPECT_EQ(credential->token, "t");
  EXPECT_TRUE(credential->expiry.is_relative());
  EXPECT_EQ(credential->expiry.lifetime(), absl::Hours(1));
  EXPECT_EQ(
      Read(200, R"({"access_token":"t","expires_in":"90"})")->expiry.lifetime(),
      absl::Seconds(90));
  const auto endless = Read(200, R"({"access_token":"t"})");
  ASSERT_TRUE(endless.ok());
  EXPECT_EQ(endless->expiry.time(), absl::InfiniteFuture());
}

TEST(ReadTokenAnswerTest, AnswersWithoutATokenAreNoCredential) {
  for (const char* body :
       {"", "<html>", "[]", "{}", R"({"access_token":""})",
        R"({"access_token":7})", R"({"access_token":"t","token_type":"mac"})",
        R"({"access_token":"t","expires_in":"soon"})",
        R"({"access_token":"t","expires_in":null})"}) {
    EXPECT_FALSE(Read(200, body).ok()) << body;
  }
}

TEST(ReadTokenAnswerTest, SortsFailures) {
  EXPECT_EQ(ClassOf(429, ""), FailureClass::kThrottled);
  EXPECT_EQ(ClassOf(502, "<html>"), FailureClass::kTransient);
  EXPECT_EQ(ClassOf(400, R"({"error":"temporarily_unavailable"})"),
            FailureClass::kTransient);
  EXPECT_EQ(ClassOf(400, R"({"error":"invalid_scope"})"),
            FailureClass::kPermanent);
  EXPECT_EQ(ClassOf(302, ""), FailureClass::kPermanent);
}

TEST(ReadTokenAnswerTest, PassesRetryAfterOn) {
  EXPECT_EQ(GetRetryAfter(Read(429, "", {{"Retry-After", "7"}}).status()),
            absl::Seconds(7));
  EXPECT_EQ(GetRetryAfter(Read(429, "").status()), std::nullopt);
}

class OAuthSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto http = HttpServer::Start(&server_, /*threads=*/8);
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
  }

  OAuthSource Source(const std::string& id, const std::string& secret) {
    return OAuthSource({*ParseUrl(http_->token_url()), id,
                        refreshable::Secret(secret), "read"});
  }

  OAuthServer server_{{{"me", "s3cret"}, {"a b:%\xC3\xBC", "p+q:/&="}},
                      absl::Hours(1),
                      &refreshable::SystemClock::Get()};
  std::unique_ptr<HttpServer> http_;
};

TEST_F(OAuthSourceTest, TheTokenOpensTheApi) {
  const auto credential = Source("me", "s3cret").Request(kTimeout);
  ASSERT_TRUE(credential.ok()) << credential.status();
  EXPECT_EQ(credential->expiry.lifetime(), absl::Hours(1));
  const Api api = HttpApi(*ParseUrl(http_->api_url()), kTimeout);
  EXPECT_EQ(api(credential->token), ApiResult::kOk);
  EXPECT_EQ(api("stolen"), ApiResult::kRejected);
  server_.SetPhase(Phase::kRevoking);
  EXPECT_EQ(api(credential->token), ApiResult::kRevoked);
}

TEST_F(OAuthSourceTest, CredentialsMayHoldAnyByte) {
  const auto credential = Source("a b:%\xC3\xBC", "p+q:/&=").Request(kTimeout);
  EXPECT_TRUE(credential.ok()) << credential.status();
}

TEST_F(OAuthSourceTest, AWrongSecretIsPermanentAndNotShown) {
  // The server's error description contains the same words as this secret. The
  // status must show neither.
  const absl::Status status =
      Source("me", "wrong secret").Request(kTimeout).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(status.message(), "HTTP status 401, error invalid_client");
}

TEST_F(OAuthSourceTest, A502IsTransient) {
  server_.SetPhase(Phase::kBadGateway);
  const absl::Status status = Source("me", "s3cret").Request(kTimeout).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "HTTP status 502");
}

TEST_F(OAuthSourceTest, AHangingRequestEndsWithTheHanging) {
  server_.SetPhase(Phase::kHanging);
  absl::Status status;
  std::thread asking(
      [&] { status = Source("me", "s3cret").Request(kTimeout).status(); });
  server_.AwaitHanging();
  server_.SetPhase(Phase::kRecovered);
  asking.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.outage_requests("me"), 1);
}

TEST_F(OAuthSourceTest, TheServerCanBeStoppedWhileARequestHangs) {
  server_.SetPhase(Phase::kHanging);
  absl::Status status;
  const OAuthSource source = Source("me", "s3cret");
  std::thread asking([&] { status = source.Request(kTimeout).status(); });
  server_.AwaitHanging();
  http_.reset();
  asking.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(OAuthSourceTest, AnUnreachableServerIsTransient) {
  const OAuthSource source = Source("me", "s3cret");
  const Api api = HttpApi(*ParseUrl(http_->api_url()), kTimeout);
  http_.reset();
  const absl::Status status = source.Request(kTimeout).status();
  EXPECT_EQ(ClassifyFailure(status), FailureClass::kTransient);
  EXPECT_EQ(status.message(), "cannot connect");
  EXPECT_EQ(api("any"), ApiResult::kUnreachable);
}

}  // namespace
}  // namespace refreshable_examples
