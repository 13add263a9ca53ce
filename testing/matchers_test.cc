// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/matchers.h"

#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable_testing {
namespace {

using ::refreshable::Event;
using ::refreshable::Freshness;
using ::refreshable::Generation;
using ::refreshable::Health;
using ::refreshable::Lease;
using ::refreshable::ManualExecutor;
using ::refreshable::Refreshable;
using ::refreshable::RefreshError;
using ::refreshable::RefreshPolicy;
using ::refreshable::internal::MakeRefreshError;
using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::StringMatchResultListener;

using LeaseOr = absl::StatusOr<Lease<std::string>>;

const absl::Time kNext = absl::FromUnixSeconds(1767225600);

absl::Status Failed() {
  RefreshError error;
  error.cause = "502";
  error.failures = 3;
  error.next_attempt = kNext;
  return MakeRefreshError(absl::StatusCode::kUnavailable, error);
}

TEST(MatchersTest, T2OfALease) {
  ManualExecutor executor;
  ScriptedSource<std::string> source(&executor.clock());
  RefreshPolicy policy;
  policy.max_stale_on_error = absl::Hours(1);
  auto token =
      *Refreshable<std::string>::Create(source.Share(), {&executor, policy});
  source.Answer("t1", absl::Minutes(10));
  const absl::Time expiry = executor.clock().Now().wall + absl::Minutes(10);
  const LeaseOr lease = token->Get();
  ASSERT_TRUE(lease.ok());

  EXPECT_THAT(lease, HoldsToken("t1"));
  EXPECT_THAT(*lease, HoldsToken("t1"));
  EXPECT_THAT(lease, HoldsToken(StartsWith("t")));
  EXPECT_THAT(lease, Not(HoldsToken("t2")));
  EXPECT_THAT(lease, HasGeneration(1));
  EXPECT_THAT(lease, HasGeneration(lease->generation()));
  EXPECT_THAT(testing::PrintToString(lease), StartsWith("Lease(generation 1"));
  EXPECT_THAT(*lease, Not(HasGeneration(Gt(1u))));
  EXPECT_THAT(lease, ExpiresAt(expiry));
  EXPECT_THAT(lease, Not(ExpiresAt(expiry + absl::Seconds(1))));
  EXPECT_THAT(lease, Not(IsDegraded()));

  source.Always(absl::UnavailableError("502"));
  executor.AdvanceBy(absl::Minutes(10));
  EXPECT_THAT(token->Get(), AllOf(HoldsToken("t1"), IsDegraded()));
}

TEST(MatchersTest, T2NoLeaseMatchesAnError) {
  const LeaseOr error = absl::UnavailableError("502");
  EXPECT_THAT(error, Not(HoldsToken("t1")));
  EXPECT_THAT(error, Not(HasGeneration(1)));
  EXPECT_THAT(error, Not(IsDegraded()));
}

TEST(MatchersTest, S3MismatchesPrintNoToken) {
  ManualExecutor executor;
  ScriptedSource<std::string> source;
  auto token = *Refreshable<std::string>::Create(source.Share(), {&executor});
  source.Answer("s3cret", absl::Minutes(10));
  const testing::Matcher<const LeaseOr&> matcher = HoldsToken("t1");
  StringMatchResultListener listener;
  EXPECT_FALSE(matcher.MatchAndExplain(token->Get(), &listener));
  EXPECT_EQ(listener.str(), "of generation 1");
}

TEST(MatchersTest, T2OfAStatus) {
  EXPECT_THAT(Failed(), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(LeaseOr(Failed()), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Failed(), Not(FailsWith(absl::StatusCode::kAborted)));
  EXPECT_THAT(absl::OkStatus(), Not(FailsWith(absl::StatusCode::kAborted)));
  EXPECT_THAT(Failed(), MessageIs(HasSubstr("502")));
  EXPECT_THAT(Failed(), Not(MessageIs("502")));
}

TEST(MatchersTest, T2OfARefreshError) {
  EXPECT_THAT(Failed(), AllOf(CausedBy("502"), AfterFailures(3),
                              NextAttemptAt(kNext), Not(IsFatalError())));
  EXPECT_THAT(LeaseOr(Failed()), CausedBy(HasSubstr("50")));
  EXPECT_THAT(Failed(), Not(CausedBy("503")));
  EXPECT_THAT(Failed(), Not(AfterFailures(Gt(3))));
  EXPECT_THAT(Failed(), Not(NextAttemptAt(kNext + absl::Seconds(1))));
  EXPECT_THAT(absl::UnavailableError("502"), Not(CausedBy("502")));
  EXPECT_THAT(absl::OkStatus(), Not(AfterFailures(0)));
}

TEST(MatchersTest, T2OfAFatalError) {
  RefreshError error;
  error.fatal = true;
  EXPECT_THAT(MakeRefreshError(absl::StatusCode::kUnavailable, error),
              IsFatalError());
  EXPECT_THAT(absl::UnavailableError("502"), Not(IsFatalError()));
}

Health Failing() {
  Health health;
  health.freshness = Freshness::kStale;
  health.generation = Generation(2);
  health.expires_at = kNext;
  health.failures = 3;
  health.last_cause = absl::UnavailableError("502");
  health.next_attempt = kNext + absl::Minutes(1);
  health.refreshing = true;
  health.waiters = 4;
  return health;
}

TEST(MatchersTest, T2OfHealth) {
  EXPECT_THAT(
      Failing(),
      AllOf(HasFreshness(Freshness::kStale), HasGeneration(2),
            HasGeneration(Generation(2)), ExpiresAt(kNext), IsRefreshing(),
            HasWaiters(4), HasWaiters(Gt(3)), AfterFailures(3), CausedBy("502"),
            NextAttemptAt(kNext + absl::Minutes(1))));
  EXPECT_THAT(
      Health(),
      AllOf(HasFreshness(Freshness::kExpired), Not(HasGeneration(2)),
            Not(ExpiresAt(kNext)), Not(IsRefreshing()), Not(HasWaiters(4)),
            AfterFailures(0), Not(CausedBy("502")), Not(NextAttemptAt(kNext)),
            Not(IsExhausted()), Not(HasGivenUp())));
  Health health = Failing();
  health.exhausted = true;
  EXPECT_THAT(health, AllOf(IsExhausted(), Not(HasGivenUp())));
  health.fatal = true;
  EXPECT_THAT(health, HasGivenUp());
}

TEST(MatchersTest, T2HealthyIsUsableWithoutAFailure) {
  EXPECT_THAT(Failing(), Not(IsHealthy()));
  Health health = Failing();
  health.failures = 0;
  EXPECT_THAT(health, IsHealthy());
  health.freshness = Freshness::kFresh;
  EXPECT_THAT(health, IsHealthy());
  health.freshness = Freshness::kExpired;
  EXPECT_THAT(health, Not(IsHealthy()));
}

TEST(MatchersTest, T2OfAnEvent) {
  Event event;
  event.freshness = Freshness::kFresh;
  EXPECT_THAT(event, HasFreshness(Freshness::kFresh));
  EXPECT_THAT(event, Not(HasFreshness(Freshness::kStale)));
}

template <typename T, typename Matcher>
std::string Mismatch(const T& value, const Matcher& matcher) {
  const ::testing::Matcher<const T&> typed = matcher;
  StringMatchResultListener listener;
  EXPECT_FALSE(typed.MatchAndExplain(value, &listener));
  return ::testing::DescribeMatcher<const T&>(matcher) + "; " + listener.str();
}

template <typename T, typename Matcher>
std::string Described(const Matcher& matcher) {
  return ::testing::DescribeMatcher<const T&>(matcher);
}

TEST(MatchersTest, T2MismatchesOfHealth) {
  EXPECT_EQ(Mismatch(Failing(), HasFreshness(Freshness::kFresh)),
            "has a freshness that is equal to fresh; whose freshness is stale");
  EXPECT_EQ(Mismatch(Failing(), HasWaiters(Gt(4))),
            "has a number of waiters that is > 4; whose number of waiters is "
            "4");
  EXPECT_EQ(Mismatch(Failing(), IsHealthy()),
            "is healthy; whose last attempt failed: UNAVAILABLE: 502");
  EXPECT_EQ(Mismatch(Health(), IsHealthy()),
            "is healthy; which has no usable token");
}

// Regression test: descriptions once left out the expected value.
TEST(MatchersTest, T2EachButThatOfTheTokenSaysWhatIsExpected) {
  const std::string time = absl::FormatTime(kNext);
  EXPECT_EQ(Described<LeaseOr>(HasGeneration(2)),
            "has a generation that is equal to 2");
  EXPECT_EQ(Described<LeaseOr>(HasGeneration(refreshable::Generation(2))),
            "has a generation that is equal to 2");
  EXPECT_EQ(Described<Health>(HasGeneration(Gt(2u))),
            "has a generation that is > 2");
  EXPECT_EQ(Described<LeaseOr>(Not(ExpiresAt(kNext))),
            "does not have an expiry that is equal to " + time);
  EXPECT_EQ(Described<absl::Status>(MessageIs(HasSubstr("502"))),
            "has a message that has substring \"502\"");
  EXPECT_EQ(Described<absl::Status>(CausedBy("502")),
            "has a last cause that is equal to \"502\"");
  EXPECT_EQ(Described<LeaseOr>(AfterFailures(3)),
            "has a number of failures that is equal to 3");
  EXPECT_EQ(Described<LeaseOr>(NextAttemptAt(kNext)),
            "has a time of the next attempt that is equal to " + time);
  EXPECT_EQ(Described<LeaseOr>(HoldsToken("s3cret")),
            "holds the expected token");
}

template <typename T>
std::string Negated(const ::testing::Matcher<T>& matcher) {
  std::ostringstream os;
  matcher.DescribeNegationTo(&os);
  return os.str();
}

TEST(MatchersTest, T2NegatedEachSaysWhatItIsNot) {
  using OfLease = ::testing::Matcher<const LeaseOr&>;
  using OfStatus = ::testing::Matcher<const absl::Status&>;
  using OfHealth = ::testing::Matcher<const Health&>;
  for (const std::string& text :
       {Negated(OfLease(HoldsToken("a"))), Negated(OfLease(HasGeneration(1u))),
        Negated(OfLease(ExpiresAt(kNext))), Negated(OfLease(IsDegraded())),
        Negated(OfStatus(FailsWith(absl::StatusCode::kAborted))),
        Negated(OfStatus(MessageIs("a"))), Negated(OfStatus(CausedBy("a"))),
        Negated(OfStatus(AfterFailures(1))),
        Negated(OfStatus(NextAttemptAt(kNext))),
        Negated(OfStatus(IsFatalError())),
        Negated(OfHealth(HasFreshness(Freshness::kStale))),
        Negated(OfHealth(IsHealthy())), Negated(OfHealth(IsRefreshing())),
        Negated(OfHealth(IsExhausted())), Negated(OfHealth(HasGivenUp())),
        Negated(OfHealth(HasWaiters(1)))}) {
    EXPECT_THAT(text, HasSubstr(" not "));
  }
}

}  // namespace
}  // namespace refreshable_testing
