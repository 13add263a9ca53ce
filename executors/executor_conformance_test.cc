// SPDX-License-Identifier: Apache-2.0
//
// What every Executor must do, clause by clause, through the interface alone.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "executors/executor.h"
#include "executors/manual_executor.h"
#include "executors/thread_executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

using ::testing::ElementsAre;

// How the suite makes an executor and brings it to its limits.
class Rig {
 public:
  virtual ~Rig() = default;
  virtual Executor& executor() = 0;
  // From now on, `Run` and `RunAfter` refuse.
  virtual void Refuse() = 0;
  // Destroys the executor, which is not used after.
  virtual void Destroy() = 0;
};

class ManualRig final : public Rig {
 public:
  Executor& executor() override { return *executor_; }
  void Refuse() override {
    executor_->set_refuse_runs(true);
    executor_->set_refuse_timers(true);
  }
  void Destroy() override { executor_.reset(); }

 private:
  std::unique_ptr<ManualExecutor> executor_ =
      std::make_unique<ManualExecutor>();
};

class ThreadRig final : public Rig {
 public:
  explicit ThreadRig(int workers) : workers_(workers) {
    ThreadExecutor::Options options;
    options.workers = workers;
    options.max_queued = 5000;
    options.max_timers = 5000;
    executor_ = ThreadExecutor::Create(options).value();
  }
  ~ThreadRig() override { Destroy(); }

  Executor& executor() override { return *executor_; }
  void Refuse() override {
    // With every worker held up, what is queued stays queued.
    absl::BlockingCounter held(workers_);
    for (int i = 0; i < workers_; ++i) {
      executor_->Run([this, &held] {
        held.DecrementCount();
        stop_.WaitForNotification();
      });
    }
    held.Wait();
    while (executor_->Run([] {})) {
    }
    while (executor_->RunAfter(absl::Hours(1), [] {}) != TimerId::kNone) {
    }
  }
  void Destroy() override {
    if (!stop_.HasBeenNotified()) stop_.Notify();
    executor_.reset();
  }

 private:
  const int workers_;
  absl::Notification stop_;
  std::unique_ptr<ThreadExecutor> executor_;
};

struct Subject {
  std::string name;
  std::function<std::unique_ptr<Rig>()> make;
};

// Calls a function when it is destroyed.
class OnDestroy {
 public:
  explicit OnDestroy(std::function<void()> f) : f_(std::move(f)) {}
  ~OnDestroy() { f_(); }
  OnDestroy(const OnDestroy&) = delete;
  OnDestroy& operator=(const OnDestroy&) = delete;

 private:
  const std::function<void()> f_;
};

class ExecutorConformanceTest : public ::testing::TestWithParam<Subject> {
 protected:
  Executor& executor() { return rig_->executor(); }
  absl::Duration Now() { return executor().clock().Now().since_boot; }

  // Waits, as a caller of any executor should: drives it or, where that is not
  // for this thread, lets its threads work.
  void Await(const absl::Notification& n) {
    if (!executor().DriveUntil([&n] { return n.HasBeenNotified(); },
                               absl::InfiniteDuration())) {
      n.WaitForNotification();
    }
    EXPECT_TRUE(n.HasBeenNotified());
  }

  // Returns when timers that were due before this call have run.
  void AwaitTimersDueNow() {
    absl::Notification ran;
    ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), [&] { ran.Notify(); }),
              TimerId::kNone);
    Await(ran);
  }

  // A task that says when it is destroyed, and calls back into the executor
  // from there in every way.
  Executor::Task Reentrant(absl::Notification* destroyed) {
    return [guard = std::make_unique<OnDestroy>([this, destroyed] {
              executor().Run([] {});
              executor().Cancel(executor().RunAfter(absl::Hours(1), [] {}));
              executor().InExecutorThread();
              executor().clock().Now();
              destroyed->Notify();
            })] {};
  }

  std::unique_ptr<Rig> rig_ = GetParam().make();
};

TEST_P(ExecutorConformanceTest, RunRunsTheTaskOnce) {
  std::atomic<int> ran{0};
  absl::Notification first, second;
  ASSERT_TRUE(executor().Run([&] {
    ++ran;
    first.Notify();
  }));
  Await(first);
  ASSERT_TRUE(executor().Run([&] { second.Notify(); }));
  Await(second);
  EXPECT_EQ(ran, 1);
}

TEST_P(ExecutorConformanceTest, RunDoesNotRunInsideTheCall) {
  const auto check = [this] {
    const std::thread::id caller = std::this_thread::get_id();
    bool inside = true;
    absl::Notification ran;
    EXPECT_TRUE(executor().Run([&] {
      if (std::this_thread::get_id() == caller) {
        EXPECT_FALSE(inside);
      }
      ran.Notify();
    }));
    inside = false;
    return Await(ran);
  };
  check();
  // The same inside a timer's task, where it may well be tempting.
  absl::Notification checked;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    check();
    checked.Notify();
  });
  Await(checked);
}

TEST_P(ExecutorConformanceTest, RunAfterDoesNotRunInsideTheCall) {
  const auto check = [this](absl::Notification* ran) {
    const std::thread::id caller = std::this_thread::get_id();
    auto inside = std::make_shared<bool>(true);
    EXPECT_NE(executor().RunAfter(-absl::Seconds(1),
                                  [=] {
                                    if (std::this_thread::get_id() == caller) {
                                      EXPECT_FALSE(*inside);
                                    }
                                    ran->Notify();
                                  }),
              TimerId::kNone);
    *inside = false;
  };
  absl::Notification outside, in_run, in_timer;
  check(&outside);
  executor().Run([&] { check(&in_run); });
  executor().RunAfter(absl::ZeroDuration(), [&] { check(&in_timer); });
  Await(outside);
  Await(in_run);
  Await(in_timer);
}

TEST_P(ExecutorConformanceTest, TimerDoesNotFireEarly) {
  const absl::Duration delay = absl::Milliseconds(5);
  absl::Notification fired;
  absl::Duration at;
  const absl::Duration start = Now();
  executor().RunAfter(delay, [&] {
    at = Now();
    fired.Notify();
  });
  Await(fired);
  EXPECT_GE(at, start + delay);
}

TEST_P(ExecutorConformanceTest, DueTimersRunInTheOrderOfTheirDueTimes) {
  // Queued inside a timer's task, so that none can run before all are there.
  std::vector<std::string> order;
  absl::Notification all;
  absl::Duration slow_due, fast_due;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    slow_due = Now() + absl::Milliseconds(20);  // Or later.
    executor().RunAfter(absl::Milliseconds(20), [&] {
      order.push_back("slow");
      all.Notify();
    });
    executor().RunAfter(absl::ZeroDuration(), [&] { order.push_back("fast"); });
    fast_due = Now();  // Or earlier.
  });
  Await(all);
  AwaitTimersDueNow();
  // A machine that stood still for 20 ms between the two calls proves nothing.
  if (fast_due < slow_due) {
    EXPECT_THAT(order, ElementsAre("fast", "slow"));
  }
}

TEST_P(ExecutorConformanceTest, NegativeDelayCountsAsZero) {
  std::vector<std::string> order;
  absl::Notification all;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    executor().RunAfter(absl::ZeroDuration(), [&] { order.push_back("zero"); });
    executor().RunAfter(-absl::Hours(1), [&] {
      order.push_back("negative");
      all.Notify();
    });
  });
  Await(all);
  AwaitTimersDueNow();
  EXPECT_THAT(order, ElementsAre("zero", "negative"));
}

TEST_P(ExecutorConformanceTest, InfiniteDelayIsAcceptedAndNeverFires) {
  absl::Notification destroyed;
  std::atomic<bool> ran{false};
  const TimerId id = executor().RunAfter(
      absl::InfiniteDuration(), [&ran, guard = std::make_unique<OnDestroy>([&] {
                                         destroyed.Notify();
                                       })] { ran = true; });
  ASSERT_NE(id, TimerId::kNone);
  AwaitTimersDueNow();
  EXPECT_FALSE(ran);
  EXPECT_FALSE(destroyed.HasBeenNotified());
  EXPECT_TRUE(executor().Cancel(id));
  EXPECT_TRUE(destroyed.HasBeenNotified());
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
  // Cancelled once it is due, inside the timer's task that holds it up.
  std::atomic<bool> ran{false};
  absl::Notification cancelled;
  executor().RunAfter(absl::ZeroDuration(), [&] {
    const TimerId id =
        executor().RunAfter(absl::ZeroDuration(), [&] { ran = true; });
    EXPECT_TRUE(executor().Cancel(id));
    EXPECT_FALSE(executor().Cancel(id));
    cancelled.Notify();
  });
  Await(cancelled);
  AwaitTimersDueNow();
  EXPECT_FALSE(ran);
}

TEST_P(ExecutorConformanceTest, CancelDestroysTheTaskBeforeItReturns) {
  absl::Notification destroyed;
  const TimerId id = executor().RunAfter(absl::Hours(1), Reentrant(&destroyed));
  EXPECT_FALSE(destroyed.HasBeenNotified());
  EXPECT_TRUE(executor().Cancel(id));
  EXPECT_TRUE(destroyed.HasBeenNotified());
}

TEST_P(ExecutorConformanceTest, CancelOfWhatIsNoTimerIsFalse) {
  EXPECT_FALSE(executor().Cancel(TimerId::kNone));
  EXPECT_FALSE(executor().Cancel(static_cast<TimerId>(~uint64_t{0})));
}

TEST_P(ExecutorConformanceTest, CancelOfARunningTimerIsFalseAndDoesNotWait) {
  absl::Mutex mu;
  TimerId id = TimerId::kNone;
  absl::Notification ran;
  {
    absl::MutexLock lock(&mu);
    id = executor().RunAfter(absl::ZeroDuration(), [&] {
      {
        absl::MutexLock lock(&mu);
        EXPECT_FALSE(executor().Cancel(id));
      }
      ran.Notify();
    });
  }
  Await(ran);
  EXPECT_FALSE(executor().Cancel(id));
}

TEST_P(ExecutorConformanceTest, TimersFireWhileWorkersBlock) {
  // More blocked tasks than the executor has workers.
  constexpr int kTasks = 8;
  absl::Notification fired;
  std::vector<absl::Notification> unblocked(kTasks);
  for (absl::Notification& n : unblocked) {
    ASSERT_TRUE(executor().Run([&] {
      Await(fired);
      n.Notify();
    }));
  }
  ASSERT_NE(executor().RunAfter(absl::Milliseconds(1), [&] { fired.Notify(); }),
            TimerId::kNone);
  for (absl::Notification& n : unblocked) Await(n);
}

TEST_P(ExecutorConformanceTest, RefusedTaskIsDestroyed) {
  rig_->Refuse();
  absl::Notification run_destroyed, timer_destroyed;
  EXPECT_FALSE(executor().Run(Reentrant(&run_destroyed)));
  EXPECT_TRUE(run_destroyed.HasBeenNotified());
  EXPECT_EQ(executor().RunAfter(absl::Hours(1), Reentrant(&timer_destroyed)),
            TimerId::kNone);
  EXPECT_TRUE(timer_destroyed.HasBeenNotified());
}

TEST_P(ExecutorConformanceTest, TasksAreDestroyedOutsideLocks) {
  // Reentrant() would wait for the lock it is called under.
  absl::Notification run, timer, cancelled;
  ASSERT_TRUE(executor().Run(Reentrant(&run)));
  ASSERT_NE(executor().RunAfter(absl::ZeroDuration(), Reentrant(&timer)),
            TimerId::kNone);
  EXPECT_TRUE(executor().Cancel(
      executor().RunAfter(absl::Hours(1), Reentrant(&cancelled))));
  Await(run);
  Await(timer);
  EXPECT_TRUE(cancelled.HasBeenNotified());
}

TEST_P(ExecutorConformanceTest, PendingTasksAreDestroyedAndDoNotRun) {
  std::atomic<int> ran{0};
  std::atomic<int> destroyed{0};
  Executor* const pointer = &executor();
  const auto task = [&]() -> Executor::Task {
    return [&ran, guard = std::make_unique<OnDestroy>([&, pointer] {
                    pointer->Cancel(TimerId::kNone);
                    pointer->InExecutorThread();
                    pointer->clock().Now();
                    ++destroyed;
                  })] { ++ran; };
  };
  for (int i = 0; i < 10; ++i) executor().RunAfter(absl::Hours(1), task());
  executor().RunAfter(absl::InfiniteDuration(), task());
  rig_->Destroy();
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(destroyed, 11);
}

TEST_P(ExecutorConformanceTest, InExecutorThreadOnlyInsideTasks) {
  EXPECT_FALSE(executor().InExecutorThread());
  absl::Notification ran, destroyed;
  bool in_task = false, in_destructor = false;
  executor().Run([&, guard = std::make_unique<OnDestroy>([&] {
                       in_destructor = executor().InExecutorThread();
                       destroyed.Notify();
                     })] {
    in_task = executor().InExecutorThread();
    ran.Notify();
  });
  Await(ran);
  Await(destroyed);
  EXPECT_TRUE(in_task);
  EXPECT_TRUE(in_destructor);
  EXPECT_FALSE(executor().InExecutorThread());
}

TEST_P(ExecutorConformanceTest, InExecutorThreadKnowsWhoseThread) {
  const std::unique_ptr<Rig> other = GetParam().make();
  absl::Notification ran;
  executor().Run([&] {
    EXPECT_TRUE(executor().InExecutorThread());
    EXPECT_FALSE(other->executor().InExecutorThread());
    ran.Notify();
  });
  Await(ran);
}

TEST_P(ExecutorConformanceTest, DriveUntilGoesNoFurtherThanDone) {
  int asked = 0;
  const bool drove = executor().DriveUntil(
      [&] {
        ++asked;
        return true;
      },
      absl::InfiniteDuration());
  EXPECT_EQ(asked, drove ? 1 : 0);
}

TEST_P(ExecutorConformanceTest, DriveUntilReachesItsDeadline) {
  const absl::Duration deadline = Now() + absl::Milliseconds(5);
  if (executor().DriveUntil([] { return false; }, deadline)) {
    EXPECT_GE(Now(), deadline);
  }
}

TEST_P(ExecutorConformanceTest, DriveUntilAsksWithoutALock) {
  executor().Run([] {});
  int asked = 0;
  executor().DriveUntil(
      [&] {
        executor().Run([] {});
        executor().Cancel(executor().RunAfter(absl::Hours(1), [] {}));
        return ++asked == 3;
      },
      absl::InfiniteDuration());
}

TEST_P(ExecutorConformanceTest, ConcurrentCallersLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 250;
  std::atomic<int> left{kThreads * kCalls * 2};
  absl::Notification all;
  const auto count = [&] {
    if (--left == 0) all.Notify();
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) {
        EXPECT_TRUE(executor().Run(count));
        // A timer either runs or is cancelled, and each is counted once.
        const TimerId id = executor().RunAfter(absl::ZeroDuration(), count);
        EXPECT_NE(id, TimerId::kNone);
        if (executor().Cancel(id)) count();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Await(all);
}

INSTANTIATE_TEST_SUITE_P(
    Executors, ExecutorConformanceTest,
    ::testing::Values(
        Subject{"Manual", [] { return std::make_unique<ManualRig>(); }},
        Subject{"OneThread", [] { return std::make_unique<ThreadRig>(1); }},
        Subject{"FourThreads", [] { return std::make_unique<ThreadRig>(4); }}),
    [](const ::testing::TestParamInfo<Subject>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace refreshable
