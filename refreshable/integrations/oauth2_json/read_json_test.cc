// SPDX-License-Identifier: Apache-2.0

#include "refreshable/integrations/oauth2_json/read_json.h"

#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

using Kind = AnswerField::Kind;

void ExpectExpiresIn(absl::string_view body, Kind kind,
                     absl::string_view text) {
  const absl::StatusOr<AnswerFields> fields = ReadJson(body);
  ASSERT_TRUE(fields.ok()) << body;
  EXPECT_EQ(fields->expires_in.kind, kind) << body;
  EXPECT_EQ(fields->expires_in.text.reveal(), text) << body;
}

TEST(ReadJsonTest, KindsOfValues) {
  ExpectExpiresIn("{}", Kind::kAbsent, "");
  ExpectExpiresIn(R"({"expires_in":null})", Kind::kNull, "");
  ExpectExpiresIn(R"({"expires_in":true})", Kind::kOther, "");
  ExpectExpiresIn(R"({"expires_in":{"expires_in":5}})", Kind::kOther, "");
  ExpectExpiresIn(R"({"expires_in":[1,{"expires_in":5}]})", Kind::kOther, "");
  ExpectExpiresIn(R"({"expires_in":"36\u00300"})", Kind::kString, "3600");
  ExpectExpiresIn(R"({"expires_in":3600})", Kind::kNumber, "3600");
  ExpectExpiresIn(R"({"expires_in":-1})", Kind::kNumber, "-1");
  ExpectExpiresIn(R"({"expires_in":3599.50})", Kind::kNumber, "3599.50");
  ExpectExpiresIn(R"({"expires_in":1e400})", Kind::kNumber, "1e400");
  ExpectExpiresIn(R"({"expires_in":18446744073709551615})", Kind::kNumber,
                  "18446744073709551615");
  ExpectExpiresIn(R"({"expires_in":99999999999999999999999})", Kind::kNumber,
                  "99999999999999999999999");
}

TEST(ReadJsonTest, NumbersDoNotDependOnTheLocale) {
  EXPECT_EQ(internal::JsonNumber("3599,50"), "3599.50");
  EXPECT_EQ(internal::JsonNumber("-1,5E-2"), "-1.5E-2");
  EXPECT_EQ(internal::JsonNumber("3599.50"), "3599.50");
  EXPECT_EQ(internal::JsonNumber("1e+30"), "1e+30");
}

TEST(ReadJsonTest, OnlyTheLastMemberOfTheOutermostObjectCounts) {
  ExpectExpiresIn(R"({"expires_in":1,"expires_in":2})", Kind::kNumber, "2");
  ExpectExpiresIn(R"({"a":{"expires_in":1},"b":[{"expires_in":2}]})",
                  Kind::kAbsent, "");
  ExpectExpiresIn(R"({"a":{"expires_in":1,"b":{}},"expires_in":3})",
                  Kind::kNumber, "3");
}

TEST(ReadJsonTest, WhiteSpaceAndByteOrderMark) {
  ExpectExpiresIn("\xEF\xBB\xBF \r\n{ \"expires_in\" :\t7 }\n", Kind::kNumber,
                  "7");
}

TEST(ReadJsonTest, WhatIsNotOneObjectIsRefusedWithoutAQuote) {
  for (const absl::string_view body : {"",
                                       " ",
                                       "null",
                                       "\"s3cr3t\"",
                                       "[]",
                                       "[{\"access_token\":\"s3cr3t\"}]",
                                       "5",
                                       "{",
                                       "{\"access_token\":\"s3cr3t\"",
                                       "{} {}",
                                       "{}s3cr3t",
                                       "{\"access_token\":s3cr3t}",
                                       "{'access_token':'s3cr3t'}",
                                       "{\"a\":1,}",
                                       "{\"a\":NaN}",
                                       "{\"a\":Infinity}",
                                       "{\"a\":01}",
                                       "{\"a\":1e99999}",
                                       "{/* s3cr3t */}",
                                       "<html>s3cr3t</html>",
                                       "{\"a\":\"\xff s3cr3t\"}",
                                       "{\"a\":\"line\nbreak\"}",
                                       "{\"a\":\"\\ud800\"}"}) {
    const absl::StatusOr<AnswerFields> fields = ReadJson(body);
    EXPECT_EQ(fields.status().code(), absl::StatusCode::kInvalidArgument)
        << body;
    EXPECT_FALSE(absl::StrContains(fields.status().message(), "s3cr3t"));
  }
  EXPECT_FALSE(ReadJson(absl::string_view("{}\0", 3)).ok());
}

TEST(ReadJsonTest, DepthIsBounded) {
  const auto nested = [](int depth) {
    return absl::StrCat("{\"a\":", std::string(depth, '['),
                        std::string(depth, ']'), "}");
  };
  EXPECT_TRUE(ReadJson(nested(63)).ok());
  EXPECT_FALSE(ReadJson(nested(64)).ok());
  EXPECT_FALSE(ReadJson(std::string(1 << 20, '[')).ok());
  EXPECT_FALSE(
      ReadJson(absl::StrCat("{\"a\":", std::string(1 << 20, '['))).ok());
}

TEST(ReadJsonTest, TokenOfAWholeAnswer) {
  HttpAnswer answer;
  answer.status = 200;
  answer.body = Secret(
      R"({"access_token":"s3cr3t","token_type":"bearer","expires_in":"3600",)"
      R"("scope":"a b","refresh_token":"r","extra":[1,2,{"x":null}]})");
  const absl::StatusOr<TokenAnswer> token =
      InterpretAnswer(answer, ReadJson(answer.body.reveal()), {});
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(token->credential.token.reveal(), "s3cr3t");
  EXPECT_EQ(token->credential.expiry.lifetime(), absl::Hours(1));
  EXPECT_EQ(token->scope, "a b");

  // If there is an `error`, the token does not count.
  answer.body =
      Secret(R"({"access_token":"s3cr3t","error":"temporarily_unavailable"})");
  EXPECT_EQ(InterpretAnswer(answer, ReadJson(answer.body.reveal()), {})
                .status()
                .code(),
            absl::StatusCode::kUnavailable);
  // A lifetime is cut to 100 years.
  answer.body = Secret(R"({"access_token":"s3cr3t","expires_in":1e400})");
  const auto huge = InterpretAnswer(answer, ReadJson(answer.body.reveal()), {});
  ASSERT_TRUE(huge.ok()) << huge.status();
  EXPECT_GT(huge->credential.expiry.lifetime(), absl::Hours(24 * 365 * 99));
}

// ReadJson must neither crash nor quote the body.
TEST(ReadJsonTest, DamagedBodies) {
  std::mt19937 random(17);
  const std::string good =
      R"({"access_token":"s3cr3t","expires_in":3599.5,"a":[{"b":"\u00e9"}]})";
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string body = good;
    for (unsigned n = random() % 4; n > 0; --n) {
      body[random() % body.size()] = static_cast<char>(random() % 256);
    }
    if (random() % 4 == 0) body.resize(random() % body.size());
    const absl::StatusOr<AnswerFields> fields = ReadJson(body);
    if (fields.ok()) ++accepted;
    EXPECT_FALSE(absl::StrContains(fields.status().message(), "s3"));
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 19000);
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
