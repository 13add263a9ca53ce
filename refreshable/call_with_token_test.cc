// SPDX-License-Identifier: Apache-2.0

#include "refreshable/call_with_token.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable {
namespace {

using ::refreshable_testing::ScriptedSource;
using ::testing::ElementsAre;

using TokenLease = Lease<std::string>;

struct Response {
  int status;
  std::string body;
};

bool Is401(const Response& response) { return response.status == 401; }

class CallWithTokenTest : public testing::Test {
 protected:
  using Token = Refreshable<std::string>;

  CallWithTokenTest() {
    RefreshPolicy policy;
    policy.jitter = 0;
    policy.min_interval = absl::ZeroDuration();
    token_ = *Token::Create(source_.Share(), {&executor_, policy});
  }

  // Plays the server: answers 401 to the tokens in `rejected`, otherwise 200.
  Response Serve(const TokenLease& lease, std::vector<std::string> rejected) {
    calls_.push_back(lease.token());
    for (const std::string& token : rejected) {
      if (lease.token() == token) return {401, "no to " + token};
    }
    return {200, "yes to " + lease.token()};
  }
  absl::StatusOr<Response> Call(std::vector<std::string> rejected,
                                Token::ReadOptions options = {}) {
    return CallWithToken(
        *token_, options,
        [&](const TokenLease& lease) { return Serve(lease, rejected); }, Is401);
  }

  ManualExecutor executor_;
  ScriptedSource<std::string> source_{&executor_.clock()};
  std::vector<std::string> calls_;
  std::shared_ptr<Token> token_;
};

TEST_F(CallWithTokenTest, A4AcceptedIsCalledOnce) {
  source_.Answer("t1", absl::Hours(1));
  const auto response = Call({});
  EXPECT_EQ(response->body, "yes to t1");
  EXPECT_THAT(calls_, ElementsAre("t1"));
  EXPECT_EQ(token_->stats().tokens_invalidated, 0);
}

TEST_F(CallWithTokenTest, A4RejectedIsReplayedOnceWithANewToken) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto response = Call({"t1"});
  EXPECT_EQ(response->body, "yes to t2");
  EXPECT_THAT(calls_, ElementsAre("t1", "t2"));
  EXPECT_EQ(source_.calls()[1].context.rejected(), Generation(1));
}

TEST_F(CallWithTokenTest, A4ASecondRejectionIsTheAnswer) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto response = Call({"t1", "t2"});
  EXPECT_EQ(response->body, "no to t2");
  EXPECT_THAT(calls_, ElementsAre("t1", "t2"));
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(CallWithTokenTest, A4RefreshFailsSoTheCallerGetsTheFirstAnswer) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer(absl::PermissionDeniedError("no more"));
  const auto response = Call({"t1"});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "no to t1");
  EXPECT_THAT(calls_, ElementsAre("t1"));
}

TEST_F(CallWithTokenTest, A4TheSameTokenAgainSoTheCallerGetsTheFirstAnswer) {
  source_.Always("t1", absl::Hours(1));
  const auto response = Call({"t1"});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "no to t1");
  EXPECT_THAT(calls_, ElementsAre("t1"));
}

TEST_F(CallWithTokenTest, A4NoTimeForTheRefreshSoTheCallerGetsTheFirstAnswer) {
  source_.Answer("t1", absl::Hours(1));
  Token::ReadOptions options;
  options.timeout = absl::Seconds(3);
  const auto response = Call({"t1"}, options);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "no to t1");
  EXPECT_EQ(executor_.clock().Now().boot - ManualExecutor::DefaultStart().boot,
            absl::Seconds(3));
}

// One server rejects every token. Calls of other servers must still succeed,
// and only a few tokens may be fetched.
TEST_F(CallWithTokenTest, A4AServerThatRejectsAllDisturbsNobodyElse) {
  RefreshPolicy policy;
  policy.jitter = 0;
  token_ = *Token::Create(source_.Share(), {&executor_, policy});
  int minted = 0;
  source_.AlwaysWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        return Credential<std::string>(absl::StrCat("t", ++minted),
                                       Expiry::In(absl::Hours(1)));
      });
  for (int second = 0; second < 600; ++second) {
    const auto good = Call({});
    ASSERT_TRUE(good.ok() && good->status == 200) << "at " << second;
    const auto bad = CallWithToken(
        *token_, {},
        [](const TokenLease&) {
          return Response{401, "no"};
        },
        Is401);
    ASSERT_TRUE(bad.ok() && bad->status == 401) << bad.status();
    executor_.AdvanceBy(absl::Seconds(1));
  }
  EXPECT_LE(minted, 16);
}

TEST_F(CallWithTokenTest, A4ARejectedReplayIsReported) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto serve = [&](const TokenLease& lease) {
    return Serve(lease, {"t1", "t2"});
  };
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401)->body, "no to t2");
  EXPECT_TRUE(token_->health().rejected);
  EXPECT_EQ(token_->stats().tokens_rejected, 2);
}

TEST_F(CallWithTokenTest, A4OneDeadlineForReadsAndCalls) {
  source_.AlwaysWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        executor_.AdvanceBy(absl::Seconds(1));
        return Credential<std::string>(absl::StrCat("t", source_.call_count()),
                                       Expiry::In(absl::Hours(1)));
      });
  std::vector<absl::Duration> told;
  const auto serve = [&](const TokenLease& lease, absl::Duration left) {
    told.push_back(left);
    executor_.AdvanceBy(absl::Seconds(2));
    return Serve(lease, {"t1"});
  };
  Token::ReadOptions options;
  options.timeout = absl::Seconds(5);
  EXPECT_EQ(CallWithToken(*token_, options, serve, Is401)->body, "yes to t2");
  EXPECT_THAT(told, ElementsAre(absl::Seconds(4), absl::Seconds(1)));
  told.clear();
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401)->status, 200);
  EXPECT_THAT(told, ElementsAre(absl::InfiniteDuration()));
}

TEST_F(CallWithTokenTest, A4NothingLeftStartsARefreshForLaterCalls) {
  source_.Answer("t1", absl::Hours(1));
  ASSERT_TRUE(token_->Get().ok());
  source_.Answer("t2", absl::Hours(1));
  Token::ReadOptions options;
  options.timeout = absl::Seconds(2);
  absl::Status refresh;
  const auto serve = [&](const TokenLease& lease) {
    executor_.AdvanceBy(absl::Seconds(9));  // Longer than the timeout.
    return Serve(lease, {"t1"});
  };
  EXPECT_EQ(CallWithToken(*token_, options, serve, Is401, &refresh)->body,
            "no to t1");
  EXPECT_EQ(refresh.code(), absl::StatusCode::kDeadlineExceeded);
  executor_.RunUntilIdle();
  EXPECT_EQ(source_.call_count(), 2u);
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401, &refresh)->body,
            "yes to t2");
  EXPECT_TRUE(refresh.ok());
  // "t4" is installed during the call, but no time is left for a second call.
  source_.Answer("t3", absl::Hours(1));
  const auto replaced = [&](const TokenLease& lease) {
    EXPECT_TRUE(token_->Install({"t4", Expiry::In(absl::Hours(1))}).ok());
    executor_.AdvanceBy(absl::Seconds(2));
    return Serve(lease, {"t2"});
  };
  EXPECT_EQ(CallWithToken(*token_, options, replaced, Is401)->body, "no to t2");
}

TEST_F(CallWithTokenTest, A4TheRefreshsOwnStatusIsNotHidden) {
  RefreshPolicy policy;
  policy.min_interval = absl::ZeroDuration();
  policy.max_stale_on_error = absl::Hours(1);
  policy.retry.on_exhausted = OnExhausted::kFatal;
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 1;
  token_ = *Token::Create(source_.Share(), {&executor_, policy});
  source_.Answer("t1", absl::Hours(1));
  source_.Always(absl::InvalidArgumentError("invalid_client"));
  const auto serve = [&](const TokenLease& lease) {
    return Serve(lease, {"t1"});
  };
  absl::Status refresh;
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401, &refresh)->status, 401);
  EXPECT_EQ(refresh.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(IsFatal(refresh));
  // The expired token is still served, but refreshing gives up for good.
  executor_.AdvanceBy(absl::Hours(1));
  (void)token_->Get();
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401, &refresh)->status, 401);
  EXPECT_TRUE(IsFatal(refresh)) << refresh;
}

TEST_F(CallWithTokenTest, A4NoTokenAtAllIsAnError) {
  source_.Answer(absl::PermissionDeniedError("revoked"));
  const auto response = Call({});
  EXPECT_EQ(response.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(calls_, ElementsAre());
}

// "t2" is installed during the first call. The second read must return "t2"
// without a refresh.
TEST_F(CallWithTokenTest, A4ATokenReplacedMeanwhileIsNotInvalidated) {
  source_.Answer("t1", absl::Hours(1));
  const auto response = CallWithToken(
      *token_, {},
      [&](const TokenLease& lease) {
        if (lease.token() == "t1") {
          EXPECT_TRUE(token_
                          ->Install(Credential<std::string>(
                              "t2", Expiry::In(absl::Hours(1))))
                          .ok());
        }
        return Serve(lease, {"t1"});
      },
      Is401);
  EXPECT_EQ(response->body, "yes to t2");
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_EQ(token_->stats().tokens_invalidated, 0);
}

TEST_F(CallWithTokenTest, A4AnswersThatCannotBeCopied) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  auto answer = CallWithToken(
      *token_, {},
      [&](const TokenLease& lease) {
        return std::make_unique<Response>(Serve(lease, {"t1"}));
      },
      [](const std::unique_ptr<Response>& answer) { return Is401(*answer); });
  static_assert(std::is_same_v<decltype(answer),
                               absl::StatusOr<std::unique_ptr<Response>>>);
  EXPECT_EQ((*answer)->body, "yes to t2");
  source_.Answer(absl::PermissionDeniedError("no more"));
  answer = CallWithToken(
      *token_, {},
      [&](const TokenLease& lease) {
        return std::make_unique<Response>(Serve(lease, {"t2"}));
      },
      [](const std::unique_ptr<Response>& answer) { return Is401(*answer); });
  EXPECT_EQ((*answer)->body, "no to t2");
}

TEST_F(CallWithTokenTest, A4AnswersThatAreStatusesAreNotWrapped) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto status = CallWithToken(
      *token_, {},
      [&](const TokenLease& lease) {
        return lease.token() == "t1" ? absl::UnauthenticatedError("no")
                                     : absl::OkStatus();
      },
      absl::IsUnauthenticated);
  static_assert(std::is_same_v<std::decay_t<decltype(status)>, absl::Status>);
  EXPECT_TRUE(status.ok()) << status;
  const auto number = CallWithToken(
      *token_, {},
      [&](const TokenLease&) -> absl::StatusOr<int> {
        return absl::NotFoundError("the call's own error");
      },
      [](const absl::StatusOr<int>&) { return false; });
  static_assert(
      std::is_same_v<std::decay_t<decltype(number)>, absl::StatusOr<int>>);
  EXPECT_EQ(number.status().message(), "the call's own error");
}

TEST_F(CallWithTokenTest, A4AnswersThatAreReferencesAreCopied) {
  source_.Answer("t1", absl::Hours(1));
  const Response kept = {200, "kept"};
  const auto response = CallWithToken(
      *token_, {}, [&](const TokenLease&) -> const Response& { return kept; },
      Is401);
  EXPECT_EQ(response->body, "kept");
  EXPECT_NE(&*response, &kept);
}

#ifdef ABSL_HAVE_EXCEPTIONS
TEST_F(CallWithTokenTest, A4WhatIsThrownReachesTheCallerAndNothingSticks) {
  source_.Answer("t1", absl::Hours(1));
  const auto serve = [&](const TokenLease& lease) { return Serve(lease, {}); };
  EXPECT_THROW((void)CallWithToken(*token_, {}, serve,
                                   [](const Response&) -> bool {
                                     throw std::runtime_error("is_rejected");
                                   }),
               std::runtime_error);
  EXPECT_THROW((void)CallWithToken(
                   *token_, {},
                   [](const TokenLease&) -> Response {
                     throw std::runtime_error("call");
                   },
                   Is401),
               std::runtime_error);
  EXPECT_EQ(CallWithToken(*token_, {}, serve, Is401)->body, "yes to t1");
}
#endif

}  // namespace
}  // namespace refreshable
