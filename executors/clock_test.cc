// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/clock.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <sstream>
#include <type_traits>

#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

static_assert(!std::is_convertible_v<BootTime, absl::Duration>);
static_assert(!std::is_convertible_v<absl::Duration, BootTime>);
static_assert(!std::is_constructible_v<absl::Duration, BootTime>);
static_assert(!std::is_constructible_v<BootTime, absl::Duration>);
static_assert(!std::is_convertible_v<BootTime, absl::Time>);
static_assert(!std::is_convertible_v<absl::Time, BootTime>);
static_assert(
    !std::is_invocable_v<std::plus<>, const BootTime&, const BootTime&>);
static_assert(std::is_trivially_copyable_v<BootTime>);
static_assert(sizeof(BootTime) == sizeof(absl::Duration));
static_assert(BootTime::InfinitePast() < BootTime() &&
              BootTime() < BootTime::InfiniteFuture());

TEST(ClockTest, BootTimesDifferByDurations) {
  const BootTime t = BootTime() + absl::Seconds(5);
  EXPECT_EQ(t - BootTime(), absl::Seconds(5));
  EXPECT_EQ(BootTime() - t, -absl::Seconds(5));
  EXPECT_EQ(absl::Seconds(5) + BootTime(), t);
  EXPECT_EQ(t - absl::Seconds(5), BootTime());
  BootTime moved = t;
  moved += absl::Seconds(2);
  EXPECT_EQ(moved - t, absl::Seconds(2));
  moved -= absl::Seconds(3);
  EXPECT_EQ(moved - t, -absl::Seconds(1));
  EXPECT_TRUE(moved < t && moved <= t && t > moved && t >= moved && t != moved);
  EXPECT_FALSE(t < t || t > t || t != t);
  EXPECT_TRUE(t <= t && t >= t && t == t);
}

TEST(ClockTest, InfiniteBootTimesStayInfinite) {
  const BootTime past = BootTime::InfinitePast();
  const BootTime future = BootTime::InfiniteFuture();
  EXPECT_EQ(past + absl::Hours(1), past);
  EXPECT_EQ(future - absl::Hours(1), future);
  EXPECT_EQ(BootTime() + absl::InfiniteDuration(), future);
  EXPECT_EQ(BootTime() - past, absl::InfiniteDuration());
  EXPECT_EQ(BootTime() - future, -absl::InfiniteDuration());
}

TEST(ClockTest, BootTimePrintsTheTimeSinceTheOrigin) {
  std::ostringstream os;
  os << BootTime() + absl::Milliseconds(62500) << ", "
     << BootTime::InfinitePast() << ", " << BootTime::InfiniteFuture();
  EXPECT_EQ(os.str(), "1m2.5s, -inf, inf");
}

TEST(ClockTest, WallIsTheSystemsTime) {
  // absl::Now() interpolates, so it may differ from the operating system's
  // clock by less than `kSlack`.
  const absl::Duration kSlack = absl::Seconds(1);
  const absl::Time before = absl::Now();
  const absl::Time wall = SystemClock::Get().Now().wall;
  const absl::Time after = absl::Now();
  EXPECT_GE(wall, before - kSlack);
  EXPECT_LE(wall, after + kSlack);
}

TEST(ClockTest, BootTimeNeverDecreasesAndMovesOn) {
  const SystemClock clock;
  const BootTime first = clock.Now().boot;
  EXPECT_GT(first, BootTime());
  EXPECT_LT(first, BootTime::InfiniteFuture());
  BootTime last = first;
  while (last == first) {
    const BootTime now = clock.Now().boot;
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, EveryInstanceTellsTheSameTime) {
  const SystemClock clock;
  const BootTime before = SystemClock::Get().Now().boot;
  const BootTime between = clock.Now().boot;
  const BootTime after = SystemClock::Get().Now().boot;
  EXPECT_LE(before, between);
  EXPECT_LE(between, after);
}

TEST(ClockTest, InstantsCompareByBothClocks) {
  const Instant a = {absl::FromUnixSeconds(1), BootTime() + absl::Seconds(2)};
  const Instant later_wall = {absl::FromUnixSeconds(2),
                              BootTime() + absl::Seconds(2)};
  const Instant later_boot = {absl::FromUnixSeconds(1),
                              BootTime() + absl::Seconds(3)};
  EXPECT_TRUE(a == a);
  EXPECT_FALSE(a != a);
  EXPECT_TRUE(a != later_wall);
  EXPECT_TRUE(a != later_boot);
}

// The coarse clock must not say that the present moment is certainly in the
// future. It must say so of a moment 3 s from now.
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
  EXPECT_GE(Silent().CoarseBoot().Ticks(),
            CoarseBootClock::TicksBefore(BootTime::InfiniteFuture()));
}

TEST(ClockTest, R6CoarseBootTimeIsTheSystemsBootTime) {
  const CoarseBootClock clock = SystemClock::Get().CoarseBoot();
  const BootTime before = SystemClock::Get().Now().boot;
  EXPECT_GE(clock.Ticks(), CoarseBootClock::TicksBefore(before));
  const int64_t ticks = clock.Ticks();
  EXPECT_LE(ticks, CoarseBootClock::TicksBefore(SystemClock::Get().Now().boot));
  EXPECT_LT(ticks, CoarseBootClock::TicksBefore(BootTime::InfiniteFuture()));
  EXPECT_GE(ticks, CoarseBootClock::TicksBefore(BootTime::InfinitePast()));
}

TEST(ClockTest, R6ExactCoarseBootTimeIsCertainUpToTheMoment) {
  std::atomic<int64_t> nanos{99};
  const CoarseBootClock clock = CoarseBootClock::Exact(&nanos);
  const BootTime t = BootTime() + absl::Nanoseconds(100);
  EXPECT_LT(clock.Ticks(), CoarseBootClock::TicksBefore(t));
  nanos = 100;
  EXPECT_GE(clock.Ticks(), CoarseBootClock::TicksBefore(t));
  EXPECT_EQ(CoarseBootClock::TicksBefore(t + absl::Nanoseconds(1) / 2), 100);
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
