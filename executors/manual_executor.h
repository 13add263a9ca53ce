// SPDX-License-Identifier: Apache-2.0
//
// ManualExecutor: an executor and a virtual clock in one, for tests and for
// programs that pump their work from a loop of their own.

#ifndef REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_
#define REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// Runs nothing by itself: tasks run inside the driving calls below, in the
// thread that makes them, and time moves only there. A scenario of retries,
// deadlines and races is then an ordinary sequence of calls:
//
//   ManualExecutor executor;
//   executor.RunAfter(absl::Seconds(2), [] { ... });
//   executor.AdvanceBy(absl::Seconds(1));  // Nothing is due yet.
//   executor.AdvanceBy(absl::Seconds(1));  // The timer runs, two seconds in.
//
// A *step* is a pending task. One given to `Run` is due at the instant it was
// queued, a timer at its deadline. Steps run in the order of their due times,
// ties in the order in which they were queued, whichever kind they are.
//
// Threads. The executor has an owner: the thread that constructed it, until
// `BindToCurrentThread()`. The driving calls (`RunNext`, `RunUntilIdle`,
// `RunPending`, `AdvanceBy`) end the program on any other thread; `DriveUntil`
// returns false there. Everything else may be called from any thread and from
// inside tasks. Driving calls may be made from inside a task too: a blocking
// read inside a callback does just that. `clock().Now()` takes only a lock
// under which nothing is called.
//
// A null task ends the program.
//
// Exceptions that escape a task leave the driving call that ran it. The task
// has then run; the executor stays usable.
//
// The destructor never runs a task. It destroys what is pending, in the order
// above, on the destroying thread, with no lock held. `Run` and `RunAfter` end
// the program from then on: a destructor of a pending task that calls one of
// them belongs to something that should have been destroyed before the
// executor. What a destroyed object left behind in the queue is harmless.
class ManualExecutor final : public Executor {
 public:
  // What a pending step is, for code that chooses the order of steps itself.
  struct PendingStep {
    enum class Kind { kRun, kTimer };
    Kind kind;
    // Unique in this executor, rising in the order of queueing. A timer's is
    // the number of its TimerId.
    uint64_t id;
    // BootTime::InfiniteFuture() for a timer that never fires.
    BootTime due;
  };

  // 2026-01-01T00:00:00Z, one hour after boot.
  static Instant DefaultStart();

  // Time starts at `start`, whose `boot` must be finite.
  explicit ManualExecutor(Instant start = DefaultStart());
  ~ManualExecutor() override;

  ManualExecutor(const ManualExecutor&) = delete;
  ManualExecutor& operator=(const ManualExecutor&) = delete;

  // Executor.
  bool Run(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  // True in the owner thread inside any task, a timer's too: all else that is
  // pending is queued behind it.
  bool InExecutorThread() const override;
  // Runs the steps that are due; when none is, moves time to the next one that
  // is due by `deadline`, else to `deadline` itself. The steps due at
  // `deadline` still run. Runs nothing if `deadline` is not in the future. With
  // a deadline in the infinite future, returns when only timers that never fire
  // are left.
  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override;
  const Clock& clock() const override { return clock_; }

  // Runs the first step that is due now. False if there was none.
  bool RunNext();

  // Runs what is due now, and what that makes due, until nothing is. Time does
  // not move. Returns how many steps ran. Does not return while every task
  // queues another.
  size_t RunUntilIdle();

  // Moves both clocks forward by `d` (finite, not negative), step by step: all
  // that is due on the way runs at its own due time, also what was queued on
  // the way. Returns how many steps ran.
  size_t AdvanceBy(absl::Duration d);

  // `AdvanceBy` the time until the wall clock shows `wall`, which must not have
  // passed and must be finite.
  size_t AdvanceTo(absl::Time wall);

  // Moves the wall clock alone by `d` (finite), forward or back, as an operator
  // or NTP does. Nothing runs.
  void StepWall(absl::Duration d);

  // Moves both clocks forward by `d` (finite, not negative) while nothing runs,
  // as in a suspended machine. Timers that fell due run in the next driving
  // call. Inside a task, it is the time that the task takes.
  void Suspend(absl::Duration d);

  // How many steps are pending, timers that never fire included.
  size_t pending() const;

  // The pending steps in the order in which they would run.
  std::vector<PendingStep> PendingSteps() const;

  // Runs the step at `index` of `PendingSteps()`, before all others. If it is a
  // timer that is not due yet, time moves to its due time first, and timers due
  // before it are late, as they may be on any executor. False, and nothing
  // happens, if there is no such step or it never fires.
  bool RunPending(size_t index);

  // Destroys the step at `index` of `PendingSteps()` without running it, as an
  // executor may that is shutting down. False if there is no such step.
  bool DropPending(size_t index);

  // While set, `Run` (`RunAfter`) refuses every task. Both also refuse a task
  // for which there is no memory.
  void set_refuse_runs(bool refuse);
  void set_refuse_timers(bool refuse);

  // Makes the calling thread the owner. Requires that no driving call is in
  // progress.
  void BindToCurrentThread();

 private:
  struct Step {
    PendingStep::Kind kind;
    Task task;
  };
  // Due time, then id: the order in which steps run.
  using Steps = std::map<std::pair<BootTime, uint64_t>, Step>;
  using Timers = std::map<uint64_t, Steps::iterator>;  // By id.

  class VirtualClock final : public Clock {
   public:
    explicit VirtualClock(const ManualExecutor* executor)
        : executor_(executor) {}
    Instant Now() const override;
    CoarseWallClock CoarseWall() const override {
      return CoarseWallClock::Exact(&executor_->wall_nanos_);
    }

   private:
    const ManualExecutor* const executor_;
  };

  // Queues `task` and returns its id, or destroys it and returns 0.
  uint64_t Queue(PendingStep::Kind kind, absl::Duration delay, Task& task);
  // Runs the first step, if it is due by `limit`; time moves up to its due time
  // if that is later than now.
  bool RunFirst(BootTime limit);
  Steps::node_type Take(Steps::iterator step)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunStep(Steps::node_type step) ABSL_LOCKS_EXCLUDED(mu_);
  // Moves both clocks forward until `boot`; never back.
  void MoveTo(BootTime boot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  BootTime Boot() const;
  bool IsOwner() const;
  void RequireOwner() const;

  const VirtualClock clock_;

  // A leaf: nothing is called, and no task is moved or destroyed, under it.
  mutable absl::Mutex mu_;
  Instant now_ ABSL_GUARDED_BY(mu_);
  // now_.wall, for CoarseWall. Written under the lock, after now_.
  std::atomic<int64_t> wall_nanos_;
  Steps steps_ ABSL_GUARDED_BY(mu_);
  Timers timers_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread::id owner_ ABSL_GUARDED_BY(mu_);
  int depth_ ABSL_GUARDED_BY(mu_) = 0;  // Tasks inside tasks running now.
  bool refuse_runs_ ABSL_GUARDED_BY(mu_) = false;
  bool refuse_timers_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_
