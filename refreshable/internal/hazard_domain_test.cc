// SPDX-License-Identifier: Apache-2.0
//
// Built three times: as it is, as if there were no membarrier(2), and without
// thread_local. The promises are the same.

#include "refreshable/internal/hazard_domain.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace refreshable {
namespace internal {
namespace {

#ifdef REFRESHABLE_TEST_SYMMETRIC
const bool kForced = [] {
  HazardDomain::ForceSymmetricForTesting();
  return true;
}();
#endif

constexpr uint64_t kAlive = 0x5eadbeef5eadbeef;

// Counts those that live, and says what it is when it is used after its end.
struct TestNode final : HazardNode {
  explicit TestNode(std::atomic<int>* counter,
                    std::function<void()> hook = nullptr)
      : live(counter), at_end(std::move(hook)) {
    ++*live;
  }
  ~TestNode() override {
    if (at_end) at_end();
    mark = 0;
    --*live;
  }
  std::atomic<int>* const live;
  const std::function<void()> at_end;
  volatile uint64_t mark = kAlive;
};

bool Alive(const HazardHold& hold) {
  return static_cast<const TestNode*>(hold.node())->mark == kAlive;
}

void Replace(HazardCell& cell, const HazardNode* node) {
  HazardDomain::Retire(cell.exchange(node));
}

// As a read does it. Requires that the cell never has null.
HazardHold Hold(const HazardCell& cell) {
  HazardHold hold(HazardDomain::TryProtect(cell));
  if (hold.node() == nullptr) hold = HazardDomain::Protect(cell);
  return hold;
}

// Each test leaves the domain as it found it: nothing held, nothing waiting.
class HazardDomainTest : public testing::Test {
 protected:
  ~HazardDomainTest() override {
    Replace(cell_, nullptr);
    EXPECT_EQ(live_.load(), 0);
    const HazardDomain::Counts counts = HazardDomain::CountForTesting();
    EXPECT_EQ(counts.held, 0);
    EXPECT_EQ(counts.retained, 0);
  }

  std::atomic<int> live_{0};
  HazardCell cell_{nullptr};
};

TEST_F(HazardDomainTest, AnEmptyCellGivesAnEmptyHold) {
  EXPECT_EQ(HazardDomain::Protect(cell_).node(), nullptr);
}

TEST_F(HazardDomainTest, R12WhatNobodyHoldsIsFreedAtOnce) {
  Replace(cell_, new TestNode(&live_));
  { const HazardHold hold = Hold(cell_); }
  Replace(cell_, new TestNode(&live_));
  EXPECT_EQ(live_.load(), 1);
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 0);
}

// No other retirement and no timer comes to its help.
TEST_F(HazardDomainTest, R12TheLastHoldFreesWhatWasReplaced) {
  Replace(cell_, new TestNode(&live_));
  HazardHold first = Hold(cell_);
  HazardHold second = Hold(cell_);
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 1);
  first = HazardHold();
  EXPECT_TRUE(Alive(second));
  EXPECT_EQ(live_.load(), 1);
  second = HazardHold();
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, AHoldIsOfWhatTheCellHadThen) {
  auto* const old_node = new TestNode(&live_);
  auto* const new_node = new TestNode(&live_);
  Replace(cell_, old_node);
  const HazardHold old_hold = Hold(cell_);
  Replace(cell_, new_node);
  const HazardHold new_hold = Hold(cell_);
  EXPECT_EQ(old_hold.node(), old_node);
  EXPECT_EQ(new_hold.node(), new_node);
  EXPECT_TRUE(Alive(old_hold));
}

TEST_F(HazardDomainTest, MovingKeepsTheHoldAndEmptiesItsOrigin) {
  Replace(cell_, new TestNode(&live_));
  HazardHold a = Hold(cell_);
  HazardHold b = std::move(a);
  Replace(cell_, new TestNode(&live_));
  HazardHold c = Hold(cell_);
  EXPECT_TRUE(Alive(b));
  b = std::move(c);  // Ends the hold that b had.
  EXPECT_EQ(live_.load(), 1);
  EXPECT_TRUE(Alive(b));
}

// A thread has six slots, the shared ones are a few hundred.
TEST_F(HazardDomainTest, R12MoreHoldsThanSlotsAreCounted) {
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHold> holds;
  for (int i = 0; i < 1000; ++i) holds.push_back(Hold(cell_));
  EXPECT_LT(HazardDomain::CountForTesting().held, 1000);
  Replace(cell_, nullptr);
  while (!holds.empty()) {
    ASSERT_EQ(live_.load(), 1);
    ASSERT_TRUE(Alive(holds.front()));
    std::swap(holds.front(), holds[holds.size() / 2]);
    holds.pop_back();
  }
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, R12AHoldOutlivesItsThread) {
  Replace(cell_, new TestNode(&live_));
  HazardHold hold;
  std::thread([&] { hold = Hold(cell_); }).join();
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 1);
  EXPECT_TRUE(Alive(hold));
  hold = HazardHold();
  EXPECT_EQ(live_.load(), 0);
}

TEST_F(HazardDomainTest, RecordsOfThreadsThatEndedAreUsedAgain) {
  Replace(cell_, new TestNode(&live_));
  const int before = HazardDomain::CountForTesting().records;
  for (int i = 0; i < 50; ++i) {
    std::thread([&] { Hold(cell_); }).join();
  }
  EXPECT_LE(HazardDomain::CountForTesting().records, before + 1);
}

TEST_F(HazardDomainTest, ARecordWithALivingHoldIsNotUsedAgain) {
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHold> holds(3);
  for (HazardHold& hold : holds) {
    std::thread([&] { hold = Hold(cell_); }).join();
  }
  EXPECT_EQ(HazardDomain::CountForTesting().held, 3);
  const int records = HazardDomain::CountForTesting().records;
  holds.clear();
  for (int i = 0; i < 3; ++i) {
    std::thread([&] { Hold(cell_); }).join();
  }
  EXPECT_EQ(HazardDomain::CountForTesting().records, records);
}

// What a thread does after the domain's own end-of-thread work.
struct ReadsWhenDestroyed {
  HazardCell* cell = nullptr;
  HazardHold* hold = nullptr;
  ~ReadsWhenDestroyed() {
    if (cell != nullptr) *hold = Hold(*cell);
  }
};

TEST_F(HazardDomainTest, R12AThreadMayReadWhileItEnds) {
  Replace(cell_, new TestNode(&live_));
  HazardHold hold;
  std::thread([&] {
    static thread_local ReadsWhenDestroyed reads;
    reads.cell = &cell_;
    reads.hold = &hold;
    Hold(cell_);  // Registers after `reads`, so ends before.
  }).join();
  Replace(cell_, nullptr);
  ASSERT_NE(hold.node(), nullptr);
  EXPECT_TRUE(Alive(hold));
}

// E5: it would hang, were anything locked while a node's destructor runs.
TEST_F(HazardDomainTest, E5ADestructorMayReadAndRetire) {
  HazardCell other{new TestNode(&live_)};
  Replace(cell_, new TestNode(&live_, [&] {
            EXPECT_NE(Hold(other).node(), nullptr);
            Replace(other, nullptr);
            std::thread([&] { HazardDomain::Protect(other); }).join();
          }));
  Replace(cell_, nullptr);
  EXPECT_EQ(live_.load(), 0);
}

// What another thread retires meanwhile does not wait for that destructor.
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

#ifndef _WIN32

int ExitCodeOfChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Readers and a publisher are in the middle of everything when the process is
// copied; what the child does first works, and frees what it should.
TEST_F(HazardDomainTest, E4AChildCanReadAndReplace) {
  Replace(cell_, new TestNode(&live_));
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) EXPECT_TRUE(Alive(Hold(cell_)));
    });
  }
  threads.emplace_back([&] {
    while (!stop) Replace(cell_, new TestNode(&live_));
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ExitCodeOfChild([&] {
                std::atomic<int> mine{0};
                if (!Alive(Hold(cell_))) return false;
                Replace(cell_, new TestNode(&mine));
                HazardHold hold = Hold(cell_);
                Replace(cell_, nullptr);
                if (!Alive(hold) || mine != 1) return false;
                hold = HazardHold();
                return mine == 0;
              }),
              0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(HazardDomainTest, E4ALeaseOfAThreadThatIsGoneStaysValidInTheChild) {
  Replace(cell_, new TestNode(&live_));
  HazardHold hold;
  absl::Notification held, end;
  std::thread thread([&] {
    hold = Hold(cell_);
    held.Notify();
    end.WaitForNotification();
  });
  held.WaitForNotification();
  EXPECT_EQ(ExitCodeOfChild([&] {
              Replace(cell_, nullptr);
              if (live_ != 1 || !Alive(hold)) return false;
              hold = HazardHold();
              return live_ == 0;
            }),
            0);
  end.Notify();
  thread.join();
}

#endif  // _WIN32

// Publishers, readers that nest, holds handed from thread to thread, threads
// that come and go: nothing is used after its end, everything is freed, and
// the records are as many as there were threads at a time.
TEST_F(HazardDomainTest, R12StressFreesEverythingAndUsesNothingFreed) {
  constexpr int kReaders = 4;
  constexpr int kLives = 10;
  constexpr int kReads = 1000;
  const int records_before = HazardDomain::CountForTesting().records;
  HazardCell cells[2] = {new TestNode(&live_), new TestNode(&live_)};
  absl::Mutex mutex;
  std::vector<HazardHold> passed;
  std::atomic<int> readers{kReaders};
  std::vector<std::thread> threads;
  for (int r = 0; r < kReaders; ++r) {
    threads.emplace_back([&, r] {
      for (int life = 0; life < kLives; ++life) {
        std::thread([&] {
          for (int i = 0; i < kReads; ++i) {
            HazardHold a = Hold(cells[i % 2]);
            HazardHold b = Hold(cells[r % 2]);
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
  for (const HazardHold& hold : passed) ASSERT_TRUE(Alive(hold));
  passed.clear();
  EXPECT_EQ(live_.load(), 0);
  // Threads at a time, and those whose holds had been handed on.
  EXPECT_LE(HazardDomain::CountForTesting().records,
            records_before + 2 * kReaders + 2 + 50);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
