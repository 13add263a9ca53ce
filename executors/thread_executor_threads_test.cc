// SPDX-License-Identifier: Apache-2.0
//
// Tests which threads a ThreadExecutor creates, and what happens to tasks and
// threads when it is shut down or destroyed.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <utility>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/thread_executor.h"

namespace refreshable {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

// The destructor waits for all running tasks.
ThreadExecutor::Options Patient() {
  ThreadExecutor::Options options;
  options.shutdown_grace = absl::InfiniteDuration();
  return options;
}

class Blockade {
 public:
  ~Blockade() { LetGo(); }

  Executor::Task Task(absl::BlockingCounter* started = nullptr) {
    return [go = go_, started] {
      if (started != nullptr) started->DecrementCount();
      go->WaitForNotification();
    };
  }
  void LetGo() {
    if (!go_->HasBeenNotified()) go_->Notify();
  }

 private:
  // Some tasks may return only after the Blockade has been destroyed.
  const std::shared_ptr<absl::Notification> go_ =
      std::make_shared<absl::Notification>();
};

void RunAndWait(Executor& executor) {
  absl::Notification ran;
  ASSERT_TRUE(executor.Run([&] { ran.Notify(); }));
  ran.WaitForNotification();
}

void FireAndWait(Executor& executor) {
  absl::Notification fired;
  ASSERT_NE(executor.RunAfter(absl::ZeroDuration(), [&] { fired.Notify(); }),
            TimerId::kNone);
  fired.WaitForNotification();
}

// Regression test: blocking tasks used to share the executor's four workers
// with all other tasks, so a few hanging sources held up everything.
TEST(ThreadExecutorThreadsTest, X1WhatBlocksHoldsUpNothingElse) {
  for (const int blocked : {4, 32, 300}) {
    SCOPED_TRACE(blocked);
    const auto executor = *ThreadExecutor::Create(Patient());
    Blockade blockade;
    absl::BlockingCounter started(std::min(blocked, 256));
    for (int i = 0; i < blocked; ++i) {
      // At most 256 tasks run at the same time.
      ASSERT_TRUE(
          executor->RunBlocking(blockade.Task(i < 256 ? &started : nullptr)));
    }
    started.Wait();
    RunAndWait(*executor);
    FireAndWait(*executor);
    EXPECT_TRUE(executor->Cancel(executor->RunAfter(absl::Hours(1), [] {})));
  }
}

TEST(ThreadExecutorThreadsTest, X1BlockingTasksBeyondTheBoundWaitTheirTurn) {
  ThreadExecutor::Options options = Patient();
  options.blocking_threads = 2;
  const auto executor = *ThreadExecutor::Create(options);
  Blockade first;
  Blockade second;
  absl::BlockingCounter started(2);
  absl::Notification third;
  std::atomic<bool> let_go{false};
  ASSERT_TRUE(executor->RunBlocking(first.Task(&started)));
  ASSERT_TRUE(executor->RunBlocking(second.Task(&started)));
  ASSERT_TRUE(executor->RunBlocking([&] {
    EXPECT_TRUE(let_go);
    third.Notify();
  }));
  started.Wait();
  RunAndWait(*executor);
  let_go = true;
  first.LetGo();
  third.WaitForNotification();
}

// A callback may block, because it may read another Refreshable.
TEST(ThreadExecutorThreadsTest, X1CallbacksThatBlockGetFurtherThreads) {
  const auto executor = *ThreadExecutor::Create(Patient());
  Blockade blockade;
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(executor->Run(blockade.Task()));
  RunAndWait(*executor);
}

TEST(ThreadExecutorThreadsTest, X1IdleThreadsEnd) {
  // The destructor of a Farewell runs when its thread ends.
  static absl::BlockingCounter* const ended = new absl::BlockingCounter(8);
  struct Farewell {
    bool touched = false;
    ~Farewell() { ended->DecrementCount(); }
  };
  ThreadExecutor::Options options = Patient();
  options.idle_timeout = absl::ZeroDuration();
  const auto executor = *ThreadExecutor::Create(options);
  {
    Blockade blockade;
    absl::BlockingCounter started(8);
    for (int i = 0; i < 8; ++i) {
      ASSERT_TRUE(
          executor->RunBlocking([task = blockade.Task(&started)]() mutable {
            static thread_local Farewell farewell;
            farewell.touched = true;
            std::move(task)();
          }));
    }
    started.Wait();
    blockade.LetGo();
    ended->Wait();
  }
  absl::Notification ran;
  ASSERT_TRUE(executor->RunBlocking([&] { ran.Notify(); }));
  ran.WaitForNotification();
}

TEST(ThreadExecutorThreadsTest, X1BlockingTaskIsInsideTheExecutor) {
  const auto executor = *ThreadExecutor::Create(Patient());
  absl::Notification ran;
  ASSERT_TRUE(executor->RunBlocking([&] {
    EXPECT_TRUE(executor->InExecutorThread());
    ran.Notify();
  }));
  ran.WaitForNotification();
}

// Regression test: timers and tasks beyond the first 16,384 used to be refused.
TEST(ThreadExecutorThreadsTest, X2NothingIsRefusedForNumber) {
  constexpr int kMany = 20000;
  ThreadExecutor::Options options = Patient();
  options.workers = 1;
  options.blocking_threads = 1;
  const auto executor = *ThreadExecutor::Create(options);
  absl::BlockingCounter ran(3 * kMany);
  const auto count = [&ran] { ran.DecrementCount(); };
  Blockade blockade;
  absl::BlockingCounter started(3);
  ASSERT_TRUE(executor->Run(blockade.Task(&started)));
  ASSERT_TRUE(executor->RunBlocking(blockade.Task(&started)));
  ASSERT_NE(executor->RunAfter(absl::ZeroDuration(), blockade.Task(&started)),
            TimerId::kNone);
  started.Wait();
  int refused = 0;
  for (int i = 0; i < kMany; ++i) {
    if (!executor->Run(count)) ++refused;
    if (!executor->RunBlocking(count)) ++refused;
    if (executor->RunAfter(absl::ZeroDuration(), count) == TimerId::kNone) {
      ++refused;
    }
  }
  ASSERT_EQ(refused, 0);
  blockade.LetGo();
  ran.Wait();
}

// Here 16 threads take one task each, the 17th task waits, and the 18th is
// refused.
TEST(ThreadExecutorThreadsTest, X2TheBoundIsOnTasksThatNoThreadCanTake) {
  constexpr int kThreads = 16;
  ThreadExecutor::Options options = Patient();
  options.blocking_threads = kThreads;
  options.max_queued = 1;
  const auto executor = *ThreadExecutor::Create(options);
  Blockade blockade;
  for (int i = 0; i < kThreads + 1; ++i) {
    ASSERT_TRUE(executor->RunBlocking(blockade.Task())) << i;
  }
  EXPECT_FALSE(executor->RunBlocking([] { FAIL(); }));
}

TEST(ThreadExecutorThreadsTest, X4ShutdownSaysHowManyTasksStillRun) {
  const auto executor = *ThreadExecutor::Create(Patient());
  Blockade blockade;
  absl::BlockingCounter started(4);
  ASSERT_TRUE(executor->Run(blockade.Task(&started)));
  ASSERT_TRUE(executor->RunBlocking(blockade.Task(&started)));
  ASSERT_TRUE(executor->RunBlocking(blockade.Task(&started)));
  ASSERT_NE(executor->RunAfter(absl::ZeroDuration(), blockade.Task(&started)),
            TimerId::kNone);
  started.Wait();
  EXPECT_EQ(executor->Shutdown(absl::ZeroDuration()), 4);
  EXPECT_FALSE(executor->Run([] {}));
  EXPECT_FALSE(executor->RunBlocking([] {}));
  EXPECT_EQ(executor->RunAfter(absl::ZeroDuration(), [] {}), TimerId::kNone);
  EXPECT_EQ(executor->Shutdown(-absl::Seconds(1)), 4);
  EXPECT_EQ(executor->Shutdown(absl::Milliseconds(1)), 4);
  blockade.LetGo();
  EXPECT_EQ(executor->Shutdown(absl::InfiniteDuration()), 0);
}

TEST(ThreadExecutorThreadsTest, X4ShutdownDropsWhatIsQueued) {
  ThreadExecutor::Options options = Patient();
  options.blocking_threads = 1;
  const auto executor = *ThreadExecutor::Create(options);
  Blockade blockade;
  absl::BlockingCounter started(1);
  ASSERT_TRUE(executor->RunBlocking(blockade.Task(&started)));
  started.Wait();
  auto queued = std::make_shared<int>();
  ASSERT_TRUE(executor->RunBlocking([queued] { FAIL(); }));
  executor->RunAfter(absl::Hours(1), [queued] { FAIL(); });
  EXPECT_EQ(executor->Shutdown(absl::ZeroDuration()), 1);
  EXPECT_EQ(queued.use_count(), 1);
}

// The memory of `executor` remains valid after `Destroy`, like the memory of a
// destroyed static object.
struct Ghost {
  void Destroy() { executor.~ThreadExecutor(); }

  alignas(ThreadExecutor) unsigned char memory[sizeof(ThreadExecutor)];
  ThreadExecutor& executor = *new (memory) ThreadExecutor([] {
    ThreadExecutor::Options options;
    options.shutdown_grace = absl::ZeroDuration();
    return options;
  }());
};

TEST(ThreadExecutorThreadsTest, X4TasksLeftRunningKeepTheirThreads) {
  static Ghost* const ghost = new Ghost;
  Blockade blockade;
  absl::BlockingCounter started(2);
  absl::Notification went_on;
  ASSERT_TRUE(ghost->executor.Run(blockade.Task(&started)));
  ASSERT_TRUE(ghost->executor.RunBlocking([&, task = blockade.Task(
                                                  &started)]() mutable {
    std::move(task)();
    // A task that was left running must not call the destroyed executor. But
    // while the executor's memory is valid, such a call is safe. New tasks and
    // timers are refused.
    EXPECT_FALSE(ghost->executor.Run([] { FAIL(); }));
    EXPECT_FALSE(ghost->executor.RunBlocking([] { FAIL(); }));
    EXPECT_EQ(ghost->executor.RunAfter(absl::ZeroDuration(), [] { FAIL(); }),
              TimerId::kNone);
    EXPECT_FALSE(ghost->executor.Cancel(TimerId{1}));
    EXPECT_TRUE(ghost->executor.InExecutorThread());
    ghost->executor.clock().Now();
    went_on.Notify();
  }));
  started.Wait();
  CaptureStderr();
  ghost->Destroy();
  EXPECT_THAT(GetCapturedStderr(),
              HasSubstr("ThreadExecutor: destroyed while 2 tasks still ran"));
  blockade.LetGo();
  went_on.WaitForNotification();
}

// Regression test: a task that was left running may call the executor at the
// moment when the executor's destructor ends. Such a call used to end the
// program.
TEST(ThreadExecutorThreadsTest, X4TasksLeftRunningAreRefusedAtAnyMoment) {
  constexpr int kTimes = 50;
  CaptureStderr();
  for (int i = 0; i < kTimes; ++i) {
    const auto ghost = std::make_unique<Ghost>();
    absl::Notification started, ended;
    std::atomic<bool> stop{false};
    ASSERT_TRUE(ghost->executor.RunBlocking([&] {
      started.Notify();
      bool inside = true;
      for (int calls = 0; !stop; ++calls) {
        inside = ghost->executor.InExecutorThread() && inside;
        if (calls % 1000 == 0) std::this_thread::yield();
      }
      EXPECT_TRUE(inside);
      ended.Notify();
    }));
    started.WaitForNotification();
    ghost->Destroy();
    stop = true;
    ended.WaitForNotification();
  }
  GetCapturedStderr();
}

TEST(ThreadExecutorThreadsTest, X4ASilentEndIfNothingRuns) {
  CaptureStderr();
  {
    ThreadExecutor executor;
    RunAndWait(executor);
    FireAndWait(executor);
  }
  EXPECT_THAT(GetCapturedStderr(), IsEmpty());
}

class ThreadExecutorThreadsDeathTest : public ::testing::Test {
 protected:
  // The default style of death tests is unsafe in a program with threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// Regression test: exit() used to wait forever for a source that hung.
TEST_F(ThreadExecutorThreadsDeathTest, X4ExitEndsThoughATaskOfAStaticOneHangs) {
  EXPECT_EXIT(
      {
        static Ghost ghost;
        std::atexit([] { ghost.Destroy(); });
        static auto& never = *new absl::Notification;
        absl::BlockingCounter started(1);
        ghost.executor.RunBlocking([&] {
          started.DecrementCount();
          never.WaitForNotification();
        });
        started.Wait();
        std::exit(0);  // NOLINT(concurrency-mt-unsafe): what is tested.
      },
      ::testing::ExitedWithCode(0), "destroyed while 1 task still ran");
}

TEST_F(ThreadExecutorThreadsDeathTest, NullTasksEndTheProgram) {
  const auto null = [] { return Executor::Task(); };
  ThreadExecutor executor;
  EXPECT_DEATH(executor.Run(null()), "Run of a null task");
  EXPECT_DEATH(executor.RunBlocking(null()), "RunBlocking of a null task");
  EXPECT_DEATH(executor.RunAfter(absl::ZeroDuration(), null()),
               "RunAfter of a null task");
}

TEST_F(ThreadExecutorThreadsDeathTest, UseAfterTheEndEndsTheProgram) {
  Ghost ghost;
  ghost.Destroy();
  constexpr char kWhat[] = "used after its destruction";
  EXPECT_DEATH(ghost.executor.Run([] {}), kWhat);
  EXPECT_DEATH(ghost.executor.RunBlocking([] {}), kWhat);
  EXPECT_DEATH(ghost.executor.RunAfter(absl::ZeroDuration(), [] {}), kWhat);
  EXPECT_DEATH(ghost.executor.Cancel(TimerId{1}), kWhat);
  EXPECT_DEATH(ghost.executor.InExecutorThread(), kWhat);
}

}  // namespace
}  // namespace refreshable
