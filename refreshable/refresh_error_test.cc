// SPDX-License-Identifier: Apache-2.0

#include "refreshable/refresh_error.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

using internal::MakeRefreshError;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RefreshErrorTest, B5ThePayloadComesBackAsItWas) {
  const std::string causes[] = {"down",
                                "",
                                " ",
                                "two words",
                                "line\nline\n",
                                "1 2 3 4",
                                std::string("nul\0nul", 7),
                                "\xc3\xa9 \xff"};
  const absl::Time times[] = {
      absl::FromUnixSeconds(1'700'000'000),
      absl::UnixEpoch(),
      absl::FromUnixNanos(1'700'000'000'123'456'789),
      absl::InfiniteFuture(),
      absl::InfinitePast(),
      absl::FromUnixSeconds(-1),
      absl::FromUnixSeconds(300'000'000'000)};  // Its year has five digits.
  const int counts[] = {0, 1, 7, std::numeric_limits<int>::max()};
  for (const std::string& cause : causes) {
    for (const absl::Time time : times) {
      for (const int count : counts) {
        for (const int flags : {0, 1, 2, 3}) {
          const bool fatal = (flags & 1) != 0;
          const bool rejected = (flags & 2) != 0;
          const absl::Status status =
              MakeRefreshError(absl::StatusCode::kInternal,
                               {cause, count, time, fatal, rejected});
          EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
          const auto error = GetRefreshError(status);
          ASSERT_TRUE(error.has_value()) << status;
          EXPECT_EQ(error->cause, cause);
          EXPECT_EQ(error->failures, count);
          EXPECT_EQ(error->next_attempt, time);
          EXPECT_EQ(error->fatal, fatal);
          EXPECT_EQ(error->rejected, rejected);
          EXPECT_EQ(IsFatal(status), fatal);
        }
      }
    }
  }
}

TEST(RefreshErrorTest, B9TheMessageNamesCountCauseAndTime) {
  RefreshError error;
  error.cause = "HTTP 502";
  error.failures = 1;
  error.next_attempt = absl::FromUnixSeconds(1'700'000'000);
  EXPECT_EQ(MakeRefreshError(absl::StatusCode::kUnavailable, error).message(),
            "no usable token: 1 failed attempt in a row, next attempt not "
            "before 2023-11-14T22:13:20+00:00; last: HTTP 502");
  // In the message, the time is rounded up to whole seconds.
  error.next_attempt -= absl::Seconds(1) - absl::Nanoseconds(1) / 4;
  EXPECT_EQ(MakeRefreshError(absl::StatusCode::kUnavailable, error).message(),
            "no usable token: 1 failed attempt in a row, next attempt not "
            "before 2023-11-14T22:13:20+00:00; last: HTTP 502");
  error.failures = 3;
  EXPECT_THAT(
      std::string(
          MakeRefreshError(absl::StatusCode::kUnavailable, error).message()),
      HasSubstr("3 failed attempts in a row"));
}

TEST(RefreshErrorTest, B7AFatalErrorSaysThatItGaveUp) {
  const absl::Status status =
      MakeRefreshError(absl::StatusCode::kUnavailable,
                       {"HTTP 502", 7, absl::InfiniteFuture(), true});
  EXPECT_EQ(status.message(),
            "no usable token: gave up after 7 failed attempts; last: HTTP 502");
  EXPECT_TRUE(IsFatal(status));
}

TEST(RefreshErrorTest, B7OtherStatusesAreNotFatalAndCarryNothing) {
  absl::Status other = absl::UnavailableError("fatal");
  EXPECT_FALSE(GetRefreshError(other).has_value());
  EXPECT_FALSE(IsFatal(other));
  EXPECT_FALSE(IsFatal(absl::OkStatus()));
  for (const char* garbage : {"", "1", "1 7", "1 x infinite-future y",
                              "1 7 tomorrow y", "1 7 infinite-future"}) {
    other.SetPayload("refreshable/refresh-error", absl::Cord(garbage));
    EXPECT_FALSE(GetRefreshError(other).has_value()) << garbage;
    EXPECT_FALSE(IsFatal(other));
  }
}

TEST(RefreshErrorTest, R7AReadsOwnTimeoutIsToldFromAnAttempts) {
  EXPECT_TRUE(IsReadTimeout(internal::MakeReadTimeout("late")));
  EXPECT_TRUE(absl::IsDeadlineExceeded(internal::MakeReadTimeout("late")));
  EXPECT_FALSE(IsReadTimeout(
      MakeRefreshError(absl::StatusCode::kDeadlineExceeded, RefreshError())));
  EXPECT_FALSE(IsReadTimeout(absl::DeadlineExceededError("of a call")));
  EXPECT_FALSE(IsReadTimeout(absl::OkStatus()));
}

TEST(RefreshErrorTest, B2RetryAfterComesBackAsItWas) {
  const absl::Duration waits[] = {
      absl::ZeroDuration(),        absl::Nanoseconds(1),
      absl::Milliseconds(1500),    absl::Seconds(120),
      absl::Hours(24 * 365 * 100), absl::InfiniteDuration()};
  for (const absl::Duration wait : waits) {
    absl::Status status = absl::ResourceExhaustedError("busy");
    EXPECT_FALSE(GetRetryAfter(status).has_value());
    SetRetryAfter(wait, status);
    EXPECT_EQ(GetRetryAfter(status), wait);
    EXPECT_EQ(status.message(), "busy");
    SetRetryAfter(absl::Seconds(7), status);
    EXPECT_EQ(GetRetryAfter(status), absl::Seconds(7));
  }
}

TEST(RefreshErrorTest, B2ANegativeRetryAfterIsZero) {
  for (const absl::Duration wait :
       {-absl::Seconds(1), -absl::InfiniteDuration()}) {
    absl::Status status = absl::UnavailableError("");
    SetRetryAfter(wait, status);
    EXPECT_EQ(GetRetryAfter(status), absl::ZeroDuration());
  }
}

TEST(RefreshErrorTest, B2AMeaninglessRetryAfterIsNone) {
  absl::Status status = absl::UnavailableError("");
  status.SetPayload("refreshable/retry-after", absl::Cord("soon"));
  EXPECT_FALSE(GetRetryAfter(status).has_value());
  EXPECT_FALSE(GetRetryAfter(absl::OkStatus()).has_value());
}

}  // namespace
}  // namespace refreshable
