// SPDX-License-Identifier: Apache-2.0
//
// Tests the examples of docs/quickstart.md and
// docs/when_the_server_says_401.md.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/rejection.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable_examples {
namespace {

using ::testing::ElementsAre;

// [rejection]
struct Response {
  int status;
  std::string body;
};

// Returns whether `response` is a 401 or 403 with a JSON body whose "error" is
// EXPIRED_TOKEN or INVALID_TOKEN.
bool IsRejected(const Response& response) {
  if (response.body.size() > refreshable::kMaxErrorBodyBytes) return false;
  const auto json = nlohmann::json::parse(response.body, /*cb=*/nullptr,
                                          /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  const auto error = json.find("error");
  if (error == json.end() || !error->is_string()) return false;
  return refreshable::IsTokenError(response.status,
                                   error->get_ref<const std::string&>(),
                                   {"EXPIRED_TOKEN", "INVALID_TOKEN"});
}
// [/rejection]

// A server that rejects "t1". The body shows `left`, the time that is left for
// the call.
Response Send(const std::string& request, const std::string& token,
              absl::Duration left) {
  return {token == "t1" ? 401 : 200,
          request + " " + absl::FormatDuration(left)};
}

// [call]
absl::StatusOr<Response> Fetch(refreshable::Refreshable<std::string>& token,
                               const std::string& request) {
  absl::Status refresh;
  absl::StatusOr<Response> response = refreshable::CallWithToken(
      token, {absl::Seconds(5)},
      [&](const refreshable::Lease<std::string>& lease, absl::Duration left) {
        return Send(request, lease.token(), left);
      },
      [](const Response& response) { return response.status == 401; },
      &refresh);
  if (refreshable::IsFatal(refresh)) return refresh;
  return response;
}
// [/call]

class TokenErrorTest : public ::testing::Test {
 protected:
  // Returns the outcome of a call. The server answers "t1" with `to_first`, and
  // any other token with 200.
  Response Call(Response to_first) {
    source_.Answer("t1", absl::Hours(1));
    source_.Answer("t2", absl::Hours(1));
    refreshable::RefreshPolicy policy;
    policy.min_interval = absl::ZeroDuration();
    const auto token = *refreshable::Refreshable<std::string>::Create(
        source_.Share(), {&executor_, policy});
    sent_.clear();
    const absl::StatusOr<Response> response = refreshable::CallWithToken(
        *token, {absl::Seconds(5)},
        [&](const refreshable::Lease<std::string>& lease) {
          sent_.push_back(lease.token());
          return lease.token() == "t1" ? to_first : Response{200, ""};
        },
        IsRejected);
    return response.ok() ? *response : Response{-1, ""};
  }

  refreshable::ManualExecutor executor_;
  std::vector<std::string> sent_;

 private:
  refreshable_testing::ScriptedSource<std::string> source_;
};

TEST_F(TokenErrorTest, C2ATokenErrorIsReplayedOnce) {
  EXPECT_EQ(Call({403, R"({"error": "INVALID_TOKEN"})"}).status, 200);
  EXPECT_THAT(sent_, ElementsAre("t1", "t2"));
}

TEST(FetchTest, A4IsReplayedWithWhatIsLeftOfItsTime) {
  refreshable::ManualExecutor executor;
  refreshable_testing::ScriptedSource<std::string> source;
  source.Answer("t1", absl::Hours(1));
  source.Answer("t2", absl::Hours(1));
  const auto token = *refreshable::Refreshable<std::string>::Create(
      source.Share(), {&executor});
  ASSERT_TRUE(token->Get().ok());
  executor.AdvanceBy(absl::Minutes(1));
  const absl::StatusOr<Response> response = Fetch(*token, "list");
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "list 5s");
}

class OtherAnswerTest : public TokenErrorTest,
                        public ::testing::WithParamInterface<Response> {};

TEST_P(OtherAnswerTest, C2PassesThroughUntouched) {
  const Response response = Call(GetParam());
  EXPECT_EQ(response.status, GetParam().status);
  EXPECT_EQ(response.body, GetParam().body);
  EXPECT_THAT(sent_, ElementsAre("t1"));
}

// The last answer has a wrong status. The others have a wrong body.
INSTANTIATE_TEST_SUITE_P(
    All, OtherAnswerTest,
    ::testing::Values(
        Response{401, "{}"}, Response{401, R"({"error": "NOT_ALLOWED"})"},
        Response{401, R"({"error": ["EXPIRED_TOKEN"]})"},
        Response{401, R"("EXPIRED_TOKEN")"}, Response{401, "<html>"},
        Response{401, ""},
        Response{401, std::string(refreshable::kMaxErrorBodyBytes, ' ') +
                          R"({"error": "EXPIRED_TOKEN"})"},
        Response{400, R"({"error": "EXPIRED_TOKEN"})"}));

}  // namespace
}  // namespace refreshable_examples
