// SPDX-License-Identifier: Apache-2.0
//
// This test is built three times: normally, without membarrier(2), and without
// thread_local.

#include "refreshable/hazard/hazard_domain.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_test_util.h"

namespace refreshable {
namespace internal {
namespace {

TEST_F(HazardDomainTest, AnEmptyCellGivesAnEmptyHold) {
  EXPECT_EQ(HazardDomain::Current().Protect(cell_).node(), nullptr);
}

TEST_F(HazardDomainTest, R12WhatNobodyHoldsIsFreedAtOnce) {
  Replace(cell_, new TestNode(&live_));
  { const HazardHolder hold = Hold(cell_); }
  Replace(cell_, new TestNode(&live_));
  EXPECT_EQ(live_.load(), 1);
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, R12TheLastHoldFreesWhatWasReplaced) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder first = Hold(cell_);
  HazardHolder second = Hold(cell_);
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 1);
  first = HazardHolder();
  EXPECT_TRUE(Alive(second));
  EXPECT_EQ(live_.load(), 1);
  second = HazardHolder();
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, AHoldIsOfWhatTheCellHadThen) {
  auto* const old_node = new TestNode(&live_);
  auto* const new_node = new TestNode(&live_);
  Replace(cell_, old_node);
  const HazardHolder old_hold = Hold(cell_);
  Replace(cell_, new_node);
  const HazardHolder new_hold = Hold(cell_);
  EXPECT_EQ(old_hold.node(), old_node);
  EXPECT_EQ(new_hold.node(), new_node);
  EXPECT_TRUE(Alive(old_hold));
}

TEST_F(HazardDomainTest, MovingKeepsTheHoldAndEmptiesItsOrigin) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder a = Hold(cell_);
  HazardHolder b = std::move(a);
  Replace(cell_, new TestNode(&live_));
  HazardHolder c = Hold(cell_);
  EXPECT_TRUE(Alive(b));
  b = std::move(c);  // Ends the hold that b had.
  EXPECT_EQ(live_.load(), 1);
  EXPECT_TRUE(Alive(b));
}

TEST_F(HazardDomainTest, R12AHoldOutlivesItsThread) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder hold;
  std::thread([&] { hold = Hold(cell_); }).join();
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 1);
  EXPECT_TRUE(Alive(hold));
  hold = HazardHolder();
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, RecordsOfThreadsThatEndedAreUsedAgain) {
  Replace(cell_, new TestNode(&live_));
  const int before = HazardDomain::Current().CountForTesting().records;
  for (int i = 0; i < 50; ++i) {
    std::thread([&] { Hold(cell_); }).join();
  }
  EXPECT_LE(HazardDomain::Current().CountForTesting().records, before + 1);
}

TEST_F(HazardDomainTest, RecordsWithLivingHoldsAreUsedAgain) {
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHolder> holds(3);
  for (HazardHolder& hold : holds) {
    std::thread([&] { hold = Hold(cell_); }).join();
  }
  EXPECT_EQ(HazardDomain::Current().CountForTesting().held, 3);
  const int records = HazardDomain::Current().CountForTesting().records;
  holds.clear();
  for (int i = 0; i < 3; ++i) {
    std::thread([&] { Hold(cell_); }).join();
  }
  EXPECT_EQ(HazardDomain::Current().CountForTesting().records, records);
}

// If this object is thread_local, its destructor may run after the domain's own
// end-of-thread work.
struct ReadsWhenDestroyed {
  HazardCell* cell = nullptr;
  HazardHolder* hold = nullptr;
  ~ReadsWhenDestroyed() {
    if (cell != nullptr) *hold = Hold(*cell);
  }
};

TEST_F(HazardDomainTest, R12AThreadMayReadWhileItEnds) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder hold;
  std::thread([&] {
    static thread_local ReadsWhenDestroyed reads;
    reads.cell = &cell_;
    reads.hold = &hold;
    // The domain's end-of-thread work is registered after `reads`, so it runs
    // before the destructor of `reads`.
    Hold(cell_);
  }).join();
  Replace(cell_, nullptr);
  ASSERT_NE(hold.node(), nullptr);
  EXPECT_TRUE(Alive(hold));
}

// The test would hang or fail if the domain had anything locked while a node's
// destructor runs.
TEST_F(HazardDomainTest, E5ADestructorMayReadAndRetire) {
  HazardCell other{new TestNode(&live_)};
  Replace(cell_, new TestNode(&live_, [&] {
            EXPECT_NE(Hold(other).node(), nullptr);
            Replace(other, nullptr);
            std::thread([&] { HazardDomain::Current().Protect(other); }).join();
          }));
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, R12ASlowDestructorDelaysNobodyElse) {
  absl::Notification started, go_on;
  HazardCell other{new TestNode(&live_)};
  Replace(cell_, new TestNode(&live_, [&] {
            started.Notify();
            go_on.WaitForNotification();
          }));
  std::thread slow([&] { Replace(cell_, nullptr); });
  started.WaitForNotification();
  Replace(other, nullptr);
  EXPECT_EQ(live_.load(), 1);
  go_on.Notify();
  slow.join();
}

// In the next two tests, scans stall while this is true.
std::atomic<bool> scans_stall{false};

// Publishers leave at most kMostHandedOver nodes to the scanning thread. A
// publisher that retires another node waits until a scan takes that node.
TEST_F(HazardDomainTest, R12AStalledScanIsLeftFewNodes) {
  constexpr int kPublishers = 8;
  constexpr int kPublications = 100;
  scans_stall = true;
  HazardDomain::Current().ReplaceHeavyBarrierForTesting([] {
    while (scans_stall.load()) std::this_thread::yield();
  });
  std::atomic<int> begun{0};
  std::vector<std::thread> publishers;
  for (int t = 0; t < kPublishers; ++t) {
    publishers.emplace_back([&] {
      HazardCell cell{new TestNode(&live_)};
      ++begun;
      for (int i = 0; i < kPublications; ++i) {
        Replace(cell, new TestNode(&live_));
      }
      Replace(cell, nullptr);
    });
  }
  while (begun < kPublishers) std::this_thread::yield();
  int most = 0;
  for (int i = 0; i < 300; ++i) {
    most = std::max(most, live_.load());
    std::this_thread::yield();
  }
  scans_stall = false;
  for (std::thread& publisher : publishers) publisher.join();
  HazardDomain::Current().ReplaceHeavyBarrierForTesting(nullptr);
  // Each publisher may have two nodes: the node in its cell and the node that
  // it replaced last.
  EXPECT_LE(most, 2 * kPublishers + HazardDomain::kMostHandedOver);
  EXPECT_EQ(live_.load(), 0);
}

// If the main thread had to wait for the stalled scan, this test would never
// end.
TEST_F(HazardDomainTest, R12AFewNodesAreLeftToAStalledScan) {
  static std::atomic<bool> stalled{false};
  Replace(cell_, new TestNode(&live_));
  scans_stall = true;
  HazardDomain::Current().ReplaceHeavyBarrierForTesting([] {
    stalled = true;
    while (scans_stall.load()) std::this_thread::yield();
  });
  std::thread scanner([&] { Replace(cell_, new TestNode(&live_)); });
  while (!stalled) std::this_thread::yield();
  HazardCell cell{new TestNode(&live_)};
  for (int i = 1; i < HazardDomain::kMostHandedOver; ++i) {
    Replace(cell, new TestNode(&live_));
  }
  Replace(cell, nullptr);
  scans_stall = false;
  scanner.join();
  HazardDomain::Current().ReplaceHeavyBarrierForTesting(nullptr);
  EXPECT_EQ(live_.load(), 1);  // Only the node in `cell_` is left.
}

// Each reader thread holds several nodes, passes some holders to another
// thread, and ends while other threads replace nodes.
TEST_F(HazardDomainTest, R12StressFreesEverythingAndUsesNothingFreed) {
  constexpr int kReaders = 4;
  constexpr int kLives = 10;
  constexpr int kReads = 1000;
  const int records_before = HazardDomain::Current().CountForTesting().records;
  HazardCell cells[2] = {new TestNode(&live_), new TestNode(&live_)};
  absl::Mutex mutex;
  std::vector<HazardHolder> passed;
  std::atomic<int> readers{kReaders};
  std::vector<std::thread> threads;
  for (int r = 0; r < kReaders; ++r) {
    threads.emplace_back([&, r] {
      for (int life = 0; life < kLives; ++life) {
        std::thread([&] {
          for (int i = 0; i < kReads; ++i) {
            HazardHolder a = Hold(cells[i % 2]);
            HazardHolder b = Hold(cells[r % 2]);
            ASSERT_TRUE(Alive(a) && Alive(b));
            if (i % 16 != r) continue;
            absl::MutexLock lock(&mutex);
            if (passed.size() > 40) {
              std::swap(a, passed[i % passed.size()]);
              ASSERT_TRUE(Alive(a));
            } else {
              passed.push_back(std::move(a));
            }
          }
        }).join();
      }
      --readers;
    });
  }
  for (HazardCell& cell : cells) {
    threads.emplace_back([&] {
      while (readers > 0) Replace(cell, new TestNode(&live_));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (HazardCell& cell : cells) Replace(cell, nullptr);
  EXPECT_LE(live_.load(), static_cast<int>(passed.size()));
  for (const HazardHolder& hold : passed) ASSERT_TRUE(Alive(hold));
  passed.clear();
  EXPECT_EQ(live_.load(), 0);
  // The limit allows for threads that exist at the same time, and for the
  // records of 50 ended threads. Such a record is used again unless holds that
  // were put into `passed` keep its slots in use. At most 41 + kReaders such
  // holds exist at a time.
  EXPECT_LE(HazardDomain::Current().CountForTesting().records,
            records_before + 2 * kReaders + 2 + 50);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
