// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/oauth_server.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "refreshable/executors/manual_executor.h"

namespace refreshable_examples {
namespace {

constexpr char kGrant[] = "client_credentials";

class OAuthServerTest : public testing::Test {
 protected:
  static std::string Basic(absl::string_view name, absl::string_view secret) {
    return absl::StrCat("Basic ",
                        absl::Base64Escape(absl::StrCat(name, ":", secret)));
  }

  Answer Ask() {
    const Answer answer = server_.Token(Basic("me", "s3cret"), kGrant);
    if (answer.status == 200) {
      tokens_.push_back(nlohmann::json::parse(answer.body)["access_token"]);
    }
    return answer;
  }

  // Uses the `n`th token that `Ask` kept. The first one is token 1.
  Answer Call(int n) {
    return server_.Api(absl::StrCat("Bearer ", tokens_[n - 1]));
  }

  refreshable::ManualExecutor executor_;
  std::vector<std::string> tokens_;
  OAuthServer server_{{{"me", "s3cret"}}, absl::Seconds(4), &executor_.clock()};
};

TEST_F(OAuthServerTest, IssuesTokensThatExpire) {
  const Answer answer = Ask();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(absl::StrContains(answer.body, R"("access_token":"me-1-)"));
  EXPECT_TRUE(absl::StrContains(answer.body, R"("token_type":"Bearer")"));
  EXPECT_TRUE(absl::StrContains(answer.body, R"("expires_in":4)"));
  executor_.AdvanceBy(absl::Seconds(4) - absl::Nanoseconds(1));
  EXPECT_EQ(Call(1).status, 200);
  executor_.AdvanceBy(absl::Nanoseconds(1));
  const Answer expired = Call(1);
  EXPECT_EQ(expired.status, 401);
  EXPECT_TRUE(absl::StrContains(expired.body, R"("error":"invalid_token")"));
  EXPECT_TRUE(absl::StrContains(expired.body, kTokenExpired));
  EXPECT_TRUE(absl::StrContains(expired.www_authenticate,
                                "Bearer error=\"invalid_token\""));
}

TEST_F(OAuthServerTest, RejectsCallsWithoutAGoodToken) {
  EXPECT_EQ(server_.Api("").status, 401);
  EXPECT_EQ(server_.Api("").www_authenticate, "Bearer");
  EXPECT_EQ(server_.Api("Bearer stolen").status, 401);
}

TEST_F(OAuthServerTest, AnswersBadRequestsAsRfc6749Says) {
  const std::string me = Basic("me", "s3cret");
  for (const std::string& stranger :
       {Basic("me", "wrong"), Basic("you", "s3cret"), std::string(),
        std::string("Basic !"), std::string("Basic bWU=")}) {
    const Answer answer = server_.Token(stranger, kGrant);
    EXPECT_EQ(answer.status, 401) << stranger;
    EXPECT_TRUE(absl::StrContains(answer.body, R"("error":"invalid_client")"));
    EXPECT_TRUE(absl::StartsWith(answer.www_authenticate, "Basic"));
  }
  const Answer none = server_.Token(me, "");
  EXPECT_EQ(none.status, 400);
  EXPECT_TRUE(absl::StrContains(none.body, R"("error":"invalid_request")"));
  const Answer other = server_.Token(me, "password");
  EXPECT_EQ(other.status, 400);
  EXPECT_TRUE(
      absl::StrContains(other.body, R"("error":"unsupported_grant_type")"));
}

TEST_F(OAuthServerTest, AnyServerKnowsATokenByWhatItSays) {
  Ask();
  OAuthServer api({}, absl::Seconds(4), &executor_.clock());
  const std::string bearer = absl::StrCat("Bearer ", tokens_[0]);
  EXPECT_EQ(api.Api(bearer).status, 200);
  api.Revoke(tokens_[0]);
  EXPECT_TRUE(absl::StrContains(api.Api(bearer).body, kTokenRevoked));
  Ask();
  EXPECT_EQ(api.Api(absl::StrCat("Bearer ", tokens_[1])).status, 200);
  executor_.AdvanceBy(absl::Seconds(4));
  EXPECT_TRUE(absl::StrContains(
      api.Api(absl::StrCat("Bearer ", tokens_[1])).body, kTokenExpired));
}

TEST_F(OAuthServerTest, BadGatewayIssuesNothingButTheApiGoesOn) {
  Ask();
  server_.SetPhase(Phase::kBadGateway);
  EXPECT_EQ(Ask().status, 502);
  EXPECT_EQ(Call(1).status, 200);
}

TEST_F(OAuthServerTest, RevokesWhatThereIsAndWhatComes) {
  Ask();
  server_.SetPhase(Phase::kRevoking);
  EXPECT_EQ(Ask().status, 200);
  for (const int token : {1, 2}) {
    EXPECT_EQ(Call(token).status, 401);
    EXPECT_TRUE(absl::StrContains(Call(token).body, kTokenRevoked));
  }
  server_.SetPhase(Phase::kRecovered);
  Ask();
  EXPECT_EQ(Call(2).status, 401);
  EXPECT_EQ(Call(3).status, 200);
}

TEST_F(OAuthServerTest, CountsRequestsInTheOutageApart) {
  Ask();
  server_.SetPhase(Phase::kBadGateway);
  Ask();
  server_.SetPhase(Phase::kRevoking);
  Ask();
  server_.SetPhase(Phase::kRecovered);
  Ask();
  EXPECT_EQ(server_.token_requests("me"), 4);
  EXPECT_EQ(server_.outage_requests("me"), 2);
  EXPECT_EQ(server_.token_requests("you"), 0);
  EXPECT_EQ(server_.outage_requests("you"), 0);
}

}  // namespace
}  // namespace refreshable_examples
