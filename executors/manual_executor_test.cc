// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/manual_executor.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = ManualExecutor::PendingStep::Kind;

constexpr auto kNever = [] { return false; };

class OnDestroy {
 public:
  explicit OnDestroy(std::function<void()> f) : f_(std::move(f)) {}
  ~OnDestroy() { f_(); }
  OnDestroy(const OnDestroy&) = delete;
  OnDestroy& operator=(const OnDestroy&) = delete;

 private:
  const std::function<void()> f_;
};

class ManualExecutorTest : public ::testing::Test {
 protected:
  Executor::Task Log(std::string name) {
    return [this, name = std::move(name)] {
      log_.push_back(name + "@" + absl::FormatDuration(Elapsed()));
    };
  }

  absl::Duration Elapsed() const {
    return executor_.clock().Now().boot - start_.boot;
  }
  absl::Duration WallElapsed() const {
    return executor_.clock().Now().wall - start_.wall;
  }
  BootTime In(absl::Duration d) const {
    return executor_.clock().Now().boot + d;
  }

  ManualExecutor executor_;
  const Instant start_ = executor_.clock().Now();
  std::vector<std::string> log_;
};

TEST_F(ManualExecutorTest, T1StartsAtTheDefaultStart) {
  EXPECT_EQ(start_, ManualExecutor::DefaultStart());
  EXPECT_EQ(absl::FormatTime(start_.wall, absl::UTCTimeZone()),
            "2026-01-01T00:00:00+00:00");
  EXPECT_EQ(start_.boot, BootTime() + absl::Hours(1));
}

TEST_F(ManualExecutorTest, T1StartsWhereItIsTold) {
  const Instant start = {absl::FromUnixSeconds(7),
                         BootTime() + absl::Seconds(9)};
  ManualExecutor executor(start);
  EXPECT_EQ(executor.clock().Now(), start);
}

TEST_F(ManualExecutorTest, T1NothingRunsByItself) {
  EXPECT_TRUE(executor_.Run(Log("run")));
  EXPECT_NE(executor_.RunAfter(absl::ZeroDuration(), Log("timer")),
            TimerId::kNone);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(executor_.pending(), 2u);
}

TEST_F(ManualExecutorTest, T1RunNextRunsOneDueStepAndMovesNoTime) {
  executor_.Run(Log("a"));
  executor_.Run(Log("b"));
  executor_.RunAfter(absl::Seconds(1), Log("later"));
  EXPECT_TRUE(executor_.RunNext());
  EXPECT_THAT(log_, ElementsAre("a@0"));
  EXPECT_TRUE(executor_.RunNext());
  EXPECT_FALSE(executor_.RunNext());
  EXPECT_THAT(log_, ElementsAre("a@0", "b@0"));
  EXPECT_EQ(executor_.clock().Now(), start_);
}

TEST_F(ManualExecutorTest, T1RunUntilIdleRunsWhatTasksQueue) {
  executor_.Run([this] {
    log_.push_back("outer");
    executor_.Run(Log("inner"));
    executor_.RunAfter(absl::ZeroDuration(), Log("zero"));
    executor_.RunAfter(absl::Nanoseconds(1), Log("later"));
  });
  EXPECT_EQ(executor_.RunUntilIdle(), 3u);
  EXPECT_THAT(log_, ElementsAre("outer", "inner@0", "zero@0"));
  EXPECT_EQ(executor_.clock().Now(), start_);
  EXPECT_EQ(executor_.RunUntilIdle(), 0u);
}

TEST_F(ManualExecutorTest, T1AdvanceByStepsDeadlineByDeadline) {
  executor_.RunAfter(absl::Seconds(3), Log("c"));
  executor_.RunAfter(absl::Seconds(1), Log("a"));
  executor_.RunAfter(absl::Seconds(2), Log("b"));
  executor_.RunAfter(absl::Seconds(5), Log("out"));
  EXPECT_EQ(executor_.AdvanceBy(absl::Seconds(4)), 3u);
  EXPECT_THAT(log_, ElementsAre("a@1s", "b@2s", "c@3s"));
  EXPECT_EQ(Elapsed(), absl::Seconds(4));
  EXPECT_EQ(WallElapsed(), absl::Seconds(4));
}

TEST_F(ManualExecutorTest, T1AdvanceByIncludesItsLastInstant) {
  executor_.RunAfter(absl::Seconds(1), Log("on time"));
  executor_.AdvanceBy(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_THAT(log_, IsEmpty());
  executor_.AdvanceTo(executor_.clock().Now().wall + absl::Nanoseconds(1));
  EXPECT_THAT(log_, ElementsAre("on time@1s"));
}

TEST_F(ManualExecutorTest, T1TiesRunInTheOrderOfInsertion) {
  executor_.RunAfter(absl::Seconds(1), [this] {
    log_.push_back("first");
    executor_.Run(Log("queued by first"));
  });
  executor_.RunAfter(absl::Seconds(1), Log("second"));
  executor_.RunAfter(absl::Seconds(1), Log("third"));
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(log_, ElementsAre("first", "second@1s", "third@1s",
                                "queued by first@1s"));
}

TEST_F(ManualExecutorTest, T1RearmedTimerInsideWindowFires) {
  std::function<void()> rearm = [&] {
    log_.push_back(absl::FormatDuration(Elapsed()));
    executor_.RunAfter(absl::Seconds(2), rearm);
  };
  executor_.RunAfter(absl::Seconds(2), rearm);
  executor_.AdvanceBy(absl::Seconds(7));
  EXPECT_THAT(log_, ElementsAre("2s", "4s", "6s"));
  EXPECT_EQ(Elapsed(), absl::Seconds(7));
}

TEST_F(ManualExecutorTest, T1AdvanceByRunsTasksAtTheInstantTheyWereQueued) {
  executor_.Run(Log("now"));
  executor_.RunAfter(absl::Seconds(1),
                     [this] { executor_.Run(Log("from timer")); });
  executor_.AdvanceBy(absl::Seconds(5));
  EXPECT_THAT(log_, ElementsAre("now@0", "from timer@1s"));
}

TEST_F(ManualExecutorTest, T1NegativeDelayCountsAsZero) {
  executor_.Run(Log("before"));
  executor_.RunAfter(-absl::InfiniteDuration(), Log("negative"));
  executor_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("before@0", "negative@0"));
}

TEST_F(ManualExecutorTest, T1InfiniteTimerNeverFires) {
  const TimerId id = executor_.RunAfter(absl::InfiniteDuration(), Log("never"));
  ASSERT_NE(id, TimerId::kNone);
  executor_.AdvanceBy(absl::Hours(24 * 365 * 1000));
  EXPECT_FALSE(executor_.RunPending(0));
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(executor_.pending(), 1u);
  EXPECT_TRUE(executor_.Cancel(id));
  EXPECT_EQ(executor_.pending(), 0u);
}

TEST_F(ManualExecutorTest, T1DelayBeyondTheEndOfTimeNeverFires) {
  ManualExecutor executor(
      {absl::UnixEpoch(), BootTime() + absl::Seconds(9e18)});
  executor.RunAfter(absl::Seconds(9e18), Log("never"));
  EXPECT_FALSE(executor.RunPending(0));
  EXPECT_EQ(executor.PendingSteps()[0].due, BootTime::InfiniteFuture());
}

TEST_F(ManualExecutorTest, T1StepWallMovesTheWallAlone) {
  executor_.RunAfter(absl::Seconds(1), Log("timer"));
  executor_.StepWall(absl::Hours(2));
  EXPECT_EQ(WallElapsed(), absl::Hours(2));
  executor_.StepWall(-absl::Hours(5));
  EXPECT_EQ(WallElapsed(), -absl::Hours(3));
  EXPECT_EQ(Elapsed(), absl::ZeroDuration());
  EXPECT_EQ(executor_.RunUntilIdle(), 0u);
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(log_, ElementsAre("timer@1s"));
  EXPECT_EQ(WallElapsed(), absl::Seconds(1) - absl::Hours(3));
}

TEST_F(ManualExecutorTest, T1SuspendMovesBothClocksAndFiresNothing) {
  executor_.RunAfter(absl::Seconds(2), Log("b"));
  executor_.RunAfter(absl::Seconds(1), Log("a"));
  executor_.Suspend(absl::Hours(2));
  EXPECT_EQ(Elapsed(), absl::Hours(2));
  EXPECT_EQ(WallElapsed(), absl::Hours(2));
  EXPECT_THAT(log_, IsEmpty());
  executor_.Run(Log("after"));
  EXPECT_EQ(executor_.RunUntilIdle(), 3u);
  EXPECT_THAT(log_, ElementsAre("a@2h", "b@2h", "after@2h"));
}

TEST_F(ManualExecutorTest, T1SuspendInsideATaskIsTheTimeTheTaskTakes) {
  executor_.Run([this] { executor_.Suspend(absl::Seconds(3)); });
  executor_.RunAfter(absl::Seconds(1), Log("late"));
  executor_.RunAfter(absl::Seconds(4), Log("on time"));
  executor_.AdvanceBy(absl::Seconds(2));
  // The task moved time to 3 s.
  EXPECT_EQ(Elapsed(), absl::Seconds(3));
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(log_, ElementsAre("late@3s", "on time@4s"));
}

TEST_F(ManualExecutorTest, T1PendingStepsSaysWhatRunsNext) {
  const TimerId late = executor_.RunAfter(absl::Seconds(2), Log("late"));
  const TimerId soon = executor_.RunAfter(absl::Seconds(1), Log("soon"));
  executor_.Run(Log("now"));
  const auto steps = executor_.PendingSteps();
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].kind, Kind::kRun);
  EXPECT_EQ(steps[0].due, In(absl::ZeroDuration()));
  EXPECT_EQ(steps[1].kind, Kind::kTimer);
  EXPECT_EQ(steps[1].due, In(absl::Seconds(1)));
  EXPECT_EQ(steps[1].id, static_cast<uint64_t>(soon));
  EXPECT_EQ(steps[2].due, In(absl::Seconds(2)));
  EXPECT_EQ(steps[2].id, static_cast<uint64_t>(late));
  EXPECT_GT(steps[0].id, steps[1].id);
}

TEST_F(ManualExecutorTest, T1RunPendingRunsAnyStep) {
  executor_.Run(Log("a"));
  executor_.Run(Log("b"));
  executor_.RunAfter(absl::Seconds(1), Log("early"));
  executor_.RunAfter(absl::Seconds(5), Log("timer"));
  EXPECT_TRUE(executor_.RunPending(1));
  EXPECT_TRUE(executor_.RunPending(2));
  EXPECT_FALSE(executor_.RunPending(2));
  EXPECT_THAT(log_, ElementsAre("b@0", "timer@5s"));
  executor_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("b@0", "timer@5s", "a@5s", "early@5s"));
}

TEST_F(ManualExecutorTest, T1DropPendingDestroysWithoutRunning) {
  bool destroyed = false;
  auto guard = std::make_unique<OnDestroy>([&] {
    destroyed = true;
    executor_.Run(Log("from destructor"));
  });
  executor_.Run(Log("a"));
  executor_.Run([this, guard = std::move(guard)] { log_.push_back("ran"); });
  EXPECT_TRUE(executor_.DropPending(1));
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(executor_.DropPending(2));
  executor_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("a@0", "from destructor@0"));
}

TEST_F(ManualExecutorTest, T1RefusesWhatItIsToldToRefuse) {
  executor_.set_refuse_runs(true);
  EXPECT_FALSE(executor_.Run(Log("run")));
  EXPECT_NE(executor_.RunAfter(absl::ZeroDuration(), Log("timer")),
            TimerId::kNone);
  executor_.set_refuse_runs(false);
  executor_.set_refuse_timers(true);
  EXPECT_TRUE(executor_.Run(Log("run")));
  EXPECT_EQ(executor_.RunAfter(absl::ZeroDuration(), Log("refused")),
            TimerId::kNone);
  executor_.set_refuse_timers(false);
  EXPECT_EQ(executor_.RunUntilIdle(), 2u);
  EXPECT_THAT(log_, ElementsAre("timer@0", "run@0"));
}

TEST_F(ManualExecutorTest, T1CancelTakesTimersOnly) {
  executor_.Run(Log("run"));
  const uint64_t run_id = executor_.PendingSteps()[0].id;
  EXPECT_FALSE(executor_.Cancel(static_cast<TimerId>(run_id)));
  EXPECT_FALSE(executor_.Cancel(TimerId::kNone));
  EXPECT_EQ(executor_.pending(), 1u);
}

TEST_F(ManualExecutorTest, T1TaskMayCancelATimerOfItsOwnInstant) {
  TimerId second = TimerId::kNone;
  executor_.RunAfter(absl::Seconds(1),
                     [&] { EXPECT_TRUE(executor_.Cancel(second)); });
  second = executor_.RunAfter(absl::Seconds(1), Log("second"));
  EXPECT_EQ(executor_.AdvanceBy(absl::Seconds(1)), 1u);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(ManualExecutorTest, T1DriveUntilStopsWhenDone) {
  bool done = false;
  executor_.RunAfter(absl::Seconds(1), [&] { done = true; });
  executor_.RunAfter(absl::Seconds(1), Log("not reached"));
  EXPECT_TRUE(executor_.DriveUntil([&] { return done; }, In(absl::Seconds(9))));
  EXPECT_TRUE(done);
  EXPECT_EQ(Elapsed(), absl::Seconds(1));
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(ManualExecutorTest, T1DriveUntilRunsNothingOnceDone) {
  executor_.Run(Log("run"));
  EXPECT_TRUE(executor_.DriveUntil([] { return true; }, In(absl::Seconds(1))));
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(executor_.clock().Now(), start_);
}

TEST_F(ManualExecutorTest, T1DriveUntilReachesItsDeadlineAndNoFurther) {
  executor_.RunAfter(absl::Seconds(2), Log("a"));
  executor_.RunAfter(absl::Seconds(3), Log("b"));
  executor_.RunAfter(absl::Seconds(3), [this] { executor_.Run(Log("c")); });
  executor_.RunAfter(absl::Seconds(4), Log("beyond"));
  EXPECT_TRUE(executor_.DriveUntil(kNever, In(absl::Seconds(3))));
  EXPECT_THAT(log_, ElementsAre("a@2s", "b@3s", "c@3s"));
  EXPECT_TRUE(executor_.DriveUntil(kNever, In(absl::Seconds(1) / 2)));
  EXPECT_EQ(Elapsed(), absl::Milliseconds(3500));
  EXPECT_EQ(log_.size(), 3u);
}

TEST_F(ManualExecutorTest, T1DriveUntilWithAPastDeadlineRunsNothing) {
  executor_.Run(Log("run"));
  EXPECT_TRUE(executor_.DriveUntil(kNever, In(absl::ZeroDuration())));
  EXPECT_TRUE(executor_.DriveUntil(kNever, In(-absl::Seconds(1))));
  EXPECT_TRUE(executor_.DriveUntil(kNever, BootTime::InfinitePast()));
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(executor_.clock().Now(), start_);
}

TEST_F(ManualExecutorTest, T1DriveUntilEndsWhenNothingCanChange) {
  executor_.RunAfter(absl::Seconds(1), Log("last"));
  executor_.RunAfter(absl::InfiniteDuration(), Log("never"));
  EXPECT_TRUE(executor_.DriveUntil(kNever, BootTime::InfiniteFuture()));
  EXPECT_THAT(log_, ElementsAre("last@1s"));
  EXPECT_EQ(Elapsed(), absl::Seconds(1));
  EXPECT_EQ(executor_.pending(), 1u);
}

TEST_F(ManualExecutorTest, T1DriveUntilStopsWhenATaskPassesTheDeadline) {
  executor_.Run([this] { executor_.Suspend(absl::Seconds(5)); });
  executor_.RunAfter(absl::Seconds(1), Log("overdue"));
  EXPECT_TRUE(executor_.DriveUntil(kNever, In(absl::Seconds(2))));
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(Elapsed(), absl::Seconds(5));
}

TEST_F(ManualExecutorTest, T1DriveUntilNestsInsideATask) {
  bool done = false;
  executor_.Run([&] {
    executor_.Run([&] { done = true; });
    executor_.Run(Log("queued behind"));
    EXPECT_TRUE(
        executor_.DriveUntil([&] { return done; }, BootTime::InfiniteFuture()));
    EXPECT_TRUE(done);
    EXPECT_THAT(log_, IsEmpty());
    EXPECT_TRUE(executor_.InExecutorThread());
  });
  EXPECT_EQ(executor_.RunUntilIdle(), 2u);
  EXPECT_THAT(log_, ElementsAre("queued behind@0"));
}

TEST_F(ManualExecutorTest, T1DriveUntilIsForTheOwner) {
  executor_.Run(Log("run"));
  std::thread([&] {
    EXPECT_FALSE(executor_.DriveUntil(kNever, In(absl::Seconds(1))));
  }).join();
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(executor_.clock().Now(), start_);

  std::thread([&] {
    executor_.BindToCurrentThread();
    EXPECT_TRUE(executor_.DriveUntil(kNever, In(absl::Seconds(1))));
  }).join();
  EXPECT_THAT(log_, ElementsAre("run@0"));
  EXPECT_FALSE(executor_.DriveUntil(kNever, In(absl::Seconds(1))));
  executor_.BindToCurrentThread();
}

TEST_F(ManualExecutorTest, T1InExecutorThreadInsideTasksOfTheOwner) {
  bool inside = false;
  bool elsewhere = true;
  EXPECT_FALSE(executor_.InExecutorThread());
  executor_.Run([&] {
    inside = executor_.InExecutorThread();
    std::thread([&] { elsewhere = executor_.InExecutorThread(); }).join();
  });
  executor_.RunUntilIdle();
  EXPECT_TRUE(inside);
  EXPECT_FALSE(elsewhere);
  EXPECT_FALSE(executor_.InExecutorThread());
}

TEST_F(ManualExecutorTest, T1OtherThreadsMayQueueAndCancel) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 200;
  int ran = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kTasks; ++i) {
        EXPECT_TRUE(executor_.Run([&] { ++ran; }));
        const TimerId id =
            executor_.RunAfter(absl::Hours(1), Log("cancelled timer"));
        executor_.clock().Now();
        EXPECT_TRUE(executor_.Cancel(id));
      }
    });
  }
  executor_.RunUntilIdle();
  for (std::thread& thread : threads) thread.join();
  executor_.RunUntilIdle();
  EXPECT_EQ(ran, kThreads * kTasks);
  EXPECT_EQ(executor_.pending(), 0u);
}

TEST_F(ManualExecutorTest, T1DestructorDropsInOrderAndRunsNothing) {
  const auto guarded = [this](const std::string& name) -> Executor::Task {
    return [this, name, guard = std::make_unique<OnDestroy>([this, name] {
                          log_.push_back("~" + name);
                        })] { log_.push_back(name); };
  };
  auto executor = std::make_unique<ManualExecutor>();
  executor->RunAfter(absl::Seconds(1), guarded("timer"));
  executor->Run(guarded("run"));
  executor.reset();
  EXPECT_THAT(log_, ElementsAre("~run", "~timer"));
}

#ifdef __cpp_exceptions
TEST_F(ManualExecutorTest, T1EscapingExceptionLeavesTheDrivingCall) {
  executor_.Run([] { throw std::string("escaped"); });
  executor_.Run(Log("next"));
  EXPECT_THROW(executor_.RunUntilIdle(), std::string);
  EXPECT_FALSE(executor_.InExecutorThread());
  executor_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("next@0"));
}
#endif

using ManualExecutorDeathTest = ManualExecutorTest;

TEST_F(ManualExecutorDeathTest, NullTasksEndTheProgram) {
  EXPECT_DEATH(executor_.Run(nullptr), "null task");
  EXPECT_DEATH(executor_.RunAfter(absl::Seconds(1), nullptr), "null task");
}

TEST_F(ManualExecutorDeathTest, T1DrivingFromAnotherThreadEndsTheProgram) {
  const auto elsewhere = [](std::function<void()> f) {
    std::thread(std::move(f)).join();
  };
  const char kMessage[] = "thread that does not own it";
  EXPECT_DEATH(elsewhere([&] { executor_.RunNext(); }), kMessage);
  EXPECT_DEATH(elsewhere([&] { executor_.RunUntilIdle(); }), kMessage);
  EXPECT_DEATH(elsewhere([&] { executor_.RunPending(0); }), kMessage);
  EXPECT_DEATH(elsewhere([&] { executor_.AdvanceBy(absl::ZeroDuration()); }),
               kMessage);
}

TEST_F(ManualExecutorDeathTest, T1TimeDoesNotRunBackwards) {
  EXPECT_DEATH(executor_.AdvanceBy(-absl::Seconds(1)), "negative");
  EXPECT_DEATH(executor_.AdvanceBy(absl::InfiniteDuration()), "infinite");
  EXPECT_DEATH(executor_.Suspend(-absl::Seconds(1)), "negative");
  EXPECT_DEATH(executor_.StepWall(absl::InfiniteDuration()), "infinite");
}

TEST_F(ManualExecutorDeathTest, T1DestroyedInsideItsOwnTaskEndsTheProgram) {
  EXPECT_DEATH(
      {
        auto* executor = new ManualExecutor;
        executor->Run([&] { delete executor; });
        executor->RunUntilIdle();
      },
      "inside one of its tasks");
}

TEST_F(ManualExecutorDeathTest, T1DestroyedBeforeItsUsers) {
  // The destructor of the pending task calls `Run`.
  EXPECT_DEATH(
      {
        auto executor = std::make_unique<ManualExecutor>();
        ManualExecutor* const pointer = executor.get();
        executor->Run([guard = std::make_unique<OnDestroy>(
                           [pointer] { pointer->Run([] {}); })] {});
        executor.reset();
      },
      "destroyed before something that still uses it");
}

}  // namespace
}  // namespace refreshable
