// SPDX-License-Identifier: Apache-2.0
//
// These tests check that this library treats expired tokens and a failing token
// endpoint as Conductor's Java SDK does. Each test's name begins with the
// number, C1 to C8, of the property that it tests.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/http_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/rejection.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/parity/parity_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::CausedBy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::IsFatalError;
using ::refreshable_testing::NextAttemptAt;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Not;

constexpr absl::Duration kTick = absl::Nanoseconds(1);

// Under this policy a read makes at most one attempt. The waits after failures
// are 2, 4, 8 and 16 s, and the fifth failure is fatal.
RefreshPolicy ConductorPolicy() {
  RefreshPolicy policy;
  policy.jitter = 0;
  policy.background_refresh = false;
  policy.young_token_age = absl::ZeroDuration();
  policy.retry.initial_backoff = absl::Seconds(2);
  policy.retry.multiplier = 2;
  policy.retry.max_backoff = absl::Seconds(32);
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 5;
  policy.retry.on_exhausted = OnExhausted::kFatal;
  return policy;
}

RefreshPolicy HealingPolicy() {
  RefreshPolicy policy = ConductorPolicy();
  policy.retry.on_exhausted = OnExhausted::kSelfHeal;
  return policy;
}

struct Response {
  int status;
  std::string error;  // The error that the JSON body names, or "".
};

bool IsRejected(const Response& response) {
  return IsTokenError(response.status, response.error,
                      {"EXPIRED_TOKEN", "INVALID_TOKEN"});
}

class ConductorParityTest : public OutageTest {
 protected:
  std::unique_ptr<Token> MakeWithOldToken() {
    auto token = Make(ConductorPolicy());
    EXPECT_TRUE(token->Get().ok());
    executor_.AdvanceBy(absl::Seconds(10));
    return token;
  }

  // Calls a server that answers `rejected` to the tokens in `bad`, and 200 to
  // all others. Returns status -1 if the server was not called.
  Response CallServer(Token& token, std::vector<std::string> bad,
                      Response rejected) {
    const auto response = CallWithToken(
        token, {},
        [&](const Lease<std::string>& lease) {
          requests_.push_back(lease.token());
          for (const std::string& text : bad) {
            if (lease.token() == text) return rejected;
          }
          return Response{200, ""};
        },
        IsRejected);
    return response.ok() ? *response
                         : Response{-1, response.status().ToString()};
  }

  absl::Time WallAt(absl::Duration elapsed) const {
    return ManualExecutor::DefaultStart().wall + elapsed;
  }

  std::vector<std::string> requests_;
};

TEST_F(ConductorParityTest, C1KnownExpiredIsRefreshedInlineBeforeTheCall) {
  const auto token = Make(ConductorPolicy());
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_EQ(CallServer(*token, {}, {}).status, 200);
  AdvanceTo(absl::Hours(1));
  EXPECT_EQ(CallServer(*token, {}, {}).status, 200);
  EXPECT_THAT(requests_, ElementsAre("t1", "t2"));
}

TEST_F(ConductorParityTest, C2TokenErrorsRefreshAndReplayOnce) {
  for (const int status : {401, 403}) {
    for (const char* error : {"EXPIRED_TOKEN", "INVALID_TOKEN"}) {
      requests_.clear();
      source_.Answer("t1", absl::Hours(1));
      source_.Answer("t2", absl::Hours(1));
      const auto token = MakeWithOldToken();
      EXPECT_EQ(CallServer(*token, {"t1"}, {status, error}).status, 200);
      EXPECT_THAT(requests_, ElementsAre("t1", "t2"));
    }
  }
  requests_.clear();
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto token = MakeWithOldToken();
  EXPECT_EQ(CallServer(*token, {"t1", "t2"}, {401, "EXPIRED_TOKEN"}).status,
            401);
  EXPECT_THAT(requests_, ElementsAre("t1", "t2")) << "replayed once";
}

TEST_F(ConductorParityTest, C2AnythingElsePassesThroughUntouched) {
  const auto token = Make(ConductorPolicy());
  source_.Answer("t1", absl::Hours(1));
  const Response others[] = {{401, ""},
                             {403, "NOT_ALLOWED"},
                             {401, "expired_token"},
                             {400, "EXPIRED_TOKEN"},
                             {500, "INVALID_TOKEN"}};
  for (const Response& other : others) {
    const Response response = CallServer(*token, {"t1"}, other);
    EXPECT_EQ(response.status, other.status);
    EXPECT_EQ(response.error, other.error);
  }
  EXPECT_EQ(requests_.size(), 5u);
  EXPECT_THAT(Attempts(), ElementsAre(0));
  static_assert(kMaxErrorBodyBytes == 65536);
}

TEST_F(ConductorParityTest, C2TheTokenEndpointsOwnAnswersAreNotRejections) {
  const auto token = Make(ConductorPolicy());
  source_.Answer(HttpErrorToStatus(401, {}, WallAt(absl::ZeroDuration())));
  EXPECT_EQ(CallServer(*token, {}, {}).status, -1);
  EXPECT_THAT(Attempts(), ElementsAre(0));
  EXPECT_EQ(token->stats().tokens_rejected, 0);
  EXPECT_TRUE(requests_.empty());
}

TEST_F(ConductorParityTest, C3ManyRejectedTogetherCauseOneRefresh) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  const auto token = MakeWithOldToken();
  constexpr int kCalls = 32;
  std::vector<Lease<std::string>> leases;
  for (int i = 0; i < kCalls; ++i) leases.push_back(*token->Get());
  for (const auto& lease : leases) {
    Token::ReadOptions options;
    options.rejected = lease.generation();
    EXPECT_THAT(token->Get(options), HoldsToken("t2"));
  }
  EXPECT_EQ(source_.call_count(), 2u);
}

TEST_F(ConductorParityTest, C4TheSameTokenAgainGivesTheOriginalResponse) {
  source_.Always("t1", absl::Hours(1));
  const auto token = MakeWithOldToken();
  EXPECT_EQ(CallServer(*token, {"t1"}, {403, "INVALID_TOKEN"}).status, 403);
  EXPECT_THAT(requests_, ElementsAre("t1"));
}

TEST_F(ConductorParityTest, C4AFailedRefreshGivesTheOriginalResponse) {
  source_.Answer("t1", absl::Hours(1));
  source_.Answer(absl::UnavailableError("HTTP status 503"));
  const auto token = MakeWithOldToken();
  EXPECT_EQ(CallServer(*token, {"t1"}, {401, "EXPIRED_TOKEN"}).status, 401);
  EXPECT_THAT(requests_, ElementsAre("t1"));
}

TEST_F(ConductorParityTest, C5FailuresAreCountedAcrossCalls) {
  const auto token = Make(ConductorPolicy());
  source_.Always(absl::UnavailableError("HTTP status 502"));
  const double starts[] = {0, 2, 6, 14};
  for (int n = 1; n <= 4; ++n) {
    const absl::Duration next = absl::Seconds(starts[n - 1] + (1 << n));
    const auto says_so =
        AllOf(FailsWith(absl::StatusCode::kUnavailable), AfterFailures(n),
              CausedBy("HTTP status 502"), NextAttemptAt(WallAt(next)));
    AdvanceTo(absl::Seconds(starts[n - 1]));
    EXPECT_THAT(token->Get(), says_so);
    // Before `next` a read fails at once, although its timeout is infinite.
    EXPECT_THAT(token->Get(), says_so);
    AdvanceTo(next - kTick);
    EXPECT_THAT(token->Get(), says_so);
    EXPECT_EQ(Elapsed(), next - kTick);
    EXPECT_EQ(source_.call_count(), static_cast<size_t>(n));
  }
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14));
}

TEST_F(ConductorParityTest, C5TheWaitCountsFromTheStartOfTheLastAttempt) {
  const auto token = Make(ConductorPolicy());
  source_.AlwaysWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        executor_.Suspend(absl::Milliseconds(900));  // The answer takes 900 ms.
        return absl::UnavailableError("HTTP status 502");
      });
  EXPECT_THAT(token->Get(), AfterFailures(1));
  AdvanceTo(absl::Seconds(2) - kTick);
  EXPECT_THAT(token->Get(), AfterFailures(1));
  AdvanceTo(absl::Seconds(2));
  EXPECT_THAT(token->Get(), AfterFailures(2));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2));
}

TEST_F(ConductorParityTest, C5SuccessResetsTheCount) {
  const auto token = Make(ConductorPolicy());
  for (int i = 0; i < 4; ++i) {
    source_.Answer(absl::UnavailableError("HTTP status 502"));
  }
  source_.Answer("t1", absl::Hours(1));
  source_.Always(absl::UnavailableError("HTTP status 502"));
  for (const int start : {0, 2, 6, 14, 30}) {
    AdvanceTo(absl::Seconds(start));
    (void)token->Get();
  }
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  AdvanceTo(absl::Hours(2));
  EXPECT_THAT(token->Get(),
              AllOf(AfterFailures(1), Not(IsFatalError()),
                    NextAttemptAt(WallAt(absl::Hours(2) + absl::Seconds(2)))));
}

TEST_F(ConductorParityTest, C6TheFifthFailureIsFatal) {
  const auto token = Make(ConductorPolicy());
  source_.Always(absl::UnavailableError("HTTP status 502"));
  for (const int start : {0, 2, 6, 14}) {
    AdvanceTo(absl::Seconds(start));
    EXPECT_THAT(token->Get(), Not(IsFatalError()));
  }
  AdvanceTo(absl::Seconds(30));
  // The cause's code is UNAVAILABLE, which a user's retry loop would retry. So
  // the fatal error has another code.
  const auto fatal =
      AllOf(IsFatalError(), FailsWith(absl::StatusCode::kFailedPrecondition),
            AfterFailures(5), CausedBy("HTTP status 502"));
  EXPECT_THAT(token->Get(), fatal);
  EXPECT_TRUE(token->health().fatal);
  AdvanceTo(absl::Hours(24));
  EXPECT_THAT(token->Get(), fatal);
  EXPECT_THAT(token->Get(), fatal);
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30));
  EXPECT_EQ(observer_->count(EventKind::kExhausted), 1) << "told once";
  source_.Always("t1", absl::Hours(1));
  token->Reset();
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
}

// The source decides that a 404 means that no authentication is needed.
TEST_F(ConductorParityTest, C7NoAuthenticationHereIsACredentialForEver) {
  const auto token = Make(ConductorPolicy());
  const auto endpoint = [] { return 404; };
  source_.AlwaysWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        if (endpoint() == 404) {
          return Credential<std::string>("", Expiry::Never());
        }
        return absl::UnavailableError("down");
      });
  EXPECT_EQ(CallServer(*token, {}, {}).status, 200);
  AdvanceTo(absl::Hours(24 * 3650));
  EXPECT_EQ(CallServer(*token, {}, {}).status, 200);
  EXPECT_THAT(requests_, ElementsAre("", ""));
  EXPECT_THAT(Attempts(), ElementsAre(0));
}

// A client starts before its token endpoint. The table compares Conductor's
// SDK, before and after a change, with this library under HealingPolicy().
//
//   before the change   hammers /token       recovers by itself
//   after it            does not hammer      never recovers
//   here                does not hammer      recovers
class ConductorStartParityTest : public ConductorParityTest,
                                 public testing::WithParamInterface<int> {
 protected:
  static constexpr absl::Duration kUp = absl::Seconds(100);
};

TEST_P(ConductorStartParityTest, C8DoesNotHammerAndHeals) {
  EndpointIsDown(absl::UnavailableError("connection refused"), kUp);
  const auto token = Make(HealingPolicy());
  const Readers readers(this, token.get(), GetParam(), absl::Seconds(2));
  AdvanceTo(absl::Minutes(4));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30, 90, 150));
  // The endpoint is up at 100 s, so the next probe succeeds.
  EXPECT_THAT(readers.served_at(), Each(150));
  EXPECT_EQ(observer_->count(EventKind::kExhausted), 1);
  EXPECT_EQ(observer_->count(EventKind::kHealed), 1);
}

TEST_P(ConductorStartParityTest, C8FatalStaysAvailable) {
  EndpointIsDown(absl::UnavailableError("connection refused"), kUp);
  const auto token = Make(ConductorPolicy());
  const Readers readers(this, token.get(), GetParam(), absl::Seconds(2));
  AdvanceTo(absl::Minutes(5));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30));
  EXPECT_THAT(readers.served_at(), Each(-1));
  EXPECT_THAT(readers.last_error(), IsFatalError());
  token->Reset();
  AdvanceTo(absl::Minutes(6));  // The readers read again at 302 s.
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30, 302));
  EXPECT_THAT(readers.served_at(), Each(302));
}

// Only the fifth failure would be fatal, and the endpoint is up before the
// fifth attempt.
TEST_P(ConductorStartParityTest, C8AQuickServerIsMetBeforeAnythingIsFatal) {
  EndpointIsDown(absl::UnavailableError("connection refused"),
                 absl::Seconds(20));
  const auto token = Make(ConductorPolicy());
  const Readers readers(this, token.get(), GetParam(), absl::Seconds(2));
  AdvanceTo(absl::Minutes(4));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30));
  EXPECT_THAT(readers.served_at(), Each(30));
}

INSTANTIATE_TEST_SUITE_P(Readers, ConductorStartParityTest,
                         testing::Values(1, 8, 64));

}  // namespace
}  // namespace refreshable
