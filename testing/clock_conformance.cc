// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/clock_conformance.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BootTime;
using ::refreshable::CoarseBootClock;
using ::refreshable::CoarseWallClock;
using ::refreshable::Executor;
using ::refreshable::Instant;

// How far the wall time and the boot time may drift apart while a test runs.
// They may be read at different moments, and NTP may slew only one of them.
constexpr absl::Duration kDrift = absl::Seconds(1);

constexpr int kThreads = 4;
constexpr int kReads = 500;

// Calls `step` twenty times, while other threads call `f` again and again.
// After each step, waits for `kThreads` more calls of `f`.
void InThreads(const std::function<void()>& f,
               const std::function<void()>& step) {
  std::atomic<bool> stop{false};
  std::atomic<int64_t> calls{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        f();
        ++calls;
      }
      f();
    });
  }
  for (int i = 0; i < 20; ++i) {
    const int64_t before = calls;
    step();
    while (calls - before < kThreads) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

void ClockConformanceTest::LetTimePass(absl::Duration d) {
  if (rig_->Advance(d)) return;
  const Instant start = Now();
  DoOrGiveUp("both clocks to move on", [&] {
    while (true) {
      const Instant now = Now();
      if (now.wall > start.wall && now.boot > start.boot) return;
    }
  });
}

void ClockConformanceTest::ExpectNotAhead(const CoarseWallClock& wall) {
  const absl::Time moment = Now().wall;
  EXPECT_GE(wall.Ticks(), wall.TicksBefore(moment)) << moment;
}

void ClockConformanceTest::ExpectNotAhead(const CoarseBootClock& boot) {
  const BootTime moment = Now().boot;
  EXPECT_GE(boot.Ticks(), CoarseBootClock::TicksBefore(moment)) << moment;
}

TEST_P(ClockConformanceTest, BothClocksAreFinite) {
  EXPECT_GT(Now().boot, BootTime::InfinitePast());
  EXPECT_LT(Now().boot, BootTime::InfiniteFuture());
  EXPECT_GT(Now().wall, absl::InfinitePast());
  EXPECT_LT(Now().wall, absl::InfiniteFuture());
}

TEST_P(ClockConformanceTest, BothClocksMoveOn) {
  const Instant start = Now();
  LetTimePass(absl::Hours(1));
  EXPECT_GT(Now().boot, start.boot);
  EXPECT_GT(Now().wall, start.wall);
}

TEST_P(ClockConformanceTest, BothClocksMoveTogether) {
  const Instant start = Now();
  for (int i = 0; i < 100; ++i) {
    LetTimePass(absl::Minutes(1));
    const Instant now = Now();
    ASSERT_LE(
        absl::AbsDuration((now.wall - start.wall) - (now.boot - start.boot)),
        kDrift);
  }
}

TEST_P(ClockConformanceTest, BootTimeNeverDecreases) {
  BootTime last = Now().boot;
  for (int i = 0; i < kReads; ++i) {
    if (i % 100 == 0) LetTimePass(absl::Milliseconds(1));
    const BootTime now = Now().boot;
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST_P(ClockConformanceTest, BootTimeNeverDecreasesFromThreadToThread) {
  struct {
    absl::Mutex mu;
    BootTime latest ABSL_GUARDED_BY(mu);
  } shared;
  {
    absl::MutexLock lock(&shared.mu);
    shared.latest = Now().boot;
  }
  const auto latest = [&] {
    absl::MutexLock lock(&shared.mu);
    return shared.latest;
  };
  InThreads(
      [&] {
        for (int i = 0; i < kReads; ++i) {
          const BootTime before = latest();
          const BootTime now = Now().boot;
          EXPECT_GE(now, before);
          absl::MutexLock lock(&shared.mu);
          shared.latest = std::max(shared.latest, now);
        }
      },
      [&] { LetTimePass(absl::Milliseconds(1)); });
}

TEST_P(ClockConformanceTest, BothClocksAreReadAtOneMoment) {
  const Instant start = Now();
  std::atomic<int> apart{0};
  InThreads(
      [&] {
        for (int i = 0; i < kReads; ++i) {
          const Instant now = Now();
          if (absl::AbsDuration((now.wall - start.wall) -
                                (now.boot - start.boot)) > kDrift) {
            ++apart;
          }
        }
      },
      [&] { LetTimePass(absl::Hours(1)); });
  EXPECT_EQ(apart, 0);
}

TEST_P(ClockConformanceTest, AStepOfTheWallLeavesBootTimeAlone) {
  for (const absl::Duration step : {absl::Hours(2), -absl::Hours(5)}) {
    const Instant before = Now();
    if (!rig_->StepWall(step)) return;
    const Instant after = Now();
    EXPECT_GE(after.boot, before.boot);
    EXPECT_LE(absl::AbsDuration((after.wall - before.wall) -
                                (after.boot - before.boot) - step),
              kDrift);
    EXPECT_LT(after.boot, before.boot + absl::Hours(1));
  }
}

TEST_P(ClockConformanceTest, CoarseWallIsNeverAhead) {
  // A Refreshable, too, calls CoarseWall() only once.
  const CoarseWallClock wall = rig_->clock().CoarseWall();
  for (int i = 0; i < 1000; ++i) {
    ExpectNotAhead(wall);
    LetTimePass(absl::Milliseconds(700));
    ExpectNotAhead(wall);
  }
}

TEST_P(ClockConformanceTest, CoarseWallFollowsSteps) {
  const CoarseWallClock wall = rig_->clock().CoarseWall();
  for (const absl::Duration step : {absl::Hours(2), -absl::Hours(5)}) {
    if (!rig_->StepWall(step)) return;
    ExpectNotAhead(wall);
    ExpectNotAhead(rig_->clock().CoarseWall());
  }
}

TEST_P(ClockConformanceTest, CoarseWallIsNeverAheadInAnotherThread) {
  const CoarseWallClock wall = rig_->clock().CoarseWall();
  InThreads(
      [&] {
        for (int i = 0; i < kReads; ++i) {
          ExpectNotAhead(wall);
          if (i % 100 == 0) ExpectNotAhead(rig_->clock().CoarseWall());
        }
      },
      [&] { LetTimePass(absl::Seconds(1)); });
}

TEST_P(ClockConformanceTest, CoarseBootIsNeverAhead) {
  const CoarseBootClock boot = rig_->clock().CoarseBoot();
  for (int i = 0; i < 1000; ++i) {
    ExpectNotAhead(boot);
    LetTimePass(absl::Milliseconds(700));
    ExpectNotAhead(boot);
  }
  ExpectNotAhead(rig_->clock().CoarseBoot());
}

TEST_P(ClockConformanceTest, CoarseBootIgnoresSteps) {
  const CoarseBootClock boot = rig_->clock().CoarseBoot();
  if (boot.Ticks() ==
      CoarseBootClock::TicksBefore(BootTime::InfiniteFuture())) {
    return;  // This clock's answer is always "not certain" (clock.h).
  }
  for (const absl::Duration step : {-absl::Hours(5), absl::Hours(2)}) {
    if (!rig_->StepWall(step)) return;
    ExpectNotAhead(boot);
    EXPECT_LT(boot.Ticks(),
              CoarseBootClock::TicksBefore(Now().boot + absl::Hours(1)));
  }
}

TEST_P(ClockConformanceTest, CoarseBootIsNeverAheadInAnotherThread) {
  const CoarseBootClock boot = rig_->clock().CoarseBoot();
  InThreads(
      [&] {
        for (int i = 0; i < kReads; ++i) ExpectNotAhead(boot);
      },
      [&] { LetTimePass(absl::Seconds(1)); });
}

TEST_P(ClockConformanceTest, NowWaitsForNoTask) {
  Executor* const executor = rig_->executor();
  if (executor == nullptr) return;
  const auto read = [this] {
    DoOrGiveUp("Now while tasks block", [this] { Now(); });
    Now();
  };
  absl::Notification in_task, in_timer, looked, ended;
  executor->RunAfter(absl::ZeroDuration(), [&] {
    read();
    in_timer.Notify();
  });
  executor->Run([&] {
    read();
    in_task.Notify();
    // If the executor has threads of its own, this task blocks until `looked`
    // is notified.
    if (!executor->DriveUntil([] { return true; },
                              BootTime::InfiniteFuture())) {
      AwaitOrGiveUp(looked, "Now while a task blocks");
    }
    ended.Notify();
  });
  const auto both = [&] {
    return in_task.HasBeenNotified() && in_timer.HasBeenNotified();
  };
  if (!executor->DriveUntil(both, BootTime::InfiniteFuture())) {
    AwaitOrGiveUp(in_task, "the task to be run");
    AwaitOrGiveUp(in_timer, "the timer");
  }
  read();
  looked.Notify();
  AwaitOrGiveUp(ended, "the task to end");
}

}  // namespace refreshable_testing
