// SPDX-License-Identifier: Apache-2.0

#include "executors/clock.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

TEST(ClockTest, WallIsTheSystemsTime) {
  // Read between two readings of the same clock; Abseil's own may be off from
  // it by what it interpolates. No wall step is expected in between.
  const absl::Duration kSlack = absl::Seconds(1);
  const absl::Time before = absl::Now();
  const absl::Time wall = SystemClock::Get().Now().wall;
  const absl::Time after = absl::Now();
  EXPECT_GE(wall, before - kSlack);
  EXPECT_LE(wall, after + kSlack);
}

TEST(ClockTest, SinceBootNeverDecreasesAndMovesOn) {
  const SystemClock clock;
  const absl::Duration first = clock.Now().since_boot;
  EXPECT_GT(first, absl::ZeroDuration());
  EXPECT_LT(first, absl::InfiniteDuration());
  absl::Duration last = first;
  // Awaits the first change of a clock that moves by itself.
  while (last == first) {
    const absl::Duration now = clock.Now().since_boot;
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, EveryInstanceTellsTheSameTime) {
  const SystemClock clock;
  const absl::Duration before = SystemClock::Get().Now().since_boot;
  const absl::Duration between = clock.Now().since_boot;
  const absl::Duration after = SystemClock::Get().Now().since_boot;
  EXPECT_LE(before, between);
  EXPECT_LE(between, after);
}

TEST(ClockTest, InstantsCompareByBothClocks) {
  const Instant a = {absl::FromUnixSeconds(1), absl::Seconds(2)};
  const Instant later_wall = {absl::FromUnixSeconds(2), absl::Seconds(2)};
  const Instant later_boot = {absl::FromUnixSeconds(1), absl::Seconds(3)};
  EXPECT_TRUE(a == a);
  EXPECT_FALSE(a != a);
  EXPECT_TRUE(a != later_wall);
  EXPECT_TRUE(a != later_boot);
}

}  // namespace
}  // namespace refreshable
