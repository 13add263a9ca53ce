// SPDX-License-Identifier: Apache-2.0
//
// Tests what is specific to ThreadExecutor. testing/executor_conformance.h
// tests what every executor must do.

#include "refreshable/executors/thread_executor.h"

#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable {

class ThreadExecutorTestPeer {
 public:
  static std::unique_ptr<ThreadExecutor> Create(const Clock& clock) {
    return ThreadExecutor::Create(ThreadExecutor::Options(), clock).value();
  }
};

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<ThreadExecutor> WithWorkers(int workers,
                                            size_t max_queued = 100) {
  ThreadExecutor::Options options;
  options.workers = workers;
  options.max_queued = max_queued;
  options.shutdown_grace = absl::InfiniteDuration();
  return ThreadExecutor::Create(options).value();
}

class OnDestroy {
 public:
  explicit OnDestroy(std::function<void()> f) : f_(std::move(f)) {}
  ~OnDestroy() { f_(); }
  OnDestroy(const OnDestroy&) = delete;
  OnDestroy& operator=(const OnDestroy&) = delete;

 private:
  const std::function<void()> f_;
};

// A clock that only the test moves, and that counts how often it is read.
class FakeClock final : public Clock {
 public:
  Instant Now() const override {
    absl::MutexLock lock(&mu_);
    ++readings_;
    return now_;
  }

  void Move(absl::Duration wall, absl::Duration boot) {
    absl::MutexLock lock(&mu_);
    now_.wall += wall;
    now_.boot += boot;
  }

  void AwaitReadings(int n) const {
    absl::MutexLock lock(&mu_);
    const int target = readings_ + n;
    const auto read = [&] { return readings_ >= target; };
    mu_.Await(absl::Condition(&read));
  }

 private:
  mutable absl::Mutex mu_;
  mutable int readings_ = 0;
  Instant now_ = {absl::FromUnixSeconds(1'000'000),
                  BootTime() + absl::Hours(1)};
};

TEST(ThreadExecutorTest, CreateNamesTheFieldAndTheValueItRefuses) {
  using Options = ThreadExecutor::Options;
  const auto error = [](auto Options::*field, auto value) {
    Options options;
    options.*field = value;
    const absl::Status status = ThreadExecutor::Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error(&Options::workers, 0), HasSubstr("workers is 0"));
  EXPECT_THAT(error(&Options::workers, -3), HasSubstr("workers is -3"));
  EXPECT_THAT(error(&Options::workers, 10001), HasSubstr("workers is 10001"));
  EXPECT_THAT(error(&Options::blocking_threads, 0),
              HasSubstr("blocking_threads is 0"));
  EXPECT_THAT(error(&Options::blocking_threads, 10001),
              HasSubstr("blocking_threads is 10001"));
  EXPECT_THAT(error(&Options::idle_timeout, absl::Seconds(-1)),
              HasSubstr("idle_timeout is -1s"));
  EXPECT_THAT(error(&Options::shutdown_grace, absl::Seconds(-1)),
              HasSubstr("shutdown_grace is -1s"));
  EXPECT_THAT(error(&Options::max_queued, size_t{0}),
              HasSubstr("max_queued is 0"));
  EXPECT_THAT(error(&Options::max_timers, size_t{0}),
              HasSubstr("max_timers is 0"));
}

TEST(ThreadExecutorTest, CreateTakesTheExtremes) {
  ThreadExecutor::Options options;
  options.workers = 1;
  options.blocking_threads = 1;
  options.idle_timeout = absl::ZeroDuration();
  options.shutdown_grace = absl::ZeroDuration();
  options.max_queued = 1;
  options.max_timers = 1;
  EXPECT_TRUE(ThreadExecutor::Create(options).ok());
  options.workers = ThreadExecutor::kMaxThreads;
  options.blocking_threads = ThreadExecutor::kMaxThreads;
  options.idle_timeout = absl::InfiniteDuration();
  options.shutdown_grace = absl::InfiniteDuration();
  options.max_queued = std::numeric_limits<size_t>::max();
  options.max_timers = std::numeric_limits<size_t>::max();
  EXPECT_TRUE(ThreadExecutor::Create(options).ok());
}

TEST(ThreadExecutorTest, DefaultConstructedItWorks) {
  ThreadExecutor executor;
  absl::Notification ran, fired;
  EXPECT_TRUE(executor.Run([&] { ran.Notify(); }));
  EXPECT_NE(executor.RunAfter(absl::ZeroDuration(), [&] { fired.Notify(); }),
            TimerId::kNone);
  ran.WaitForNotification();
  fired.WaitForNotification();
}

TEST(ThreadExecutorTest, OneWorkerRunsInTheOrderOfQueueing) {
  std::vector<int> order;
  absl::Notification all_queued;
  absl::BlockingCounter ran(3);
  const auto executor = WithWorkers(1);
  executor->Run([&] { all_queued.WaitForNotification(); });
  for (int i = 0; i < 3; ++i) {
    executor->Run([&order, &ran, i] {
      order.push_back(i);
      ran.DecrementCount();
    });
  }
  all_queued.Notify();
  ran.Wait();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST(ThreadExecutorTest, WorkersWorkAtTheSameTime) {
  constexpr int kWorkers = 3;
  absl::Barrier* const all_inside = new absl::Barrier(kWorkers);
  absl::BlockingCounter done(kWorkers);
  const auto executor = WithWorkers(kWorkers);
  for (int i = 0; i < kWorkers; ++i) {
    executor->Run([&] {
      // No task can return before all of them have started.
      if (all_inside->Block()) delete all_inside;
      done.DecrementCount();
    });
  }
  done.Wait();
}

TEST(ThreadExecutorTest, RunRefusesBeyondMaxQueued) {
  absl::Notification started, stop, drained;
  const auto executor = WithWorkers(1, /*max_queued=*/2);
  ASSERT_TRUE(executor->Run([&] {
    started.Notify();
    stop.WaitForNotification();
  }));
  started.WaitForNotification();
  // The running task does not count towards the limit.
  EXPECT_TRUE(executor->Run([] {}));
  EXPECT_TRUE(executor->Run([&] { drained.Notify(); }));
  EXPECT_FALSE(executor->Run([] {}));
  stop.Notify();
  drained.WaitForNotification();
  EXPECT_TRUE(executor->Run([] {}));
}

TEST(ThreadExecutorTest, RunAfterRefusesBeyondMaxTimers) {
  ThreadExecutor::Options options;
  options.max_timers = 2;
  const auto executor = ThreadExecutor::Create(options).value();
  const auto add = [&] { return executor->RunAfter(absl::Hours(1), [] {}); };
  const TimerId first = add();
  EXPECT_NE(add(), TimerId::kNone);
  EXPECT_EQ(add(), TimerId::kNone);
  EXPECT_TRUE(executor->Cancel(first));
  // A timer that is running does not count towards the limit.
  absl::Notification fired;
  EXPECT_NE(executor->RunAfter(absl::ZeroDuration(),
                               [&] {
                                 EXPECT_NE(add(), TimerId::kNone);
                                 fired.Notify();
                               }),
            TimerId::kNone);
  fired.WaitForNotification();
  EXPECT_EQ(add(), TimerId::kNone);
}

TEST(ThreadExecutorTest, TimerThreadIsNoWorker) {
  ThreadExecutor executor;
  absl::Notification checked;
  executor.RunAfter(absl::ZeroDuration(), [&] {
    EXPECT_FALSE(executor.InExecutorThread());
    checked.Notify();
  });
  checked.WaitForNotification();
}

TEST(ThreadExecutorTest, AnEarlierTimerOvertakesTheOneWaitedFor) {
  const auto executor = WithWorkers(1);
  absl::Notification fired;
  executor->RunAfter(absl::Hours(1), [] { FAIL(); });
  executor->RunAfter(absl::Milliseconds(1), [&] { fired.Notify(); });
  fired.WaitForNotification();
}

TEST(ThreadExecutorTest, R6TimerSeesSuspendAndIgnoresWallSteps) {
  FakeClock clock;
  const auto executor = ThreadExecutorTestPeer::Create(clock);
  absl::Notification fired;
  executor->RunAfter(absl::Hours(10), [&] { fired.Notify(); });
  // After this move, the timer thread reads the clock twice. If the timer were
  // due, the thread would run it between the two readings.
  clock.Move(/*wall=*/absl::Hours(100), absl::ZeroDuration());
  clock.AwaitReadings(2);
  EXPECT_FALSE(fired.HasBeenNotified());
  // To the timer thread, this move looks like a suspension, because the thread
  // ignores the wall time.
  clock.Move(/*wall=*/-absl::Hours(200), absl::Hours(10));
  fired.WaitForNotification();
}

// With a clock that only the test moves, all timers have the same due time.
TEST(ThreadExecutorTest, EqualDueTimesRunInTheOrderOfInsertion) {
  FakeClock clock;
  const auto executor = ThreadExecutorTestPeer::Create(clock);
  std::vector<int> ran;  // Only the timer thread writes to `ran`.
  absl::Notification all_ran;
  for (int i = 0; i < 10; ++i) {
    executor->RunAfter(absl::Hours(1), [&, i] {
      ran.push_back(i);
      if (ran.size() == 10) all_ran.Notify();
    });
  }
  clock.Move(absl::ZeroDuration(), absl::Hours(1));
  all_ran.WaitForNotification();
  EXPECT_THAT(ran, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

// The executor counts in nanoseconds, and rounds due times up.
TEST(ThreadExecutorTest, NoTimerRunsAFractionOfANanosecondEarly) {
  FakeClock clock;
  const auto executor = ThreadExecutorTestPeer::Create(clock);
  absl::Notification later, now;
  executor->RunAfter(absl::Nanoseconds(1) / 4, [&] { later.Notify(); });
  executor->RunAfter(absl::ZeroDuration(), [&] { now.Notify(); });
  now.WaitForNotification();
  EXPECT_FALSE(later.HasBeenNotified());
  clock.Move(absl::ZeroDuration(), absl::Nanoseconds(1));
  later.WaitForNotification();
}

TEST(ThreadExecutorTest, DriveUntilIsForOthers) {
  ThreadExecutor executor;
  const auto asked = []() -> bool {
    ADD_FAILURE();
    return true;
  };
  EXPECT_FALSE(executor.DriveUntil(asked, BootTime::InfiniteFuture()));
  EXPECT_FALSE(executor.DriveUntil(asked, BootTime()));
}

TEST(ThreadExecutorTest, DestructorDropsWhatIsQueuedThenWaitsForWhatRuns) {
  // One task runs on the worker, and one on the timer thread. Each ends only
  // after the executor's destructor has destroyed a queued task.
  absl::Notification work_started, timer_started, dropped, timer_dropped;
  std::atomic<int> finished{0};
  const std::thread::id destroyer = std::this_thread::get_id();
  auto executor = WithWorkers(1);
  ThreadExecutor* const pointer = executor.get();
  const auto refused_everything = [pointer] {
    return !pointer->Run([] { FAIL(); }) &&
           pointer->RunAfter(absl::ZeroDuration(), [] { FAIL(); }) ==
               TimerId::kNone;
  };
  const auto on_drop = [&](absl::Notification* n) {
    return std::make_unique<OnDestroy>([&, n] {
      EXPECT_EQ(std::this_thread::get_id(), destroyer);
      EXPECT_TRUE(refused_everything());
      n->Notify();
    });
  };
  executor->Run([&] {
    work_started.Notify();
    dropped.WaitForNotification();
    EXPECT_TRUE(refused_everything());
    ++finished;
  });
  executor->RunAfter(absl::ZeroDuration(), [&] {
    timer_started.Notify();
    timer_dropped.WaitForNotification();
    ++finished;
  });
  work_started.WaitForNotification();
  timer_started.WaitForNotification();
  executor->Run([guard = on_drop(&dropped)] { FAIL(); });
  executor->RunAfter(absl::ZeroDuration(),
                     [guard = on_drop(&timer_dropped)] { FAIL(); });
  executor.reset();
  EXPECT_EQ(finished, 2);
}

#ifndef _WIN32
// Returns whether `f` returned true in a forked child process.
bool InChild(const std::function<bool()>& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // Ends a child that hangs, so that only this test fails.
    _exit(f() ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(ThreadExecutorTest, E4ForkedChildGetsThreadsOfItsOwn) {
  std::atomic<bool> inherited_ran{false};
  absl::Notification ran_before;
  auto executor = WithWorkers(1);
  executor->Run([&] { ran_before.Notify(); });
  ran_before.WaitForNotification();
  const TimerId inherited =
      executor->RunAfter(absl::Milliseconds(1), [&] { inherited_ran = true; });

  EXPECT_TRUE(InChild([&] {
    inherited_ran = false;
    absl::Notification ran, fired;
    if (executor->Cancel(inherited)) return false;
    if (!executor->Run([&] { ran.Notify(); })) return false;
    ran.WaitForNotification();
    const TimerId id =
        executor->RunAfter(absl::Milliseconds(5), [&] { fired.Notify(); });
    if (id == TimerId::kNone || id == inherited) return false;
    fired.WaitForNotification();
    executor.reset();
    return !inherited_ran;
  }));

  absl::Notification ran;
  executor->Run([&] { ran.Notify(); });
  ran.WaitForNotification();
}

TEST(ThreadExecutorTest, E4ForkedChildMayDestroyWhatItNeverUsed) {
  absl::Notification destroyed;
  auto executor = WithWorkers(2);
  executor->RunAfter(
      absl::Hours(1),
      [guard = std::make_unique<OnDestroy>([&] { destroyed.Notify(); })] {});
  EXPECT_TRUE(InChild([&] {
    executor.reset();
    return !destroyed.HasBeenNotified();
  }));
  EXPECT_FALSE(destroyed.HasBeenNotified());
}
#endif

class ThreadExecutorDeathTest : public ::testing::Test {
 protected:
  // The default style of death tests is unsafe in a program with threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ThreadExecutorDeathTest, DestroyedInsideItsOwnTaskEndsTheProgram) {
  const auto destroy = [](bool on_timer_thread) {
    auto* executor = new ThreadExecutor;
    absl::Notification never;
    if (on_timer_thread) {
      executor->RunAfter(absl::ZeroDuration(), [executor] { delete executor; });
    } else {
      executor->Run([executor] { delete executor; });
    }
    never.WaitForNotification();
  };
  EXPECT_DEATH(destroy(false), "destroyed inside one of its own tasks");
  EXPECT_DEATH(destroy(true), "destroyed inside one of its own tasks");
}

#ifdef __cpp_exceptions
TEST_F(ThreadExecutorDeathTest, EscapingExceptionEndsTheProgram) {
  EXPECT_DEATH(
      {
        ThreadExecutor executor;
        absl::Notification never;
        executor.Run([] { throw std::runtime_error("escaped"); });
        never.WaitForNotification();
      },
      "");
}
#endif

}  // namespace
}  // namespace refreshable
