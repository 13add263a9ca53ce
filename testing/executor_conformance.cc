// SPDX-License-Identifier: Apache-2.0
//
// long: over 500 lines, because this file lists all clauses.

#include "refreshable/testing/executor_conformance.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BootTime;
using ::refreshable::Executor;
using ::refreshable::TimerId;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class OnDestroy {
 public:
  explicit OnDestroy(std::function<void()> f) : f_(std::move(f)) {}
  ~OnDestroy() { f_(); }
  OnDestroy(const OnDestroy&) = delete;
  OnDestroy& operator=(const OnDestroy&) = delete;

 private:
  const std::function<void()> f_;
};

// Counts how often a task runs and is destroyed. Must outlive the task.
struct Fate {
  std::atomic<int> ran{0};
  std::atomic<int> destroyed{0};
  absl::Notification gone;  // Notified when the task is first destroyed.

  // Returns a task that runs `body` and is counted here.
  Executor::Task Watch(std::function<void()> body = [] {}) {
    return [this, body = std::move(body),
            guard = std::make_unique<OnDestroy>([this] {
              if (++destroyed == 1) gone.Notify();
            })] {
      ++ran;
      body();
    };
  }
};

// Keeps `n` tasks of `RunBlocking` blocked while this object exists. The
// constructor waits until all have started, and the destructor until all have
// been destroyed.
class Blockade {
 public:
  Blockade(Executor& executor, int n) : left_(n), fates_(n) {
    for (Fate& fate : fates_) {
      EXPECT_TRUE(executor.RunBlocking(fate.Watch([this] {
        if (--left_ == 0) started_.Notify();
        AwaitOrGiveUp(go_, "the test to let go of blocked tasks");
      })));
    }
    AwaitOrGiveUp(started_, "as many blocked tasks as there may be to start");
  }
  ~Blockade() {
    go_.Notify();
    for (Fate& fate : fates_) AwaitOrGiveUp(fate.gone, "blocked tasks to end");
  }

 private:
  std::atomic<int> left_;
  absl::Notification started_;
  absl::Notification go_;
  std::vector<Fate> fates_;
};

// Calls `queue` with a task that notifies `ran`. Fails the test if this thread
// runs the task before `queue` returns.
void ExpectNotRunInside(absl::FunctionRef<bool(Executor::Task)> queue,
                        absl::Notification* ran) {
  const std::thread::id caller = std::this_thread::get_id();
  auto inside = std::make_shared<std::atomic<bool>>(true);
  EXPECT_TRUE(queue([=] {
    if (std::this_thread::get_id() == caller) {
      EXPECT_FALSE(*inside);
    }
    ran->Notify();
  }));
  *inside = false;
}

}  // namespace

void ExecutorConformanceTest::Await(const absl::Notification& n,
                                    absl::string_view what) {
  if (!executor().DriveUntil([&n] { return n.HasBeenNotified(); },
                             BootTime::InfiniteFuture())) {
    AwaitOrGiveUp(n, what);
  } else if (!n.HasBeenNotified()) {
    GiveUp(what);  // Nothing is pending that could notify `n`.
  }
}

void ExecutorConformanceTest::AwaitTimersDueNow() {
  absl::Notification ran;
  ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), [&] { ran.Notify(); }),
            TimerId::kNone);
  Await(ran, "a timer that is due");
}

Executor::Task ExecutorConformanceTest::Reentrant(
    absl::Notification* destroyed) {
  return [guard = std::make_unique<OnDestroy>([this, destroyed] {
            CallBack();
            destroyed->Notify();
          })] {};
}

void ExecutorConformanceTest::CallBack() {
  DoOrGiveUp("a call of the executor: does it hold a lock?", [this] {
    executor().Run([] {});
    executor().RunBlocking([] {});
    executor().Cancel(executor().RunAfter(absl::Hours(1), [] {}));
    executor().InExecutorThread();
    executor().clock().Now();
  });
}

TEST_P(ExecutorConformanceTest, RunRunsTheTaskOnce) {
  Fate first, second;
  ASSERT_TRUE(executor().Run(first.Watch()));
  Await(first.gone, "the task to be run");
  ASSERT_TRUE(executor().Run(second.Watch()));
  Await(second.gone, "the task to be run");
  EXPECT_EQ(first.ran, 1);
  EXPECT_EQ(second.ran, 1);
}

TEST_P(ExecutorConformanceTest, RunDoesNotRunInsideTheCall) {
  const auto check = [this](absl::Notification* ran) {
    ExpectNotRunInside(
        [this](Executor::Task task) { return executor().Run(std::move(task)); },
        ran);
  };
  absl::Notification outside, in_run, in_timer;
  check(&outside);
  executor().Run([&] { check(&in_run); });
  executor().RunAfter(absl::ZeroDuration(), [&] { check(&in_timer); });
  Await(outside, "the task to be run");
  Await(in_run, "the task of a task to be run");
  Await(in_timer, "the task of a timer to be run");
}

TEST_P(ExecutorConformanceTest, RunDoesNotWaitForOtherTasks) {
  // If the executor has fewer than eight threads, some tasks wait in its queue.
  absl::Notification go;
  std::array<Fate, 8> fates;
  DoOrGiveUp("Run to return while tasks block", [&] {
    for (Fate& fate : fates) {
      EXPECT_TRUE(executor().Run(fate.Watch(
          [&] { AwaitOrGiveUp(go, "Run to return while tasks block"); })));
    }
  });
  go.Notify();
  for (Fate& fate : fates) Await(fate.gone, "the tasks to be run");
}

TEST_P(ExecutorConformanceTest, RunBlockingRunsTheTaskOnce) {
  Fate first, second;
  ASSERT_TRUE(executor().RunBlocking(first.Watch()));
  Await(first.gone, "the blocking task to be run");
  ASSERT_TRUE(executor().RunBlocking(second.Watch()));
  Await(second.gone, "the blocking task to be run");
  EXPECT_EQ(first.ran, 1);
  EXPECT_EQ(second.ran, 1);
}

TEST_P(ExecutorConformanceTest, RunBlockingDoesNotRunInsideTheCall) {
  const auto check = [this](absl::Notification* ran) {
    ExpectNotRunInside(
        [this](Executor::Task task) {
          return executor().RunBlocking(std::move(task));
        },
        ran);
  };
  absl::Notification outside, in_run, in_blocking, in_timer;
  check(&outside);
  executor().Run([&] { check(&in_run); });
  executor().RunBlocking([&] { check(&in_blocking); });
  executor().RunAfter(absl::ZeroDuration(), [&] { check(&in_timer); });
  Await(outside, "the blocking task to be run");
  Await(in_run, "the blocking task of a task to be run");
  Await(in_blocking, "the blocking task of a blocking task to be run");
  Await(in_timer, "the blocking task of a timer to be run");
}

TEST_P(ExecutorConformanceTest, RunBlockingDoesNotWaitForOtherTasks) {
  // There are more tasks than `BlockedTasks()`, so some may wait in a queue.
  absl::Notification go;
  std::vector<Fate> fates(rig_->BlockedTasks() + 8);
  DoOrGiveUp("RunBlocking to return while tasks block", [&] {
    for (Fate& fate : fates) {
      EXPECT_TRUE(executor().RunBlocking(fate.Watch([&] {
        AwaitOrGiveUp(go, "RunBlocking to return while tasks block");
      })));
    }
  });
  go.Notify();
  for (Fate& fate : fates) Await(fate.gone, "the blocking tasks to be run");
}

TEST_P(ExecutorConformanceTest, BlockedTasksRunAtTheSameTime) {
  if (rig_->BlockedTasks() == 0) return;
  const Blockade blockade(executor(), rig_->BlockedTasks());
}

TEST_P(ExecutorConformanceTest, RunIsNotHeldUpByBlockedTasks) {
  if (rig_->BlockedTasks() == 0) return;
  const Blockade blockade(executor(), rig_->BlockedTasks());
  Fate fate;
  ASSERT_TRUE(executor().Run(fate.Watch()));
  Await(fate.gone, "a task of Run while others block");
  EXPECT_EQ(fate.ran, 1);
}

TEST_P(ExecutorConformanceTest, TimersAreNotHeldUpByBlockedTasks) {
  if (rig_->BlockedTasks() == 0) return;
  const Blockade blockade(executor(), rig_->BlockedTasks());
  Fate fate;
  ASSERT_NE(executor().RunAfter(absl::Milliseconds(1), fate.Watch()),
            TimerId::kNone);
  Await(fate.gone, "a timer while tasks block");
  EXPECT_EQ(fate.ran, 1);
}

TEST_P(ExecutorConformanceTest, CancelIsNotHeldUpByBlockedTasks) {
  if (rig_->BlockedTasks() == 0) return;
  const Blockade blockade(executor(), rig_->BlockedTasks());
  Fate fate;
  DoOrGiveUp("Cancel while tasks block", [&] {
    EXPECT_TRUE(
        executor().Cancel(executor().RunAfter(absl::Hours(1), fate.Watch())));
  });
  EXPECT_EQ(fate.destroyed, 1);
}

TEST_P(ExecutorConformanceTest, RunAfterDoesNotRunInsideTheCall) {
  const auto check = [this](absl::Notification* ran) {
    ExpectNotRunInside(
        [this](Executor::Task task) {
          return executor().RunAfter(-absl::Seconds(1), std::move(task)) !=
                 TimerId::kNone;
        },
        ran);
  };
  absl::Notification outside, in_run, in_timer;
  check(&outside);
  executor().Run([&] { check(&in_run); });
  executor().RunAfter(absl::ZeroDuration(), [&] { check(&in_timer); });
  Await(outside, "the timer");
  Await(in_run, "the timer of a task");
  Await(in_timer, "the timer of a timer");
}

TEST_P(ExecutorConformanceTest, TimerRunsOnce) {
  Fate first, second;
  ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), first.Watch()),
            TimerId::kNone);
  Await(first.gone, "the timer");
  ASSERT_NE(executor().RunAfter(absl::Milliseconds(1), second.Watch()),
            TimerId::kNone);
  Await(second.gone, "the timer");
  EXPECT_EQ(first.ran, 1);
  EXPECT_EQ(second.ran, 1);
}

TEST_P(ExecutorConformanceTest, TimerDoesNotFireEarly) {
  const absl::Duration delay = absl::Milliseconds(5);
  absl::Notification fired;
  BootTime at;
  const BootTime start = Now();
  executor().RunAfter(delay, [&] {
    at = Now();
    fired.Notify();
  });
  Await(fired, "the timer");
  EXPECT_GE(at, start + delay);
}

TEST_P(ExecutorConformanceTest, DueTimersRunInTheOrderOfTheirDueTimes) {
  // Timers run one after another, so a timer's task can queue both timers
  // before either of them runs.
  std::vector<std::string> order;
  absl::Notification all;
  BootTime slow_due, fast_due;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    // The slow timer is due at `slow_due` or later.
    slow_due = Now() + absl::Milliseconds(20);
    executor().RunAfter(absl::Milliseconds(20), [&] {
      order.push_back("slow");
      all.Notify();
    });
    executor().RunAfter(absl::ZeroDuration(), [&] { order.push_back("fast"); });
    fast_due = Now();  // The fast timer is due at `fast_due` or earlier.
  });
  Await(all, "the timers");
  AwaitTimersDueNow();
  // If this is false, the calls above took too long, and the order proves
  // nothing.
  if (fast_due < slow_due) {
    EXPECT_THAT(order, ElementsAre("fast", "slow"));
  }
}

TEST_P(ExecutorConformanceTest, NegativeDelayCountsAsZero) {
  std::vector<std::string> order;
  absl::Notification zero, negative;
  bool moved = false;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    EXPECT_NE(executor().RunAfter(absl::ZeroDuration(),
                                  [&] {
                                    order.push_back("zero");
                                    zero.Notify();
                                  }),
              TimerId::kNone);
    // Waits until the clock has moved, so that the due times differ. A virtual
    // clock does not move by itself.
    const BootTime queued = Now();
    for (int i = 0; i < 10000 && !moved; ++i) moved = Now() > queued;
    EXPECT_NE(executor().RunAfter(-absl::Hours(1),
                                  [&] {
                                    order.push_back("negative");
                                    negative.Notify();
                                  }),
              TimerId::kNone);
  });
  Await(zero, "the timer without delay");
  Await(negative, "the timer with a negative delay");
  if (moved) {
    EXPECT_THAT(order, ElementsAre("zero", "negative"));
  } else {
    EXPECT_THAT(order, UnorderedElementsAre("zero", "negative"));
  }
}

TEST_P(ExecutorConformanceTest, InfiniteDelayIsAcceptedAndNeverFires) {
  Fate fate;
  const TimerId id =
      executor().RunAfter(absl::InfiniteDuration(), fate.Watch());
  ASSERT_NE(id, TimerId::kNone);
  AwaitTimersDueNow();
  EXPECT_EQ(fate.ran, 0);
  EXPECT_EQ(fate.destroyed, 0);
  EXPECT_TRUE(executor().Cancel(id));
  EXPECT_EQ(fate.destroyed, 1);
}

TEST_P(ExecutorConformanceTest, TimerIdsAreNeverReused) {
  const TimerId first = executor().RunAfter(absl::Hours(1), [] {});
  const TimerId second = executor().RunAfter(absl::Hours(1), [] {});
  EXPECT_TRUE(executor().Cancel(first));
  const TimerId third = executor().RunAfter(absl::Hours(1), [] {});
  EXPECT_NE(first, TimerId::kNone);
  EXPECT_NE(first, second);
  EXPECT_NE(first, third);
  EXPECT_NE(second, third);
  EXPECT_TRUE(executor().Cancel(second));
  EXPECT_TRUE(executor().Cancel(third));
}

TEST_P(ExecutorConformanceTest, CancelledTimerNeverRuns) {
  // A timer's task arms a second timer, which is due at once, and cancels it.
  // The second timer cannot have run yet, because timers run one after another.
  Fate fate;
  absl::Notification cancelled;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    const TimerId id = executor().RunAfter(absl::ZeroDuration(), fate.Watch());
    EXPECT_TRUE(executor().Cancel(id));
    EXPECT_FALSE(executor().Cancel(id));
    cancelled.Notify();
  });
  Await(cancelled, "the timer");
  AwaitTimersDueNow();
  EXPECT_EQ(fate.ran, 0);
}

TEST_P(ExecutorConformanceTest, CancelDestroysTheTaskBeforeItReturns) {
  Fate fate;
  const TimerId id = executor().RunAfter(absl::Hours(1), fate.Watch());
  EXPECT_EQ(fate.destroyed, 0);
  EXPECT_TRUE(executor().Cancel(id));
  EXPECT_EQ(fate.destroyed, 1);
}

TEST_P(ExecutorConformanceTest, CancelOfWhatIsNoTimerIsFalse) {
  EXPECT_FALSE(executor().Cancel(TimerId::kNone));
  EXPECT_FALSE(executor().Cancel(static_cast<TimerId>(~uint64_t{0})));
}

TEST_P(ExecutorConformanceTest, CancelOfATimerThatRanIsFalse) {
  Fate fate;
  const TimerId id = executor().RunAfter(absl::ZeroDuration(), fate.Watch());
  Await(fate.gone, "the timer");
  EXPECT_FALSE(executor().Cancel(id));
}

TEST_P(ExecutorConformanceTest, CancelOfARunningTimerIsFalseAndDoesNotWait) {
  absl::Mutex mu;
  TimerId id = TimerId::kNone;
  absl::Notification ran;
  {
    absl::MutexLock lock(&mu);
    id = executor().RunAfter(absl::ZeroDuration(), [&] {
      DoOrGiveUp("Cancel of the timer that is running", [&] {
        absl::MutexLock lock(&mu);
        EXPECT_FALSE(executor().Cancel(id));
      });
      ran.Notify();
    });
  }
  Await(ran, "the timer");
}

TEST_P(ExecutorConformanceTest, TimersFireWhileWorkersBlock) {
  // If the executor has at most eight threads, these tasks block all of them.
  constexpr char kWhat[] = "a timer that is due while every worker is blocked";
  absl::Notification fired;
  std::array<Fate, 8> fates;
  for (Fate& fate : fates) {
    ASSERT_TRUE(executor().Run(fate.Watch([&] { Await(fired, kWhat); })));
  }
  ASSERT_NE(executor().RunAfter(absl::Milliseconds(1), [&] { fired.Notify(); }),
            TimerId::kNone);
  Await(fired, kWhat);
  for (Fate& fate : fates) Await(fate.gone, "the tasks to be run");
}

TEST_P(ExecutorConformanceTest, RefusedTaskIsDestroyedBeforeRunReturns) {
  if (!rig_->Refuse()) return;
  Fate fate;
  EXPECT_FALSE(executor().Run(fate.Watch()));
  EXPECT_EQ(fate.destroyed, 1);
  EXPECT_EQ(fate.ran, 0);
}

TEST_P(ExecutorConformanceTest,
       RefusedBlockingTaskIsDestroyedBeforeRunBlockingReturns) {
  if (!rig_->Refuse()) return;
  Fate fate;
  EXPECT_FALSE(executor().RunBlocking(fate.Watch()));
  EXPECT_EQ(fate.destroyed, 1);
  EXPECT_EQ(fate.ran, 0);
}

TEST_P(ExecutorConformanceTest, RefusedTimerIsDestroyedBeforeRunAfterReturns) {
  if (!rig_->Refuse()) return;
  Fate fate;
  EXPECT_EQ(executor().RunAfter(absl::Hours(1), fate.Watch()), TimerId::kNone);
  EXPECT_EQ(fate.destroyed, 1);
  EXPECT_EQ(fate.ran, 0);
}

TEST_P(ExecutorConformanceTest, TasksAreDestroyedOnceTheyHaveRun) {
  Fate task, blocking, timer;
  ASSERT_TRUE(
      executor().Run(task.Watch([&] { EXPECT_EQ(task.destroyed, 0); })));
  ASSERT_TRUE(executor().RunBlocking(
      blocking.Watch([&] { EXPECT_EQ(blocking.destroyed, 0); })));
  ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), timer.Watch([&] {
    EXPECT_EQ(timer.destroyed, 0);
  })),
            TimerId::kNone);
  Await(task.gone, "a task that has run to be destroyed");
  Await(blocking.gone, "a blocking task that has run to be destroyed");
  Await(timer.gone, "a timer's task that has run to be destroyed");
}

TEST_P(ExecutorConformanceTest, TasksAreDestroyedOutsideLocks) {
  absl::Notification run, blocking, timer, cancelled;
  ASSERT_TRUE(executor().Run(Reentrant(&run)));
  ASSERT_TRUE(executor().RunBlocking(Reentrant(&blocking)));
  ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), Reentrant(&timer)),
            TimerId::kNone);
  EXPECT_TRUE(executor().Cancel(
      executor().RunAfter(absl::Hours(1), Reentrant(&cancelled))));
  Await(run, "the task to be destroyed");
  Await(blocking, "the blocking task to be destroyed");
  Await(timer, "the timer's task to be destroyed");
  EXPECT_TRUE(cancelled.HasBeenNotified());
}

TEST_P(ExecutorConformanceTest, RefusedTasksAreDestroyedOutsideLocks) {
  if (!rig_->Refuse()) return;
  absl::Notification run, blocking, timer;
  EXPECT_FALSE(executor().Run(Reentrant(&run)));
  EXPECT_FALSE(executor().RunBlocking(Reentrant(&blocking)));
  EXPECT_EQ(executor().RunAfter(absl::Hours(1), Reentrant(&timer)),
            TimerId::kNone);
}

TEST_P(ExecutorConformanceTest, PendingTasksAreDestroyedWithTheExecutor) {
  std::array<Fate, 10> tasks, blocking, timers;
  for (Fate& fate : tasks) executor().Run(fate.Watch());
  for (Fate& fate : blocking) executor().RunBlocking(fate.Watch());
  for (Fate& fate : timers) {
    executor().RunAfter(
        &fate == &timers[0] ? absl::InfiniteDuration() : absl::Hours(1),
        fate.Watch());
  }
  rig_->Destroy();
  for (std::array<Fate, 10>* fates : {&tasks, &blocking}) {
    for (Fate& fate : *fates) {
      EXPECT_LE(fate.ran, 1);
      EXPECT_EQ(fate.destroyed, 1);
    }
  }
  for (Fate& fate : timers) {
    EXPECT_EQ(fate.ran, 0);
    EXPECT_EQ(fate.destroyed, 1);
  }
}

TEST_P(ExecutorConformanceTest, PendingTasksMayCallTheDyingExecutor) {
  absl::Notification destroyed;
  Executor* const dying = &executor();
  dying->RunAfter(absl::Hours(1), [guard = std::make_unique<OnDestroy>([&] {
                                     DoOrGiveUp("a call of the dying executor",
                                                [&] {
                                                  dying->Cancel(TimerId::kNone);
                                                  dying->InExecutorThread();
                                                  dying->clock().Now();
                                                });
                                     destroyed.Notify();
                                   })] {});
  rig_->Destroy();
  EXPECT_TRUE(destroyed.HasBeenNotified());
}

TEST_P(ExecutorConformanceTest, InExecutorThreadOnlyInsideTasks) {
  EXPECT_FALSE(executor().InExecutorThread());
  absl::Notification destroyed;
  bool in_task = false, in_destructor = false;
  executor().Run([&, guard = std::make_unique<OnDestroy>([&] {
                       in_destructor = executor().InExecutorThread();
                       destroyed.Notify();
                     })] { in_task = executor().InExecutorThread(); });
  Await(destroyed, "the task to be run");
  EXPECT_TRUE(in_task);
  EXPECT_TRUE(in_destructor);
  EXPECT_FALSE(executor().InExecutorThread());
}

TEST_P(ExecutorConformanceTest, InExecutorThreadInsideBlockingTasks) {
  absl::Notification destroyed;
  bool in_task = false, in_destructor = false;
  executor().RunBlocking([&, guard = std::make_unique<OnDestroy>([&] {
                               in_destructor = executor().InExecutorThread();
                               destroyed.Notify();
                             })] { in_task = executor().InExecutorThread(); });
  Await(destroyed, "the blocking task to be run");
  EXPECT_TRUE(in_task);
  EXPECT_TRUE(in_destructor);
  EXPECT_FALSE(executor().InExecutorThread());
}

TEST_P(ExecutorConformanceTest, InExecutorThreadKnowsWhoseThread) {
  const std::unique_ptr<ExecutorRig> other = GetParam().make();
  Fate fate;
  executor().Run(fate.Watch([&] {
    EXPECT_TRUE(executor().InExecutorThread());
    EXPECT_FALSE(other->executor().InExecutorThread());
  }));
  Await(fate.gone, "the task to be run");
}

TEST_P(ExecutorConformanceTest, DriveUntilGoesNoFurtherThanDone) {
  Fate fate;
  executor().Run(fate.Watch());
  int asked = 0;
  const bool drove = executor().DriveUntil(
      [&] {
        ++asked;
        return true;
      },
      BootTime::InfiniteFuture());
  EXPECT_EQ(asked, drove ? 1 : 0);
  if (drove) {
    EXPECT_EQ(fate.ran, 0);
  }
  Await(fate.gone, "the task to be run");
}

TEST_P(ExecutorConformanceTest, DriveUntilReachesItsDeadline) {
  const BootTime deadline = Now() + absl::Milliseconds(5);
  if (executor().DriveUntil([] { return false; }, deadline)) {
    EXPECT_GE(Now(), deadline);
  }
}

TEST_P(ExecutorConformanceTest, DriveUntilReturnsWhenNothingIsPending) {
  executor().RunAfter(absl::InfiniteDuration(), [] {});
  int asked = 0;
  executor().DriveUntil(
      [&] {
        if (++asked > 1000) GiveUp("DriveUntil to see that nothing is pending");
        return false;
      },
      BootTime::InfiniteFuture());
}

TEST_P(ExecutorConformanceTest, DriveUntilAsksWithoutALock) {
  executor().Run([] {});
  int asked = 0;
  executor().DriveUntil(
      [&] {
        CallBack();
        return ++asked == 3;
      },
      BootTime::InfiniteFuture());
}

// Many tokens that are refreshed on one executor may expire at the same moment.
// Then many tasks and timers are pending.
TEST_P(ExecutorConformanceTest, ManyPendingTasksAndTimersAreAccepted) {
  constexpr int kMany = 20000;
  absl::Notification all;
  std::atomic<int> left{2 * kMany};
  const auto count = [&] {
    if (--left == 0) all.Notify();
  };
  std::vector<TimerId> timers;
  // If the executor has only one thread, this task makes all others pending
  // before any of them runs.
  absl::Notification queued;
  executor().Run([&] {
    for (int i = 0; i < kMany; ++i) {
      timers.push_back(executor().RunAfter(absl::Hours(1), [] {}));
      EXPECT_NE(timers.back(), TimerId::kNone) << i;
      EXPECT_TRUE(executor().Run(count)) << i;
      EXPECT_TRUE(executor().RunBlocking(count)) << i;
    }
    queued.Notify();
  });
  Await(queued, "the task that queues others");
  if (HasFailure()) return;
  Await(all, "every task");
  for (const TimerId timer : timers) EXPECT_TRUE(executor().Cancel(timer));
}

TEST_P(ExecutorConformanceTest, ConcurrentCallersLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 250;
  std::atomic<int> left{kThreads * kCalls * 2};
  std::atomic<int> served{0};
  absl::Notification all;
  const auto task = [&]() -> Executor::Task {
    return [&served, guard = std::make_unique<OnDestroy>([&] {
                       if (--left == 0) all.Notify();
                     })] { ++served; };
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) {
        EXPECT_TRUE(executor().Run(task()));
        // A timer counts when it runs or when it is cancelled.
        const TimerId id = executor().RunAfter(absl::ZeroDuration(), task());
        EXPECT_NE(id, TimerId::kNone);
        if (executor().Cancel(id)) ++served;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Await(all, "every task to be run or destroyed");
  EXPECT_EQ(served, kThreads * kCalls * 2);
}

}  // namespace refreshable_testing
