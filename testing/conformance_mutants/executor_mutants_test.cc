// SPDX-License-Identifier: Apache-2.0
//
// long: over 500 lines, because this file lists all faults.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/conformance_mutants/mutant_runner_test_util.h"
#include "refreshable/testing/executor_conformance.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BootTime;
using ::refreshable::Clock;
using ::refreshable::Executor;
using ::refreshable::ManualExecutor;
using ::refreshable::ThreadExecutor;
using ::refreshable::TimerId;

enum class Fault {
  kNone,
  // Faults of Run.
  kLosesTasks,
  kLosesSomeTasks,
  kRunsTwice,
  kRunsInside,
  kRunWaits,
  kKeepsTasks,
  kDestroysTasksUnderLock,
  kCallsUnderLock,
  kRefusesMany,
  // Faults with blocking tasks.
  kOneBlockingThread,
  kRunWaitsForBlocked,
  kTimersWaitForBlocked,
  kCancelWaitsForBlocked,
  // Faults of RunAfter.
  kTimerRunsTwice,
  kTimerRunsInside,
  kTimerEarly,
  kTimersInOrderOfQueueing,
  kRefusesNegativeDelay,
  kNegativeDelayGoesFirst,
  kRefusesInfiniteDelay,
  kInfiniteDelayFires,
  kReusesIds,
  kTimersOnWorkers,
  kKeepsTimers,
  kRefusesManyTimers,
  // Faults of Cancel.
  kCancelLies,
  kCancelAlwaysTrue,
  kCancelTrueOnceQueued,
  kCancelKeepsTask,
  kCancelWaits,
  // Faults of InExecutorThread.
  kAlwaysInThread,
  kNeverInThread,
  kAnyExecutorsThread,
  // Faults of DriveUntil.
  kDrivesBeforeAsking,
  kAsksThoughItCannotDrive,
  kDrivesTooShort,
  kDrivesForEver,
  kAsksUnderLock,
  // Faults of the destructor.
  kRunsPendingTimersAtTheEnd,
  kLeaksPendingTasks,
  kDiesUnderLock,
};

constexpr int kBlockingThreads = 2;

// Wraps a ThreadExecutor if `threads` is true, else a ManualExecutor, and adds
// a fault. If `in_blocking` is true, a fault of `Run` becomes a fault of
// `RunBlocking` instead.
class FaultyExecutor final : public Executor {
 public:
  FaultyExecutor(Fault fault, bool threads, bool in_blocking)
      : fault_(fault), in_blocking_(in_blocking) {
    if (threads) {
      ThreadExecutor::Options options;
      options.workers = 1;
      options.blocking_threads =
          fault == Fault::kOneBlockingThread ? 1 : kBlockingThreads;
      options.shutdown_grace = absl::InfiniteDuration();
      if (fault == Fault::kRefusesMany) options.max_queued = 100;
      if (fault == Fault::kRefusesManyTimers) options.max_timers = 100;
      inner_ = ThreadExecutor::Create(options).value().release();
    } else {
      inner_ = manual_ = new ManualExecutor();
    }
  }

  ~FaultyExecutor() override {
    if (fault_ == Fault::kRunsPendingTimersAtTheEnd) {
      for (const auto& task : Kept()) {
        if (*task) std::move (*task)();
      }
    }
    if (fault_ == Fault::kLeaksPendingTasks) {
      static auto* const leaked = new std::vector<std::shared_ptr<Task>>;
      *leaked = Kept();
    }
    if (fault_ == Fault::kDiesUnderLock) {
      absl::MutexLock lock(&mu_);
      delete inner_;
      return;
    }
    delete inner_;
  }

  bool Run(Task task) override { return Queue(std::move(task), false); }
  bool RunBlocking(Task task) override { return Queue(std::move(task), true); }

  TimerId RunAfter(absl::Duration delay, Task task) override {
    switch (fault_) {
      case Fault::kTimerRunsTwice:
        return inner_->RunAfter(delay, Twice(std::move(task)));
      case Fault::kTimerRunsInside:
        if (delay <= absl::ZeroDuration()) {
          std::move(task)();
          return TimerId{1};
        }
        break;
      case Fault::kTimerEarly:
        return inner_->RunAfter(delay / 2, std::move(task));
      case Fault::kTimersInOrderOfQueueing: {
        absl::MutexLock lock(&mu_);
        longest_ = std::max(longest_, delay);
        return inner_->RunAfter(longest_, std::move(task));
      }
      case Fault::kRefusesNegativeDelay:
        if (delay < absl::ZeroDuration()) return TimerId::kNone;
        break;
      case Fault::kNegativeDelayGoesFirst: {
        if (delay > absl::ZeroDuration()) break;
        absl::MutexLock lock(&mu_);
        if (delay < absl::ZeroDuration()) {
          due_.push_front(std::move(task));
        } else {
          due_.push_back(std::move(task));
        }
        return inner_->RunAfter(absl::ZeroDuration(), [this] { RunDue(); });
      }
      case Fault::kRefusesInfiniteDelay:
        if (delay == absl::InfiniteDuration()) return TimerId::kNone;
        break;
      case Fault::kInfiniteDelayFires:
        if (delay == absl::InfiniteDuration()) delay = absl::ZeroDuration();
        break;
      case Fault::kReusesIds: {
        absl::MutexLock lock(&mu_);
        size_t slot = 0;
        while (slot < slots_.size() && slots_[slot] != TimerId::kNone) ++slot;
        if (slot == slots_.size()) slots_.emplace_back();
        slots_[slot] = inner_->RunAfter(delay, std::move(task));
        return static_cast<TimerId>(slot + 1);
      }
      case Fault::kTimersOnWorkers:
        return inner_->RunAfter(delay,
                                [this, task = std::move(task)]() mutable {
                                  inner_->Run(std::move(task));
                                });
      case Fault::kTimersWaitForBlocked:
        return inner_->RunAfter(delay,
                                [this, task = std::move(task)]() mutable {
                                  inner_->RunBlocking(std::move(task));
                                });
      case Fault::kKeepsTimers:
      case Fault::kCancelKeepsTask:
      case Fault::kRunsPendingTimersAtTheEnd:
      case Fault::kLeaksPendingTasks:
        return inner_->RunAfter(delay, Keep(std::move(task)));
      case Fault::kCancelWaits:
        return inner_->RunAfter(delay,
                                [this, task = std::move(task)]() mutable {
                                  AddRunning(1);
                                  std::move(task)();
                                  AddRunning(-1);
                                });
      case Fault::kCancelTrueOnceQueued: {
        const TimerId id = inner_->RunAfter(delay, std::move(task));
        absl::MutexLock lock(&mu_);
        queued_.insert(id);
        return id;
      }
      default:
        break;
    }
    return inner_->RunAfter(delay, std::move(task));
  }

  bool Cancel(TimerId id) override {
    switch (fault_) {
      case Fault::kCancelLies: {
        absl::MutexLock lock(&mu_);
        return lies_.insert(id).second;
      }
      case Fault::kCancelAlwaysTrue:
        inner_->Cancel(id);
        return true;
      case Fault::kCancelTrueOnceQueued: {
        inner_->Cancel(id);
        absl::MutexLock lock(&mu_);
        return queued_.count(id) > 0;
      }
      case Fault::kCancelWaitsForBlocked:
      case Fault::kCancelWaits: {
        absl::MutexLock lock(&mu_);
        mu_.Await(absl::Condition(
            +[](int* running) { return *running == 0; }, &running_));
        break;
      }
      case Fault::kCallsUnderLock:
      case Fault::kDiesUnderLock: {
        absl::MutexLock lock(&mu_);
        return inner_->Cancel(id);
      }
      case Fault::kReusesIds: {
        absl::MutexLock lock(&mu_);
        const size_t slot = static_cast<size_t>(id) - 1;
        if (slot >= slots_.size()) return false;
        return inner_->Cancel(std::exchange(slots_[slot], TimerId::kNone));
      }
      default:
        break;
    }
    return inner_->Cancel(id);
  }

  bool InExecutorThread() const override {
    switch (fault_) {
      case Fault::kAlwaysInThread:
        return true;
      case Fault::kNeverInThread:
        return false;
      case Fault::kAnyExecutorsThread:
        return in_any_;
      default:
        return inner_->InExecutorThread();
    }
  }

  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override {
    switch (fault_) {
      case Fault::kDrivesBeforeAsking:
        manual_->RunNext();
        break;
      case Fault::kAsksThoughItCannotDrive:
        done();
        return false;
      case Fault::kDrivesTooShort:
        if (deadline < BootTime::InfiniteFuture()) return true;
        break;
      case Fault::kDrivesForEver:
        while (!done()) inner_->DriveUntil([] { return false; }, deadline);
        return true;
      case Fault::kAsksUnderLock:
        return inner_->DriveUntil(
            [&] {
              absl::MutexLock lock(&mu_);
              return done();
            },
            deadline);
      default:
        break;
    }
    return inner_->DriveUntil(done, deadline);
  }

  const Clock& clock() const override { return inner_->clock(); }

  bool Refuse() {
    if (manual_ == nullptr) return false;
    manual_->set_refuse_runs(true);
    manual_->set_refuse_timers(true);
    return true;
  }

 private:
  bool Queue(Task task, bool blocking) {
    const auto pass = [&](Task t) {
      return blocking ? inner_->RunBlocking(std::move(t))
                      : inner_->Run(std::move(t));
    };
    if (fault_ == Fault::kRunWaitsForBlocked) {
      return inner_->RunBlocking(std::move(task));
    }
    if (fault_ == Fault::kCancelWaitsForBlocked && blocking) {
      return inner_->RunBlocking([this, task = std::move(task)]() mutable {
        AddRunning(1);
        std::move(task)();
        AddRunning(-1);
      });
    }
    if (blocking != in_blocking_) return pass(std::move(task));
    switch (fault_) {
      case Fault::kLosesTasks:
        return true;
      case Fault::kLosesSomeTasks:
        if (Count() % 64 == 0) return true;
        break;
      case Fault::kRunsTwice:
        return pass(Twice(std::move(task)));
      case Fault::kRunsInside:
        std::move(task)();
        return true;
      case Fault::kRunWaits: {
        absl::Notification ran;
        pass([&ran, task = std::move(task)]() mutable {
          std::move(task)();
          ran.Notify();
        });
        ran.WaitForNotification();
        return true;
      }
      case Fault::kKeepsTasks:
      case Fault::kLeaksPendingTasks:
        return pass(Keep(std::move(task)));
      case Fault::kDestroysTasksUnderLock:
        Count();
        return pass([this, task = std::move(task)]() mutable {
          std::move(task)();
          absl::MutexLock lock(&mu_);
          task = nullptr;
        });
      case Fault::kCallsUnderLock: {
        absl::MutexLock lock(&mu_);
        return pass(std::move(task));
      }
      case Fault::kAsksUnderLock:
        Count();
        break;
      case Fault::kAnyExecutorsThread:
        return pass([task = std::move(task)]() mutable {
          in_any_ = true;
          std::move(task)();
          task = nullptr;
          in_any_ = false;
        });
      default:
        break;
    }
    return pass(std::move(task));
  }

  static Task Twice(Task task) {
    return [task = std::move(task)]() mutable {
      std::move(task)();
      std::move(task)();  // NOLINT(bugprone-use-after-move): this is the fault.
    };
  }

  Task Keep(Task task) {
    auto kept = std::make_shared<Task>(std::move(task));
    absl::MutexLock lock(&mu_);
    kept_.push_back(kept);
    return [this, kept] {
      std::move (*kept)();
      if (fault_ != Fault::kKeepsTasks && fault_ != Fault::kKeepsTimers) {
        *kept = nullptr;
      }
    };
  }

  std::vector<std::shared_ptr<Task>> Kept() {
    absl::MutexLock lock(&mu_);
    return kept_;
  }

  int Count() {
    absl::MutexLock lock(&mu_);
    return ++count_;
  }

  void AddRunning(int n) {
    absl::MutexLock lock(&mu_);
    running_ += n;
  }

  void RunDue() {
    Task task;
    {
      absl::MutexLock lock(&mu_);
      task = std::move(due_.front());
      due_.pop_front();
    }
    std::move(task)();
  }

  static thread_local bool in_any_;

  const Fault fault_;
  const bool in_blocking_;
  absl::Mutex mu_;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration longest_ ABSL_GUARDED_BY(mu_);
  std::deque<Task> due_ ABSL_GUARDED_BY(mu_);
  std::set<TimerId> lies_ ABSL_GUARDED_BY(mu_);
  std::set<TimerId> queued_ ABSL_GUARDED_BY(mu_);
  std::vector<TimerId> slots_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Task>> kept_ ABSL_GUARDED_BY(mu_);
  ManualExecutor* manual_ = nullptr;
  // This object owns the executor. A smart pointer might already be null while
  // the executor's destructor destroys tasks that use `inner_`.
  Executor* inner_;
};

thread_local bool FaultyExecutor::in_any_ = false;

class FaultyRig final : public ExecutorRig {
 public:
  FaultyRig(Fault fault, bool threads, bool in_blocking)
      : threads_(threads),
        executor_(
            std::make_unique<FaultyExecutor>(fault, threads, in_blocking)) {}

  Executor& executor() override { return *executor_; }
  int BlockedTasks() const override { return threads_ ? kBlockingThreads : 0; }
  bool Refuse() override { return executor_->Refuse(); }
  void Destroy() override { executor_.reset(); }

 private:
  const bool threads_;
  std::unique_ptr<FaultyExecutor> executor_;
};

struct Row {
  Fault fault;
  bool threads;  // Wraps a ThreadExecutor if true, else a ManualExecutor.
  const char* name;
  std::vector<const char*> clauses;  // The clauses that must find the fault.
  bool in_blocking = false;  // Whether the fault is in RunBlocking, not Run.
};

const std::vector<Row>& Rows() {
  static const auto* const rows = new std::vector<Row>{
      {Fault::kLosesTasks, false, "LosesTasks", {"RunRunsTheTaskOnce"}},
      {Fault::kLosesSomeTasks,
       true,
       "LosesSomeTasks",
       {"ConcurrentCallersLoseNothing"}},
      {Fault::kRunsTwice, true, "RunsTwice", {"RunRunsTheTaskOnce"}},
      {Fault::kRunsInside, false, "RunsInside", {"RunDoesNotRunInsideTheCall"}},
      {Fault::kRunWaits, true, "RunWaits", {"RunDoesNotWaitForOtherTasks"}},
      {Fault::kKeepsTasks,
       false,
       "KeepsTasks",
       {"TasksAreDestroyedOnceTheyHaveRun",
        "RefusedTaskIsDestroyedBeforeRunReturns"}},
      {Fault::kDestroysTasksUnderLock,
       true,
       "DestroysTasksUnderLock",
       {"TasksAreDestroyedOutsideLocks"}},
      {Fault::kCallsUnderLock,
       false,
       "CallsUnderLock",
       {"TasksAreDestroyedOutsideLocks",
        "RefusedTasksAreDestroyedOutsideLocks"}},
      {Fault::kRunsTwice,
       true,
       "RunsBlockingTwice",
       {"RunBlockingRunsTheTaskOnce"},
       true},
      {Fault::kRunsInside,
       false,
       "RunsBlockingInside",
       {"RunBlockingDoesNotRunInsideTheCall"},
       true},
      {Fault::kRunWaits,
       true,
       "RunBlockingWaits",
       {"RunBlockingDoesNotWaitForOtherTasks"},
       true},
      {Fault::kKeepsTasks,
       false,
       "KeepsBlockingTasks",
       {"TasksAreDestroyedOnceTheyHaveRun",
        "RefusedBlockingTaskIsDestroyedBeforeRunBlockingReturns"},
       true},
      {Fault::kDestroysTasksUnderLock,
       true,
       "DestroysBlockingTasksUnderLock",
       {"TasksAreDestroyedOutsideLocks"},
       true},
      {Fault::kCallsUnderLock,
       false,
       "CallsBlockingUnderLock",
       {"RefusedTasksAreDestroyedOutsideLocks"},
       true},
      {Fault::kLeaksPendingTasks,
       false,
       "LeaksPendingBlockingTasks",
       {"PendingTasksAreDestroyedWithTheExecutor"},
       true},
      {Fault::kRefusesMany,
       true,
       "RefusesMany",
       {"ManyPendingTasksAndTimersAreAccepted"}},
      {Fault::kRefusesManyTimers,
       true,
       "RefusesManyTimers",
       {"ManyPendingTasksAndTimersAreAccepted"}},
      {Fault::kOneBlockingThread,
       true,
       "OneBlockingThread",
       {"BlockedTasksRunAtTheSameTime"}},
      {Fault::kRunWaitsForBlocked,
       true,
       "RunWaitsForBlocked",
       {"RunIsNotHeldUpByBlockedTasks"}},
      {Fault::kTimersWaitForBlocked,
       true,
       "TimersWaitForBlocked",
       {"TimersAreNotHeldUpByBlockedTasks"}},
      {Fault::kCancelWaitsForBlocked,
       true,
       "CancelWaitsForBlocked",
       {"CancelIsNotHeldUpByBlockedTasks"}},
      {Fault::kTimerRunsTwice, true, "TimerRunsTwice", {"TimerRunsOnce"}},
      {Fault::kTimerRunsInside,
       false,
       "TimerRunsInside",
       {"RunAfterDoesNotRunInsideTheCall"}},
      {Fault::kTimerEarly, false, "TimerEarly", {"TimerDoesNotFireEarly"}},
      {Fault::kTimersInOrderOfQueueing,
       false,
       "TimersInOrderOfQueueing",
       {"DueTimersRunInTheOrderOfTheirDueTimes"}},
      {Fault::kRefusesNegativeDelay,
       false,
       "RefusesNegativeDelay",
       {"NegativeDelayCountsAsZero", "RunAfterDoesNotRunInsideTheCall"}},
      {Fault::kNegativeDelayGoesFirst,
       true,
       "NegativeDelayGoesFirst",
       {"NegativeDelayCountsAsZero"}},
      {Fault::kRefusesInfiniteDelay,
       false,
       "RefusesInfiniteDelay",
       {"InfiniteDelayIsAcceptedAndNeverFires"}},
      {Fault::kInfiniteDelayFires,
       false,
       "InfiniteDelayFires",
       {"InfiniteDelayIsAcceptedAndNeverFires"}},
      {Fault::kReusesIds, false, "ReusesIds", {"TimerIdsAreNeverReused"}},
      {Fault::kTimersOnWorkers,
       true,
       "TimersOnWorkers",
       {"TimersFireWhileWorkersBlock"}},
      {Fault::kKeepsTimers,
       false,
       "KeepsTimers",
       {"TasksAreDestroyedOnceTheyHaveRun",
        "RefusedTimerIsDestroyedBeforeRunAfterReturns"}},
      {Fault::kCancelLies, false, "CancelLies", {"CancelledTimerNeverRuns"}},
      {Fault::kCancelAlwaysTrue,
       false,
       "CancelAlwaysTrue",
       {"CancelOfWhatIsNoTimerIsFalse"}},
      {Fault::kCancelTrueOnceQueued,
       false,
       "CancelTrueOnceQueued",
       {"CancelOfATimerThatRanIsFalse",
        "CancelOfARunningTimerIsFalseAndDoesNotWait"}},
      {Fault::kCancelKeepsTask,
       false,
       "CancelKeepsTask",
       {"CancelDestroysTheTaskBeforeItReturns"}},
      {Fault::kCancelWaits,
       true,
       "CancelWaits",
       {"CancelOfARunningTimerIsFalseAndDoesNotWait"}},
      {Fault::kAlwaysInThread,
       false,
       "AlwaysInThread",
       {"InExecutorThreadOnlyInsideTasks"}},
      {Fault::kNeverInThread,
       false,
       "NeverInThread",
       {"InExecutorThreadOnlyInsideTasks",
        "InExecutorThreadInsideBlockingTasks"}},
      {Fault::kAnyExecutorsThread,
       true,
       "AnyExecutorsThread",
       {"InExecutorThreadKnowsWhoseThread"}},
      {Fault::kDrivesBeforeAsking,
       false,
       "DrivesBeforeAsking",
       {"DriveUntilGoesNoFurtherThanDone"}},
      {Fault::kAsksThoughItCannotDrive,
       true,
       "AsksThoughItCannotDrive",
       {"DriveUntilGoesNoFurtherThanDone"}},
      {Fault::kDrivesTooShort,
       false,
       "DrivesTooShort",
       {"DriveUntilReachesItsDeadline"}},
      {Fault::kDrivesForEver,
       false,
       "DrivesForEver",
       {"DriveUntilReturnsWhenNothingIsPending"}},
      {Fault::kAsksUnderLock,
       false,
       "AsksUnderLock",
       {"DriveUntilAsksWithoutALock"}},
      {Fault::kRunsPendingTimersAtTheEnd,
       false,
       "RunsPendingTimersAtTheEnd",
       {"PendingTasksAreDestroyedWithTheExecutor"}},
      {Fault::kLeaksPendingTasks,
       false,
       "LeaksPendingTasks",
       {"PendingTasksAreDestroyedWithTheExecutor"}},
      {Fault::kDiesUnderLock,
       false,
       "DiesUnderLock",
       {"PendingTasksMayCallTheDyingExecutor"}},
      {Fault::kNone, false, "SoundManual", {}},
      {Fault::kNone, true, "SoundThread", {}},
  };
  return *rows;
}

std::vector<ExecutorSubject> Subjects() {
  std::vector<ExecutorSubject> subjects;
  for (const Row& row : Rows()) {
    subjects.push_back({row.name, [&row] {
                          return std::make_unique<FaultyRig>(
                              row.fault, row.threads, row.in_blocking);
                        }});
  }
  return subjects;
}

INSTANTIATE_TEST_SUITE_P(Faults, ExecutorConformanceTest,
                         ::testing::ValuesIn(Subjects()), SubjectName());

TEST(ExecutorSelfTest, T3EachClauseFindsAnExecutorThatBreaksIt) {
  std::vector<Breach> breaches;
  for (const Row& row : Rows()) {
    for (const char* clause : row.clauses) {
      breaches.push_back({row.name, clause});
    }
  }
  ExpectBreachesAreFound("ExecutorConformanceTest", breaches,
                         {"SoundManual", "SoundThread"});
}

}  // namespace
}  // namespace refreshable_testing

int main(int argc, char** argv) {
  return refreshable_testing::SelfTestMain(argc, argv);
}
