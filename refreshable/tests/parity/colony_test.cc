// SPDX-License-Identifier: Apache-2.0
//
// These tests check that this library treats a failing token endpoint as the
// Colony Python SDK does. Each test's name begins with the number, L1 to L8, of
// the property that it tests.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/failure_class.h"
#include "refreshable/http_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/tests/parity/parity_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AfterFailures;
using ::refreshable_testing::CausedBy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;

// The policy's waits are 2, 4, 8, 16, 32 and 60 s.
RefreshPolicy ColonyPolicy() {
  RefreshPolicy policy;
  policy.jitter = 0;
  policy.retry.initial_backoff = absl::Seconds(2);
  policy.retry.multiplier = 2;
  policy.retry.max_backoff = absl::Seconds(60);
  policy.retry.max_retries = 6;
  policy.retry.max_consecutive_failures = 7;
  return policy;
}

class ColonyParityTest : public OutageTest {
 protected:
  absl::Status Http(int status, std::vector<HttpHeader> headers = {}) const {
    return HttpErrorToStatus(status, headers, executor_.clock().Now().wall);
  }
};

TEST_F(ColonyParityTest, L1TheBudgetAndItsWaits) {
  const auto token = Make(ColonyPolicy());
  source_.Always(Http(502));
  EXPECT_THAT(token->Get(), AfterFailures(7));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14, 30, 62, 122));
  EXPECT_EQ(Elapsed(), absl::Seconds(122));
}

TEST_F(ColonyParityTest, L2ThreeFailuresAndThenAToken) {
  const auto token = Make(ColonyPolicy());
  for (int i = 0; i < 3; ++i) source_.Answer(Http(502));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(Attempts(), ElementsAre(0, 2, 6, 14));
}

TEST_F(ColonyParityTest, L3AlwaysFailingSurfacesAfterSevenAttempts) {
  const auto token = Make(ColonyPolicy());
  source_.Always(Http(502));
  EXPECT_THAT(token->Get(),
              AllOf(FailsWith(absl::StatusCode::kUnavailable), AfterFailures(7),
                    CausedBy("HTTP status 502")));
  EXPECT_EQ(source_.call_count(), 7u);
  // Nobody reads, so no attempt is made.
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_EQ(source_.call_count(), 7u);
}

TEST_F(ColonyParityTest, L4ZeroRetriesAreOneAttempt) {
  RefreshPolicy policy = ColonyPolicy();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);
  source_.Always(Http(502));
  EXPECT_THAT(token->Get(), AfterFailures(1));
  EXPECT_THAT(Attempts(), ElementsAre(0));
  EXPECT_EQ(Elapsed(), absl::ZeroDuration());
}

TEST_F(ColonyParityTest, L5OnlyTheFourStatusesAreRetried) {
  for (const int status :
       {400, 401, 403, 404, 408, 429, 500, 501, 502, 503, 504, 505}) {
    const bool retried =
        status == 429 || status == 502 || status == 503 || status == 504;
    const size_t before = source_.call_count();
    const auto token = Make(ColonyPolicy());
    source_.Always(Http(status));
    EXPECT_FALSE(token->Get().ok());
    EXPECT_EQ(source_.call_count() - before, retried ? 7u : 1u) << status;
  }
}

TEST_F(ColonyParityTest, L5NetworkErrorsAreNotRetriedUnlessSaidSo) {
  const absl::Status reset = absl::UnknownError("connection reset by peer");
  source_.Always(reset);
  const auto token = Make(ColonyPolicy());
  EXPECT_THAT(token->Get(), AfterFailures(1));
  EXPECT_EQ(source_.call_count(), 1u);
  Token::Options options;
  options.executor = &executor_;
  options.policy = ColonyPolicy();
  options.classify = [](const absl::Status& status) {
    return absl::IsUnknown(status) ? FailureClass::kTransient
                                   : ClassifyFailure(status);
  };
  const auto tolerant = *Token::Create(source_.Share(), options);
  EXPECT_THAT(tolerant->Get(), AfterFailures(7));
  EXPECT_EQ(source_.call_count(), 8u);
}

TEST_F(ColonyParityTest, L6RetryAfterReplacesTheComputedWait) {
  const auto token = Make(ColonyPolicy());
  source_.Answer(Http(503, {{"Retry-After", "7"}}));
  source_.Answer(Http(429, {{"Retry-After", "1"}}));
  source_.Answer(Http(503, {{"Retry-After", "0"}}));
  source_.Answer(Http(503));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  // A Retry-After of zero counts as absent.
  EXPECT_THAT(Attempts(), ElementsAre(0, 7, 8, 16, 32));
}

TEST_F(ColonyParityTest, L6RetryAfterAsADate) {
  const auto token = Make(ColonyPolicy());
  // Only the difference between the two dates counts.
  source_.Answer(Http(503, {{"Date", "Sun, 06 Nov 1994 08:49:37 GMT"},
                            {"Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"}}));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(Attempts(), ElementsAre(0, 60));
}

TEST_F(ColonyParityTest, L6RetryAfterIsCappedByPolicy) {
  const auto token = Make(ColonyPolicy());
  source_.Answer(Http(503, {{"Retry-After", "86400"}}));
  source_.Answer(Http(503, {{"Retry-After", "99999999999999999999"}}));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  EXPECT_THAT(Attempts(), ElementsAre(0, 300, 600));
}

TEST_F(ColonyParityTest, L7TheBudgetOfOneCall) {
  Token::ReadOptions once;
  once.max_retries = 0;
  Token::ReadOptions twice;
  twice.max_retries = 2;
  source_.Always(Http(502));
  {
    const auto token = Make(ColonyPolicy());
    EXPECT_THAT(token->Get(once), AfterFailures(1));
    EXPECT_THAT(Attempts(), ElementsAre(0));
  }
  const auto token = Make(ColonyPolicy());
  EXPECT_THAT(token->Get(twice), AfterFailures(3));
  EXPECT_EQ(source_.call_count(), 4u);
  EXPECT_EQ(Elapsed(), absl::Seconds(6));
  // Later reads continue the policy's schedule where it was left.
  EXPECT_THAT(token->Get(once), AfterFailures(3));
  EXPECT_EQ(source_.call_count(), 4u) << "no wait between calls is shortened";
  AdvanceTo(absl::Seconds(14));
  EXPECT_THAT(token->Get(), AfterFailures(7));
  EXPECT_EQ(Elapsed(), absl::Seconds(122));
}

// All readers share one schedule, and have a token at most one probe interval
// after the outage.
class ColonyOutageParityTest : public ColonyParityTest,
                               public testing::WithParamInterface<int> {};

TEST_P(ColonyOutageParityTest, L8AnHourOf502) {
  EndpointIsDown(Http(502), absl::Hours(1));
  const auto token = Make(ColonyPolicy());
  const Readers readers(this, token.get(), GetParam(), absl::Seconds(10));
  AdvanceTo(absl::Minutes(65));
  std::vector<double> expected = {0, 2, 6, 14, 30, 62, 122};
  for (double probe = 182; probe <= 3602; probe += 60) {
    expected.push_back(probe);
  }
  EXPECT_EQ(Attempts(), expected);
  EXPECT_EQ(expected.back(), 3602);  // The endpoint is back at 3600.
  EXPECT_THAT(readers.served_at(), Each(3602));
  // The readers fail together at 122 s, and then every 10 s up to 3592 s.
  EXPECT_EQ(readers.errors(), 348 * GetParam());
  EXPECT_EQ(observer_->count(EventKind::kExhausted), 1);
  EXPECT_EQ(observer_->count(EventKind::kHealed), 1);
  EXPECT_EQ(token->stats().attempts_started, 65);
}

// At the start there is a token. No read fails before that token expires.
TEST_P(ColonyOutageParityTest, L8AnHourOf502WithATokenAtItsStart) {
  const auto token = Make(ColonyPolicy());
  source_.Answer("t0", absl::Minutes(30));
  EXPECT_THAT(token->Get(), HoldsToken("t0"));
  EndpointIsDown(Http(502), absl::Hours(1));
  const Readers readers(this, token.get(), GetParam(), absl::Seconds(10));
  const auto usable_until = absl::Minutes(30) - absl::Seconds(40);
  AdvanceTo(usable_until - absl::Nanoseconds(1));
  EXPECT_EQ(readers.errors(), 0);
  EXPECT_THAT(token->TryGet(), HoldsToken("t0"));
  // The token is stale at 900 s. After a failure the next attempt waits a
  // minute, first for `background_cooldown`, later for the backoff.
  std::vector<double> expected = {0};
  for (double start = 900; start < 1760; start += 60) {
    expected.push_back(start);
  }
  EXPECT_EQ(Attempts(), expected);
  AdvanceTo(absl::Minutes(65));
  // At 1760 s the token is no longer usable, and refreshing is exhausted. There
  // is still only one attempt per minute.
  for (double probe = 1800; probe <= 3600; probe += 60) {
    expected.push_back(probe);
  }
  EXPECT_EQ(Attempts(), expected);
  EXPECT_THAT(token->TryGet(), HoldsToken("token"));
}

INSTANTIATE_TEST_SUITE_P(Readers, ColonyOutageParityTest,
                         testing::Values(1, 8, 64));

}  // namespace
}  // namespace refreshable
