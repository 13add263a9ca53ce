// SPDX-License-Identifier: Apache-2.0
//
// Tests CallsAheadOfSchedule.

#include "docs/examples/fault_injection/counted_source.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {
namespace {

using refreshable::BootTime;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Call = CountedSource::Call;

refreshable::RefreshPolicy Policy() {
  refreshable::RefreshPolicy policy;
  policy.jitter = 0;
  return policy;
}

Call MakeCall(int start, int end, absl::Status status) {
  Call call;
  call.start = BootTime() + absl::Seconds(start);
  call.end = BootTime() + absl::Seconds(end);
  call.ended = true;
  call.in_time = true;
  call.status = std::move(status);
  return call;
}

const absl::Status kFailed = absl::UnavailableError("502");

TEST(CallsAheadOfScheduleTest, B1BackoffCountsFromWhatIsCertain) {
  // A backoff counts from the start of an attempt. The attempt of call 1 may
  // have started before that call. But it cannot have started before call 0
  // ended, at 0 s. The backoff after two failures is 4 s, so call 2 is accepted
  // from 4 s on.
  std::vector<Call> calls = {MakeCall(0, 0, kFailed), MakeCall(2, 2, kFailed),
                             MakeCall(4, 4, kFailed)};
  EXPECT_THAT(CallsAheadOfSchedule(calls, Policy()), IsEmpty());
  calls[2].start = BootTime() + absl::Seconds(4) - absl::Milliseconds(1);
  const auto ahead = CallsAheadOfSchedule(calls, Policy());
  ASSERT_THAT(ahead, SizeIs(1));
  EXPECT_THAT(ahead[0], HasSubstr("call 2 started 1ms too early"));
}

TEST(CallsAheadOfScheduleTest, B1TheMinimumIntervalFollowsAFailure) {
  EXPECT_THAT(
      CallsAheadOfSchedule(
          {MakeCall(0, 10, kFailed), MakeCall(10, 10, kFailed)}, Policy()),
      SizeIs(1));
  EXPECT_THAT(
      CallsAheadOfSchedule(
          {MakeCall(0, 10, kFailed), MakeCall(11, 11, kFailed)}, Policy()),
      IsEmpty());
}

TEST(CallsAheadOfScheduleTest, B6SuccessEndsTheBackoff) {
  EXPECT_THAT(CallsAheadOfSchedule(
                  {MakeCall(0, 0, kFailed), MakeCall(2, 2, absl::OkStatus()),
                   MakeCall(3, 3, kFailed)},
                  Policy()),
              IsEmpty());
}

TEST(CallsAheadOfScheduleTest, B2RetryAfterCountsFromTheAnswer) {
  absl::Status throttled = absl::ResourceExhaustedError("429");
  refreshable::SetRetryAfter(absl::Seconds(30), throttled);
  EXPECT_THAT(
      CallsAheadOfSchedule(
          {MakeCall(0, 1, throttled), MakeCall(30, 31, kFailed)}, Policy()),
      SizeIs(1));
  EXPECT_THAT(
      CallsAheadOfSchedule(
          {MakeCall(0, 1, throttled), MakeCall(31, 32, kFailed)}, Policy()),
      IsEmpty());
}

TEST(CallsAheadOfScheduleTest, B7AProbeWaitsItsInterval) {
  std::vector<Call> calls;
  for (int i = 0; i < 10; ++i) {
    calls.push_back(MakeCall(60 * i, 60 * i, kFailed));
  }
  EXPECT_THAT(CallsAheadOfSchedule(calls, Policy()), IsEmpty());
  calls.push_back(MakeCall(560, 560, kFailed));
  EXPECT_THAT(CallsAheadOfSchedule(calls, Policy()), IsEmpty());
  calls.push_back(MakeCall(561, 561, kFailed));
  EXPECT_THAT(CallsAheadOfSchedule(calls, Policy()), SizeIs(1));
}

}  // namespace
}  // namespace refreshable_examples
