// SPDX-License-Identifier: Apache-2.0
//
// Tests a Refreshable that 64 threads use while its token endpoint fails.
// FaultsFixture::TearDown checks what must hold in every test.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "docs/examples/fault_injection/counted_source.h"
#include "docs/examples/fault_injection/fault.h"
#include "docs/examples/fault_injection/fault_injection_test_util.h"
#include "gtest/gtest.h"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {
namespace {

constexpr char kNoAnswer[] = "no answer in time, or the connection was closed";
constexpr char kThrottled[] = "HTTP status 429";
constexpr char kTooLong[] =
    "HTTP status 200, but the body is longer than 65536 bytes";

class FaultsTest : public FaultsFixture {
 protected:
  // Expects that no call came within the wait that a 429 asked for. A 429 that
  // came after its attempt was abandoned starts no wait.
  void ExpectRetryAfterHeeded() {
    const std::vector<CountedSource::Call> calls = source().calls();
    for (size_t i = 0; i + 1 < calls.size(); ++i) {
      if (!absl::IsResourceExhausted(calls[i].status)) continue;
      EXPECT_EQ(refreshable::GetRetryAfter(calls[i].status), kRetryAfter);
      if (!calls[i].in_time) continue;
      EXPECT_GE(calls[i + 1].start, calls[i].end + kRetryAfter);
    }
  }
};

TEST_F(FaultsTest, B8HealsFromAnEndpointThatIsKilled) {
  Begin(endpoint().token_url());
  Outage([&] { Kill(); }, [&] { ASSERT_TRUE(endpoint().StartAgain().ok()); },
         "cannot connect");
}

TEST_F(FaultsTest, B8HealsFromAnEndpointThatIsStopped) {
  Begin(endpoint().token_url());
  Outage([&] { endpoint().Stop(); }, [&] { endpoint().Continue(); }, kNoAnswer);
}

// Every call of the source hangs while the endpoint is stopped. The third of
// these calls comes at least a probe interval after the second. The minimum
// wait doubles with each further call.
TEST_F(FaultsTest, F6ASourceThatNeverGivesUpHoldsFewCalls) {
  exact_schedule_ = false;
  Begin(endpoint().token_url(), /*timeout=*/kForEver);
  Outage([&] { endpoint().Stop(); },
         [&] {
           // `first` and all later calls hang until the endpoint continues.
           const auto calls = source().calls();
           const auto first =
               std::find_if(calls.begin(), calls.end(),
                            [](const auto& call) { return !call.ended; });
           EXPECT_GE(calls.end() - first, 2);
           // `wait` is the sum of the minimum waits up to the call that is
           // checked.
           const absl::Duration once = FaultsPolicy().retry.probe_interval;
           absl::Duration wait = once;
           for (auto call = first; calls.end() - call > 2; ++call) {
             EXPECT_GE((call + 2)->start - first->start, wait);
             wait = 2 * wait + once;
           }
           endpoint().Continue();
         },
         kNoAnswer, /*failures=*/0);
  EXPECT_GE(token().stats().attempts_abandoned, 2);
}

TEST_F(FaultsTest, B8HealsFromAnEndpointThatTrickles) {
  Begin(endpoint().token_url());
  Outage(Fault::kTrickle, "no end of the answer in time");
}

TEST_F(FaultsTest, B8HealsFromAnswersThatAreCut) {
  Begin(endpoint().token_url());
  Outage(Fault::kCut, kNoAnswer);
}

TEST_F(FaultsTest, B8HealsFromGarbage) {
  Begin(endpoint().token_url());
  Outage(Fault::kGarbage, "HTTP status 200, but the body is not a JSON object");
}

TEST_F(FaultsTest, F5HealsFromTokensThatHaveExpired) {
  Begin(endpoint().token_url());
  Outage(Fault::kExpired, "an expired token");
}

TEST_F(FaultsTest, B2WaitsAsManySecondsAsItIsAskedTo) {
  Begin(endpoint().token_url());
  Outage(Fault::kThrottle, kThrottled, /*failures=*/2);
  ExpectRetryAfterHeeded();
}

TEST_F(FaultsTest, B2WaitsUntilTheDateThatItIsGiven) {
  Begin(endpoint().token_url());
  Outage(Fault::kThrottleByDate, kThrottled, /*failures=*/2);
  ExpectRetryAfterHeeded();
}

TEST_F(FaultsTest, B8HealsFromHugeAnswersAndReadsLittleOfThem) {
  Begin(endpoint().token_url());
  Outage(Fault::kHuge, kTooLong);
  // The source cannot have read more than the endpoint sent.
  const auto most =
      endpoint().AwaitMostSent(source().failures(kTooLong), kForEver);
  ASSERT_TRUE(most.has_value());
  EXPECT_LT(*most, kHugeAnswer / 8);
}

TEST_F(FaultsTest, A1ARevokedTokenIsWithdrawnOnceAndReplaced) {
  exact_schedule_ = false;
  Begin(endpoint().token_url());
  // A token may be replaced just before it is revoked. Then no thread notices,
  // and the loop revokes another token.
  int tokens = 0;
  while (crowd().book().revoked == 0) {
    ++tokens;
    api().Revoke(crowd().last_token());
    AwaitRecovery();
  }
  EXPECT_GE(token().stats().tokens_invalidated, 1);
  EXPECT_LE(token().stats().tokens_invalidated, tokens);
}

}  // namespace
}  // namespace refreshable_examples
