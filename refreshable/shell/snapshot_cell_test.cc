// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/snapshot_cell.h"

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/generation.h"
#include "refreshable/lease.h"

namespace refreshable {
namespace internal {
namespace {

using Cell = SnapshotCell;

static_assert(sizeof(Lease<std::string>) == 16);
static_assert(std::is_nothrow_move_constructible_v<Lease<std::string>>);
static_assert(std::is_nothrow_move_assignable_v<Lease<std::string>>);
static_assert(!std::is_copy_constructible_v<Lease<std::string>>);
static_assert(!std::is_default_constructible_v<Lease<std::string>>);

absl::Time At(int64_t nanos) {
  return absl::UnixEpoch() + absl::Nanoseconds(nanos);
}

Snapshot Make(std::string token, uint64_t generation) {
  return {std::make_shared<const std::string>(std::move(token)),
          Generation(generation), At(5000), /*equal_before=*/0,
          /*degraded=*/false};
}

bool Holds(const HazardHolder& hold) { return hold.node() != nullptr; }

const std::string& TokenOf(const HazardHolder& hold) {
  return *static_cast<const std::string*>(SnapshotOf(hold).token.get());
}

TEST(SnapshotCellTest, R1ReadsGetTheSnapshotBeforeTheTimeToAsk) {
  std::atomic<int64_t> now{999};
  Cell cell(CoarseWallClock::Exact(&now));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_EQ(cell.Publish(Make("a", 7), At(1000)), nullptr);
  const HazardHolder hold = cell.Load();
  ASSERT_TRUE(Holds(hold));
  EXPECT_EQ(TokenOf(hold), "a");
  EXPECT_EQ(SnapshotOf(hold).generation, Generation(7));
}

TEST(SnapshotCellTest, R4ReadsAskFromTheVeryMomentOn) {
  std::atomic<int64_t> now{999};
  Cell cell(CoarseWallClock::Exact(&now));
  static_cast<void>(cell.Publish(Make("a", 1), At(1000)));
  EXPECT_TRUE(Holds(cell.Load()));
  EXPECT_TRUE(Holds(cell.Load(At(999))));
  now = 1000;
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_FALSE(Holds(cell.Load(At(1000))));
  // The check time is rounded down, so that every read after it asks the
  // machine.
  cell.SetCheckAt(At(1000) + absl::Nanoseconds(1) / 2);
  EXPECT_FALSE(Holds(cell.Load()));
}

TEST(SnapshotCellTest, R4InfinitePastMeansThatReadsAlwaysAsk) {
  std::atomic<int64_t> now{std::numeric_limits<int64_t>::min() + 1};
  Cell cell(CoarseWallClock::Exact(&now));
  static_cast<void>(cell.Publish(Make("a", 1), absl::InfinitePast()));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_FALSE(Holds(cell.Load(At(0))));
  EXPECT_TRUE(Holds(cell.Take()));
  cell.SetCheckAt(At(1000));
  EXPECT_TRUE(Holds(cell.Load()));
  cell.SetCheckAt(absl::InfinitePast());
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_TRUE(Holds(cell.Take()));
}

// A read that had to ask the machine would wait for the publisher's lock.
TEST(SnapshotCellTest, R1NoReadAsksWhileATokenIsReplaced) {
  std::atomic<int64_t> now{0};
  Cell cell(CoarseWallClock::Exact(&now));
  static_cast<void>(cell.Publish(Make("a", 1), At(1000)));
  std::atomic<bool> stop{false};
  int asked = 0;
  std::thread reader([&] {
    while (!stop) asked += Holds(cell.Load()) ? 0 : 1;
  });
  for (uint64_t generation = 2; generation < 3000; ++generation) {
    static_cast<void>(cell.Publish(Make("a", generation), At(1000)));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(asked, 0);
}

TEST(SnapshotCellTest, R3NothingIsHandedOutInTheInfinitePast) {
  std::atomic<int64_t> now{std::numeric_limits<int64_t>::min()};
  Cell cell(CoarseWallClock::Exact(&now));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_FALSE(Holds(cell.Load(absl::InfinitePast())));
  static_cast<void>(cell.Publish(Make("a", 1), absl::InfinitePast()));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_FALSE(Holds(cell.Load(absl::InfinitePast())));
}

TEST(SnapshotCellTest, R5InfiniteTimeToAskNeverComes) {
  std::atomic<int64_t> now{std::numeric_limits<int64_t>::max() - 1};
  Cell exact(CoarseWallClock::Exact(&now));
  Cell system(CoarseWallClock::System());
  for (Cell* cell : {&exact, &system}) {
    static_cast<void>(cell->Publish(Make("a", 1), absl::InfiniteFuture()));
    EXPECT_TRUE(Holds(cell->Load()));
  }
}

// Without a coarse clock, `Get` takes the time from `Clock::Now` and calls
// `Load(now)`.
TEST(SnapshotCellTest, R6WithoutACoarseClockTheFirstLookIsNeverCertain) {
  Cell cell((CoarseWallClock()));
  static_cast<void>(cell.Publish(Make("a", 1), absl::InfiniteFuture()));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_TRUE(Holds(cell.Load(At(0))));
}

TEST(SnapshotCellTest, R9NothingIsHandedOutAfterItWasReplaced) {
  std::atomic<int64_t> now{0};
  Cell cell(CoarseWallClock::Exact(&now));
  static_cast<void>(cell.Publish(Make("a", 1), At(1000)));
  static_cast<void>(cell.Publish({}, absl::InfinitePast()));
  EXPECT_FALSE(Holds(cell.Load()));
  EXPECT_FALSE(Holds(cell.Take()));
  cell.SetCheckAt(At(1000));  // The cell is empty, so this has no effect.
  static_cast<void>(cell.Publish(Make("b", 2), At(1000)));
  EXPECT_EQ(TokenOf(cell.Load()), "b");
}

TEST(SnapshotCellTest, E5TheSupersededTokenLivesUntilTheGarbageEnds) {
  std::atomic<int64_t> now{0};
  Cell cell(CoarseWallClock::Exact(&now));
  Snapshot snapshot = Make("a", 1);
  const std::weak_ptr<const void> token = snapshot.token;
  static_cast<void>(cell.Publish(std::move(snapshot), At(1000)));
  Garbage garbage = cell.Publish({}, absl::InfinitePast());
  EXPECT_FALSE(token.expired());
  garbage.reset();
  EXPECT_TRUE(token.expired());
}

TEST(SnapshotCellTest, R12WhatIsHeldOutlivesTheCell) {
  std::atomic<int64_t> now{0};
  std::optional<Cell> cell(CoarseWallClock::Exact(&now));
  Snapshot snapshot = Make("a", 1);
  const std::weak_ptr<const void> token = snapshot.token;
  static_cast<void>(cell->Publish(std::move(snapshot), At(1000)));
  HazardHolder hold = cell->Take();
  cell.reset();
  EXPECT_EQ(TokenOf(hold), "a");
  hold = HazardHolder();
  EXPECT_TRUE(token.expired());
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
