// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/clock.h"

#include <atomic>
#include <cstdint>
#include <limits>

#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

TEST(ClockTest, WallIsTheSystemsTime) {
  // The wall time must lie between two readings of absl::Now(), which may
  // differ from the system's clock because Abseil interpolates. No wall step is
  // expected meanwhile.
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

// The coarse clock may only be behind the system's clock, by at most two
// seconds.
TEST(ClockTest, R6CoarseSystemTimeIsNeverCertainTooLate) {
  const CoarseWallClock clock = SystemClock::Get().CoarseWall();
  EXPECT_GE(clock.Ticks(), clock.TicksBefore(SystemClock::Get().Now().wall));
  EXPECT_LT(clock.Ticks(), clock.TicksBefore(SystemClock::Get().Now().wall +
                                             absl::Seconds(3)));
  EXPECT_LT(clock.Ticks(), clock.TicksBefore(absl::InfiniteFuture()));
  EXPECT_GE(clock.Ticks(), clock.TicksBefore(absl::InfinitePast()));
}

TEST(ClockTest, R6CoarseSystemTimeLeavesASecondForALateTick) {
  const CoarseWallClock clock = CoarseWallClock::System();
  EXPECT_EQ(clock.TicksBefore(absl::FromUnixSeconds(100)), 99);
  EXPECT_EQ(clock.TicksBefore(absl::FromUnixMillis(100999)), 99);
}

TEST(ClockTest, R6ExactCoarseTimeIsCertainUpToTheMoment) {
  std::atomic<int64_t> nanos{99};
  const CoarseWallClock clock = CoarseWallClock::Exact(&nanos);
  const absl::Time t = absl::UnixEpoch() + absl::Nanoseconds(100);
  EXPECT_LT(clock.Ticks(), clock.TicksBefore(t));
  nanos = 100;
  EXPECT_GE(clock.Ticks(), clock.TicksBefore(t));
}

TEST(ClockTest, R6AClockThatDoesNotSayIsCertainOfNothing) {
  struct Silent final : Clock {
    Instant Now() const override { return {}; }
  };
  const CoarseWallClock clock = Silent().CoarseWall();
  EXPECT_GE(clock.Ticks(), clock.TicksBefore(absl::InfiniteFuture()));
}

TEST(ClockTest, FloorToUnixNanosRoundsDownAndSaturates) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const absl::Duration half = absl::Nanoseconds(1) / 2;
  EXPECT_EQ(FloorToUnixNanos(absl::UnixEpoch() + half), 0);
  EXPECT_EQ(FloorToUnixNanos(absl::UnixEpoch() - half), -1);
  EXPECT_EQ(FloorToUnixNanos(absl::InfinitePast()), kMin);
  EXPECT_EQ(FloorToUnixNanos(
                absl::FromCivil(absl::CivilYear(1), absl::UTCTimeZone())),
            kMin + 1);
  EXPECT_EQ(FloorToUnixNanos(
                absl::FromCivil(absl::CivilYear(9999), absl::UTCTimeZone())),
            kMax);
  EXPECT_EQ(FloorToUnixNanos(absl::InfiniteFuture()), kMax);
}

}  // namespace
}  // namespace refreshable
