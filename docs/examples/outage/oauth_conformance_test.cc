// SPDX-License-Identifier: Apache-2.0
//
// Tests OAuthSource over loopback with the conformance suite for token sources.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "docs/examples/outage/http_server.h"
#include "docs/examples/outage/oauth_server.h"
#include "docs/examples/outage/oauth_source.h"
#include "docs/examples/outage/script.h"
#include "docs/examples/outage/url.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/secret.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/token_source_conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {
namespace {

constexpr char kSecret[] = "s3cret";

class OAuthRig final : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  std::shared_ptr<refreshable::TokenSource<std::string>> Make() override {
    return OAuthSource({*ParseUrl(http_->token_url()), "me",
                        refreshable::Secret(kSecret), "read"});
  }

  bool Fail() override {
    server_.SetPhase(Phase::kBadGateway);
    return true;
  }
  bool Stall() override {
    server_.SetPhase(Phase::kHanging);
    return true;
  }
  void AwaitStalled(int calls) override { server_.AwaitHanging(calls); }
  void Heal() override { server_.SetPhase(Phase::kRecovered); }
  std::optional<absl::Duration> Lifetime() override { return kTokenLife; }
  std::vector<std::string> Secrets() override { return {kSecret}; }
  bool HeedsTimeout() override { return true; }

 private:
  OAuthServer server_{
      {{"me", kSecret}}, kTokenLife, &refreshable::SystemClock::Get()};
  const std::unique_ptr<HttpServer> http_ =
      std::move(HttpServer::Start(&server_, /*threads=*/16)).value();
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(OAuth, TokenSourceConformanceTest,
                         testing::Values(TokenSourceSubject{
                             "OAuthSource",
                             [] { return std::make_unique<OAuthRig>(); }}),
                         refreshable_testing::SubjectName());

}  // namespace
}  // namespace refreshable_examples
