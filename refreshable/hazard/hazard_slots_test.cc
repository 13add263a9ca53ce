// SPDX-License-Identifier: Apache-2.0
//
// Tests of threads that hold many nodes at a time. This file is built three
// times: normally, without membarrier(2), and without thread_local.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/hazard/hazard_test_util.h"

namespace refreshable {
namespace internal {
namespace {

using HazardSlotsTest = HazardDomainTest;

HazardDomain::Counts Counts() {
  return HazardDomain::Current().CountForTesting();
}

bool ThreadsHaveSlots() {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
  return false;
#else
  return HazardDomain::Current().Asymmetric();
#endif
}

void InAThread(const std::function<void()>& body) { std::thread(body).join(); }

enum Order { kOldestFirst, kNewestFirst, kAnyOrder };
constexpr Order kOrders[] = {kOldestFirst, kNewestFirst, kAnyOrder};

HazardHolder Remove(std::vector<HazardHolder>& holds, Order order,
                    std::mt19937& random) {
  size_t index = 0;
  if (order == kNewestFirst) index = holds.size() - 1;
  if (order == kAnyOrder) index = random() % holds.size();
  HazardHolder hold = std::move(holds[index]);
  holds.erase(holds.begin() + static_cast<std::ptrdiff_t>(index));
  return hold;
}

// Without slots of their own, threads take the shared slots, of which there are
// fewer than two hundred. All further holds are counted references.
TEST_F(HazardSlotsTest, R12ANodeThatIsHeldAThousandTimesIsFreedByTheLast) {
  std::mt19937 random(1);
  for (const Order order : kOrders) {
    for (const bool released_elsewhere : {false, true}) {
      Replace(cell_, new TestNode(&live_));
      std::vector<HazardHolder> holds;
      const auto release = [&] {
        while (!holds.empty()) {
          ASSERT_EQ(live_.load(), 1);
          ASSERT_TRUE(Alive(holds.front()));
          Remove(holds, order, random);
        }
      };
      InAThread([&] {
        for (int i = 0; i < 1000; ++i) holds.push_back(Hold(cell_));
        if (ThreadsHaveSlots()) {
          EXPECT_EQ(Counts().held, 1000);
        } else {
          EXPECT_LT(Counts().held, 1000);
        }
        Replace(cell_, nullptr);
        if (!released_elsewhere) release();
      });
      if (released_elsewhere) release();
      EXPECT_EQ(live_.load(), 0);
    }
  }
}

TEST_F(HazardSlotsTest, R12SlotsAreAtMostFourTimesTheHolds) {
  Replace(cell_, new TestNode(&live_));
  std::mt19937 random(1);
  // All threads live until the end, so none takes over the slots of another.
  absl::Notification end;
  std::vector<std::thread> threads;
  int new_records = 0;
  for (const int most : {1, 2, 3, 4, 7, 8, 100}) {
    for (const Order order : kOrders) {
      absl::Notification done;
      threads.emplace_back([&, most, order] {
        const int before = Counts().slots;
        Hold(cell_);
        const int mine = Counts().slots - before;
        std::vector<HazardHolder> holds;
        // In each turn, a hold in the second half of `holds` ends, and a new
        // hold is added.
        for (int i = 0; i < 2000; ++i) {
          while (static_cast<int>(holds.size()) < most) {
            holds.push_back(Hold(cell_));
          }
          std::vector<HazardHolder> others;
          std::move(holds.begin() + most / 2, holds.end(),
                    std::back_inserter(others));
          holds.resize(static_cast<size_t>(most / 2));
          Remove(others, order, random);
          std::move(others.begin(), others.end(), std::back_inserter(holds));
        }
        if (ThreadsHaveSlots() && mine > 0) {
          ++new_records;
          EXPECT_LE(Counts().slots - before, std::max(3, 4 * most)) << most;
        }
        holds.clear();
        done.Notify();
        end.WaitForNotification();
      });
      done.WaitForNotification();
    }
  }
  end.Notify();
  for (std::thread& thread : threads) thread.join();
  if (ThreadsHaveSlots()) {
    EXPECT_GE(new_records, 15);
  }
}

// One hold of each ended thread lives on.
TEST_F(HazardSlotsTest, R12SlotsOfEndedThreadsAreUsedAgain) {
  Replace(cell_, new TestNode(&live_));
  const int before = Counts().slots;
  constexpr int kThreads = 50;
  constexpr int kHolds = 100;
  std::vector<HazardHolder> left;
  for (int t = 0; t < kThreads; ++t) {
    InAThread([&] {
      std::vector<HazardHolder> holds;
      for (int i = 0; i < kHolds; ++i) holds.push_back(Hold(cell_));
      left.push_back(std::move(holds[static_cast<size_t>(t)]));
    });
  }
  EXPECT_LE(Counts().slots - before, 4 * (kThreads + kHolds));
  Replace(cell_, nullptr);
  for (const HazardHolder& hold : left) EXPECT_TRUE(Alive(hold));
  left.clear();
  EXPECT_EQ(live_.load(), 0);
}

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// A thread has taken any number of holds and keeps them. After one more read,
// each read succeeds in TryProtect, the inline fast path.
TEST_F(HazardSlotsTest, R1AReadBesideHoldsMakesNoCall) {
  if (!ThreadsHaveSlots()) return;
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHolder> holds;
  for (const size_t count : {1, 2, 3, 4, 5, 6, 8, 100, 1000}) {
    while (holds.size() < count) holds.push_back(Hold(cell_));
    Hold(cell_);
    for (int i = 0; i < 10; ++i) {
      const HazardHolder hold(
          HazardDomain::TryProtect(&HazardDomain::Current(), cell_));
      EXPECT_NE(hold.node(), nullptr) << count;
    }
  }
}
#endif

TEST_F(HazardSlotsTest, R12TheLastReleaseMakesTheScan) {
  if (!ThreadsHaveSlots()) return;
  std::mt19937 random(1);
  for (const Order order : kOrders) {
    Replace(cell_, new TestNode(&live_));
    std::vector<HazardHolder> holds;
    for (int i = 0; i < 1000; ++i) holds.push_back(Hold(cell_));
    Replace(cell_, nullptr);
    const int64_t before = Counts().scans;
    while (holds.size() > 1) Remove(holds, order, random);
    EXPECT_EQ(Counts().scans, before);
    EXPECT_EQ(live_.load(), 1);
    holds.clear();
    EXPECT_EQ(Counts().scans, before + 1);
    EXPECT_EQ(live_.load(), 0);
  }
}

// If a scan finds a replaced node in slots, releases from those slots are slow.
// The next scan makes releases fast again in the slots that were cleared.
TEST_F(HazardSlotsTest, R12SlotsOfAReplacedNodeBecomeQuietAgain) {
  if (!ThreadsHaveSlots()) return;
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHolder> old;
  for (int i = 0; i < 100; ++i) old.push_back(Hold(cell_));
  Replace(cell_, new TestNode(&live_));
  old.resize(1);
  int64_t before = Counts().scans;
  // `a` and `b` take every free slot of this thread in turn. Their first
  // release from a slot in which `old` had a hold makes a scan. After that
  // scan, only the release of `old[0]` needs another scan.
  HazardHolder a = Hold(cell_);
  HazardHolder b = Hold(cell_);
  for (int i = 0; i < 1000; ++i) {
    a = HazardHolder();
    a = Hold(cell_);
    std::swap(a, b);
  }
  EXPECT_EQ(Counts().scans, before + 1);
  before = Counts().scans;
  std::vector<HazardHolder> fresh;
  for (int i = 0; i < 50; ++i) fresh.push_back(Hold(cell_));
  fresh.clear();
  EXPECT_EQ(Counts().scans, before);
}

// A publication makes a heavy barrier only if another thread has slots of its
// own or the replaced node is held.
TEST_F(HazardSlotsTest, R12APublicationMakesOneBarrierAtMost) {
  const int64_t one = HazardDomain::Current().Asymmetric() ? 1 : 0;
  const auto barriers_of_a_publication = [&] {
    const int64_t before = Counts().barriers;
    Replace(cell_, new TestNode(&live_));
    EXPECT_EQ(live_.load(), 1);
    return Counts().barriers - before;
  };
  Replace(cell_, new TestNode(&live_));
  EXPECT_EQ(barriers_of_a_publication(), 0);
  Hold(cell_);  // Now this thread has slots, if threads have any.
  EXPECT_EQ(barriers_of_a_publication(), 0);
  InAThread([&] { Hold(cell_); });
  EXPECT_EQ(barriers_of_a_publication(), 0);
  absl::Notification has_read, end;
  std::thread reader([&] {
    Hold(cell_);
    has_read.Notify();
    end.WaitForNotification();
  });
  has_read.WaitForNotification();
  EXPECT_EQ(barriers_of_a_publication(), ThreadsHaveSlots() ? 1 : 0);
  InAThread([&] {
    EXPECT_EQ(barriers_of_a_publication(), ThreadsHaveSlots() ? 1 : 0);
  });
  end.Notify();
  reader.join();
  EXPECT_EQ(barriers_of_a_publication(), 0);
  HazardHolder hold = Hold(cell_);
  const int64_t before = Counts().barriers;
  Replace(cell_, new TestNode(&live_));
  EXPECT_EQ(Counts().barriers - before, one);
  EXPECT_TRUE(Alive(hold));
  hold = HazardHolder();
  EXPECT_EQ(Counts().barriers - before, one);
  EXPECT_EQ(live_.load(), 1);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
