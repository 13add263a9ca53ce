// SPDX-License-Identifier: Apache-2.0
//
// ManualExecutor: an executor and a virtual clock in one, for tests and for
// programs that run tasks in a loop of their own.

#ifndef REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_
#define REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/executors/internal/id_map.h"

namespace refreshable {

// An executor and a virtual clock in one, for tests and for programs that run
// tasks in a loop of their own. Tasks run only inside *driving calls*
// (`RunNext`, `RunUntilIdle`, `RunPending`, `AdvanceBy`, `AdvanceTo` and
// `DriveUntil`), on the calling thread. Time moves only when a call moves it.
//
//   ManualExecutor executor;
//   executor.RunAfter(absl::Seconds(2), [] { ... });
//   executor.AdvanceBy(absl::Seconds(1));  // Nothing is due yet.
//   executor.AdvanceBy(absl::Seconds(1));  // The timer runs.
//
// A *step* is a pending task. A task given to `Run` is due at the moment at
// which it was queued; a timer is due when its delay has passed. Steps run in
// the order of their due times. Steps with the same due time run in the order
// in which they were queued, whatever their kinds.
//
// Threads. The executor has an owner: the thread that called
// `BindToCurrentThread()` last or, before any such call, the thread that
// constructed the executor. On any other thread, `DriveUntil` returns false,
// and the other driving calls end the program. All other methods may be called
// from any thread. A task may call any method, even the driving calls, except
// `BindToCurrentThread`. `clock().Now()` takes one lock, under which no code of
// the caller runs.
//
// A null task ends the program, and so does an argument that breaks a rule of
// its method. Destroying the executor inside one of its tasks ends the program,
// too.
//
// `RunAfter` and `Cancel` take time logarithmic in the number of pending steps,
// averaged over many calls.
//
// An exception that escapes a task leaves the driving call that ran the task.
// The task counts as run, and the executor stays usable.
//
// The destructor never runs a task. It destroys the pending steps, in the order
// in which they would run, on the destroying thread, with no lock held. After
// the destructor has begun, `Run`, `RunBlocking` and `RunAfter` end the
// program. An object that queues tasks, such as a Refreshable, may call these
// methods when one of its tasks is destroyed. So the object must be destroyed
// before the executor. Tasks that are still pending after the object's
// destruction do no harm.
class ManualExecutor final : public Executor {
 public:
  struct PendingStep {
    enum class Kind { kRun, kTimer };
    Kind kind;
    // Each step gets a greater id than the steps queued before it. A timer's id
    // is the number of its TimerId.
    uint64_t id;
    // BootTime::InfiniteFuture() for a timer that never fires.
    BootTime due;
  };

  // Returns 2026-01-01T00:00:00Z on the wall clock, and one hour after the
  // origin of BootTime.
  static Instant DefaultStart();

  // Time starts at `start`, whose `boot` must be finite.
  explicit ManualExecutor(Instant start = DefaultStart());
  ~ManualExecutor() override;

  ManualExecutor(const ManualExecutor&) = delete;
  ManualExecutor& operator=(const ManualExecutor&) = delete;

  bool Run(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  // Returns whether the calling thread is the owner and is inside a task given
  // to `Run`, `RunBlocking` or `RunAfter`. If so, the caller must not wait for
  // another task, because all tasks run on this thread.
  bool InExecutorThread() const override;
  // Runs steps, and moves time to their due times, until `done()` is true or
  // time has reached `deadline`. Steps that are due at `deadline` itself still
  // run. If `deadline` is not in the future, runs nothing. If `deadline` is the
  // infinite future, returns when only timers that never fire are left. Returns
  // true on the owner's thread. On any other thread, does nothing and returns
  // false.
  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override;
  const Clock& clock() const override { return clock_; }

  // Runs the first step that is due now. Returns false if no step is due.
  bool RunNext();

  // Runs steps until no step is due, and returns how many. Time does not move.
  // Never returns if every task queues another task that is due at once.
  size_t RunUntilIdle();

  // Moves both clocks forward by `d` (finite, not negative), and runs all steps
  // that are due by then, even those that are queued during this call. Each
  // step runs at its due time or, if that time has passed, at once. Returns how
  // many steps it ran.
  size_t AdvanceBy(absl::Duration d);

  // Calls `AdvanceBy` with the time until the wall clock shows `wall`, which
  // must be finite and must not have passed.
  size_t AdvanceTo(absl::Time wall);

  // Moves only the wall clock by `d` (finite), forward or back. Runs nothing.
  void StepWall(absl::Duration d);

  // Moves both clocks forward by `d` (finite, not negative) and runs nothing,
  // as if the computer were suspended. Timers that become due wait for a
  // driving call. A task that calls `Suspend` appears to take the time `d`.
  void Suspend(absl::Duration d);

  // Returns how many steps are pending, including timers that never fire.
  size_t pending() const;

  // Returns the pending steps in the order in which they would run.
  std::vector<PendingStep> PendingSteps() const;

  // Runs the step at `index` of `PendingSteps()` now, even if other steps come
  // before it. If the step is not due yet, first moves time to its due time.
  // Timers with earlier due times then run late. Returns false, and does
  // nothing, if there is no step at `index` or if that step never fires.
  bool RunPending(size_t index);

  // Destroys the step at `index` of `PendingSteps()` without running it.
  // Returns false if there is no step at `index`.
  bool DropPending(size_t index);

  // `set_refuse_runs(true)` makes `Run` and `RunBlocking` refuse every task.
  // `set_refuse_timers(true)` makes `RunAfter` refuse every timer. With
  // `false`, the default, these methods refuse only if there is no memory.
  void set_refuse_runs(bool refuse);
  void set_refuse_timers(bool refuse);

  // Makes the calling thread the owner. Requires: no driving call is in
  // progress.
  void BindToCurrentThread();

 private:
  struct Step {
    uint64_t id;
    Step* next_in_bucket;  // For IdMap.
    Task task;
  };
  using OwnedStep = std::unique_ptr<Step>;
  // A step's place in the order of running: by due time, then by id.
  struct Turn {
    BootTime due;
    uint64_t id;
    friend bool operator<(const Turn& a, const Turn& b) {
      return a.due < b.due || (a.due == b.due && a.id < b.id);
    }
    friend bool operator>(const Turn& a, const Turn& b) { return b < a; }
  };

  class VirtualClock final : public Clock {
   public:
    explicit VirtualClock(const ManualExecutor* executor)
        : executor_(executor) {}
    Instant Now() const override;
    CoarseWallClock CoarseWall() const override {
      return CoarseWallClock::Exact(&executor_->wall_nanos_);
    }
    CoarseBootClock CoarseBoot() const override {
      return CoarseBootClock::Exact(&executor_->boot_nanos_);
    }

   private:
    const ManualExecutor* const executor_;
  };

  // Returns the id of the task's step, or 0 if the task is refused.
  uint64_t Queue(PendingStep::Kind kind, absl::Duration delay, Task& task);
  // Runs the first step if it is due at `limit` or earlier, and moves time
  // forward to the due time. A timer that never fires is not run, even if
  // `limit` is the infinite future.
  bool RunFirst(BootTime limit);
  // Returns null if no step is pending.
  const Turn* First() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The result is in the order of running.
  std::vector<Turn> Turns() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t size() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return runs_.size() + timers_.size();
  }
  bool IsPending(uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return timers_.Find(id) != nullptr || runs_.Find(id) != nullptr;
  }
  // Removes the step from the pending steps. Returns null if no pending step
  // has this id.
  OwnedStep Take(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunStep(OwnedStep step) ABSL_LOCKS_EXCLUDED(mu_);
  // Moves both clocks forward to `boot`, unless `boot` has passed.
  void MoveTo(BootTime boot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  BootTime Boot() const;
  bool IsOwner() const;
  void RequireOwner() const;

  const VirtualClock clock_;

  // While this lock is held, no other lock is taken, no code of a caller runs,
  // and no task is moved or destroyed.
  mutable absl::Mutex mu_;
  Instant now_ ABSL_GUARDED_BY(mu_);
  // The two times of `now_`, for CoarseWall and CoarseBoot. Written under the
  // lock, after `now_`.
  std::atomic<int64_t> wall_nanos_;
  std::atomic<int64_t> boot_nanos_;
  // No two steps have the same id.
  executors_internal::IdMap<Step> runs_ ABSL_GUARDED_BY(mu_);
  executors_internal::IdMap<Step> timers_ ABSL_GUARDED_BY(mu_);
  // A heap with the earliest turn in front. The heap may contain leftovers:
  // turns of steps that are no longer pending. `First` removes leftovers at the
  // front. `Take` removes all leftovers when they make up most of a large heap.
  std::vector<Turn> turns_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread::id owner_ ABSL_GUARDED_BY(mu_);
  // How many tasks are running now, one inside another.
  int depth_ ABSL_GUARDED_BY(mu_) = 0;
  bool refuse_runs_ ABSL_GUARDED_BY(mu_) = false;
  bool refuse_timers_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_MANUAL_EXECUTOR_H_
