// SPDX-License-Identifier: Apache-2.0

#include "refreshable/rejection.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

TEST(TokenErrorTest, A6OnlyTheStatusesAndCodes) {
  const std::vector<absl::string_view> codes = {"EXPIRED_TOKEN",
                                                "INVALID_TOKEN"};
  for (int http_status = 100; http_status < 600; ++http_status) {
    const bool token_status = http_status == 401 || http_status == 403;
    EXPECT_EQ(IsTokenError(http_status, "EXPIRED_TOKEN", codes), token_status);
    EXPECT_EQ(IsTokenError(http_status, "INVALID_TOKEN", codes), token_status);
    EXPECT_FALSE(IsTokenError(http_status, "MISSING_PERMISSION", codes));
  }
  for (const char* error : {"", "expired_token", "EXPIRED_TOKEN ",
                            "EXPIRED_TOKENS", "EXPIRED", " EXPIRED_TOKEN"}) {
    EXPECT_FALSE(IsTokenError(401, error, codes)) << error;
  }
  EXPECT_TRUE(IsTokenError(403, "b", {"a", "b"}));
  EXPECT_FALSE(IsTokenError(401, "EXPIRED_TOKEN", {}));
  EXPECT_FALSE(IsTokenError(401, "", {""})) << "no error at all";
}

bool Rejects(absl::string_view www_authenticate) {
  return IsInvalidTokenChallenge(401, {www_authenticate});
}

TEST(ChallengeTest, A6Rfc6750Examples) {
  EXPECT_FALSE(Rejects("Bearer realm=\"example\""));
  EXPECT_TRUE(
      Rejects("Bearer realm=\"example\",\n"
              "                  error=\"invalid_token\",\n"
              "                  error_description=\"The access token "
              "expired\""));
}

TEST(ChallengeTest, A6OnlyStatus401) {
  for (int http_status = 100; http_status < 600; ++http_status) {
    EXPECT_EQ(IsInvalidTokenChallenge(http_status,
                                      {"Bearer error=\"invalid_token\""}),
              http_status == 401);
    EXPECT_EQ(IsInvalidTokenChallenge(
                  http_status, {"Bearer error=\"invalid_token\""},
                  kInvalidTokenErrors, ChallengeStatuses::k401And403),
              http_status == 401 || http_status == 403);
  }
  EXPECT_FALSE(IsInvalidTokenChallenge(
      403, {"Bearer error=\"insufficient_scope\""}, kInvalidTokenErrors,
      ChallengeStatuses::k401And403));
}

TEST(ChallengeTest, A6AllHeaderFieldsCount) {
  const absl::string_view basic = "Basic realm=\"api\"";
  const absl::string_view broken = "Bearer error=\"invalid_token";
  const absl::string_view rejects = "Bearer error=\"invalid_token\"";
  EXPECT_TRUE(IsInvalidTokenChallenge(401, {basic, rejects}));
  EXPECT_TRUE(IsInvalidTokenChallenge(401, {rejects, basic}));
  EXPECT_TRUE(IsInvalidTokenChallenge(401, {broken, basic, rejects}));
  EXPECT_FALSE(IsInvalidTokenChallenge(401, {basic, broken}));
  // A challenge does not continue in the next field.
  EXPECT_FALSE(
      IsInvalidTokenChallenge(401, {"Bearer", "error=\"invalid_token\""}));
  EXPECT_FALSE(IsInvalidTokenChallenge(401, {}));
}

TEST(ChallengeTest, A6TheCallersOwnErrors) {
  const absl::string_view expired = "Bearer error=\"expired_token\"";
  EXPECT_FALSE(IsInvalidTokenChallenge(401, {expired}));
  EXPECT_TRUE(IsInvalidTokenChallenge(401, {expired},
                                      {"invalid_token", "expired_token"}));
  EXPECT_FALSE(IsInvalidTokenChallenge(401, {"Bearer error=\"invalid_token\""},
                                       {"expired_token"}));
  EXPECT_FALSE(IsInvalidTokenChallenge(401, {expired}, {}));
}

TEST(ChallengeTest, A6OtherErrors) {
  for (const char* error :
       {"invalid_request", "insufficient_scope", "", "Invalid_Token",
        "invalid_token ", "xinvalid_token", "invalid_tokens"}) {
    EXPECT_FALSE(Rejects(absl::StrCat("Bearer error=\"", error, "\"")))
        << error;
  }
  EXPECT_FALSE(Rejects("Bearer error_description=\"invalid_token\""));
  EXPECT_FALSE(Rejects("Bearer realm=\"invalid_token\""));
  EXPECT_FALSE(Rejects("Bearer invalid_token"));
  EXPECT_FALSE(Rejects("Bearer error"));
  EXPECT_FALSE(Rejects("Bearer"));
  EXPECT_FALSE(Rejects(""));
  EXPECT_FALSE(Rejects("error=\"invalid_token\"")) << "of no scheme";
}

TEST(ChallengeTest, A6SpellingsOfOneChallenge) {
  for (const char* text : {
           "bearer error=\"invalid_token\"",
           "BEARER ERROR=\"invalid_token\"",
           "Bearer error=invalid_token",
           "Bearer error = \"invalid_token\"",
           "Bearer\terror\t=\tinvalid_token",
           "  Bearer   error=\"invalid_token\"  ",
           "Bearer error=\"invalid_token\",",
           "Bearer error=\"invalid_token\" , ,",
           ", ,Bearer error=\"invalid_token\"",
           "Bearer ,error=\"invalid_token\"",
           "Bearer error=\"invalid\\_token\"",
           "Bearer error=\"\\i\\n\\v\\a\\l\\i\\d_token\"",
           "Bearer realm=\"\", error=\"invalid_token\"",
           "Bearer realm=, error=\"invalid_token\"",
       }) {
    EXPECT_TRUE(Rejects(text)) << text;
  }
}

TEST(ChallengeTest, A6AmongSeveralChallenges) {
  for (const char* text : {
           "Basic realm=\"simple\", Bearer error=\"invalid_token\"",
           "Bearer error=\"invalid_token\", Basic realm=\"simple\"",
           "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\", "
           "Bearer realm=\"x\", error=\"invalid_token\"",
           "Negotiate, Bearer error=\"invalid_token\"",
           "Negotiate a87421000492aa874209af8bc028==, "
           "Bearer error=\"invalid_token\"",
           "Negotiate YWJj/+~-._=, Bearer error=\"invalid_token\"",
           "Negotiate abc, Bearer error=\"invalid_token\"",
           "Bearer realm=\"a\", Bearer error=\"invalid_token\"",
           "Bearer error=\"invalid_token\", Bearer error=\"invalid_request\"",
       }) {
    EXPECT_TRUE(Rejects(text)) << text;
  }
  // The error is in a challenge of another scheme than Bearer.
  for (const char* text : {
           "DPoP error=\"invalid_token\"",
           "Bearer realm=\"a\", DPoP error=\"invalid_token\"",
           "Bearer, Digest error=\"invalid_token\"",
           "XBearer error=\"invalid_token\"",
           "Bearer-ish error=\"invalid_token\"",
       }) {
    EXPECT_FALSE(Rejects(text)) << text;
  }
}

TEST(ChallengeTest, A6QuotedStringsAreOpaque) {
  for (const char* text : {
           "Basic realm=\"Bearer error=invalid_token\"",
           "Basic realm=\"a, Bearer error=invalid_token\"",
           "Basic realm=\"\\\", Bearer error=\\\"invalid_token\\\"\"",
           "Bearer realm=\"\\\\\\\", error=invalid_token\"",
           "Bearer error_description=\", error=\\\"invalid_token\"",
       }) {
    EXPECT_FALSE(Rejects(text)) << text;
  }
  EXPECT_TRUE(Rejects("Basic realm=\"\\\\\", Bearer error=invalid_token"));
}

TEST(ChallengeTest, A6MalformedRejectsNothing) {
  for (const std::string& text : std::vector<std::string>{
           "\"",
           "=",
           "Bearer =invalid_token",
           "Bearer error=\"invalid_token",
           "Bearer error=\"invalid_token\\",
           "Bearer error=\"invalid_token\\\"",
           "Bearer error=\"invalid_token\", realm=\"",
           "Bearer error=\"invalid_token\", \"x\"",
           "Bearer error=\"invalid_token\"; charset=utf-8",
           "Bearer (error=\"invalid_token\")",
           std::string("Bearer\0error=\"invalid_token\"", 28),
           "Bearer\xc3\xa9 error=\"invalid_token\"",
       }) {
    EXPECT_FALSE(Rejects(text)) << text;
  }
}

TEST(ChallengeTest, A6LongInputIsReadOnce) {
  const std::string long_text(1 << 20, 'a');
  EXPECT_FALSE(Rejects(long_text));
  EXPECT_FALSE(Rejects(std::string(1 << 20, ',')));
  EXPECT_FALSE(Rejects(absl::StrCat("Bearer error=\"", long_text)));
  EXPECT_TRUE(Rejects(absl::StrCat("Basic realm=\"", long_text,
                                   "\", Bearer error=invalid_token")));
}

}  // namespace
}  // namespace refreshable
