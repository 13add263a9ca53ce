// SPDX-License-Identifier: Apache-2.0
//
// Executor: the interface through which the library runs its tasks and timers.

#ifndef REFRESHABLE_EXECUTORS_EXECUTOR_H_
#define REFRESHABLE_EXECUTORS_EXECUTOR_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The id of a timer. An executor never gives the same id to two timers.
enum class TimerId : uint64_t {
  kNone = 0,  // No timer. `RunAfter` returns this if it refuses a timer.
};

// An executor runs tasks, soon or after a delay. The delays are measured by the
// executor's own clock. Implement this interface over the thread pool or event
// loop of your program, and test the implementation with
// testing/executor_conformance.h.
//
// Implementations must be thread-safe: every method may be called from any
// thread, from inside a task, and while other calls are in progress. A task and
// a task's destructor may call the executor. So a method must not run or
// destroy a task under a lock that a method of the executor takes. `Run`,
// `RunBlocking`, `RunAfter` and `Cancel` must not throw.
//
// Ownership: the executor owns every task that it accepts. The executor either
// runs such a task exactly once or destroys it without having run it. The code
// that queued the task learns of such a destruction from the task's destructor.
// The executor's destructor destroys all pending tasks. The destructors of
// these tasks may call `Cancel`, `InExecutorThread` and `clock()`.
//
// Lifetime: the executor must outlive everything that holds a pointer to it. If
// a Refreshable finds its executor destroyed, it ends the program with a
// message.
class Executor {
 public:
  using Task = absl::AnyInvocable<void() &&>;

  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor();

  // Returns a flag that becomes true when this executor is destroyed. The flag
  // may outlive the executor, and may be read on any thread.
  std::shared_ptr<const std::atomic<bool>> destroyed() const {
    return destroyed_;
  }

  // Queues `task` to be run soon on a thread of this executor. The task should
  // not block for long. Returns false if the task is refused. A refused task is
  // destroyed before `Run` returns. `Run` must not run `task` on the calling
  // thread before it returns, and must not wait for another task.
  virtual bool Run(Task task) = 0;

  // Like `Run`, but for a task that may block for any length of time, such as a
  // call of a token source. An executor that can run such tasks on separate
  // threads should override this, so that tasks given to `Run` do not wait for
  // blocking tasks. The default calls `Run`.
  virtual bool RunBlocking(Task task);

  // Queues `task` to be run once, no earlier than `delay` from now, measured by
  // the BootTime of `clock()`. A negative delay counts as zero. A timer with an
  // infinite delay is accepted like any other, and never fires.
  //
  // Timers run one after another, in the order of their due times. A timer's
  // task should not block. The executor should run it on time even if all
  // threads that run the tasks of `Run` and `RunBlocking` are blocked.
  //
  // Returns `TimerId::kNone` if the timer is refused. In that case `task` is
  // destroyed before `RunAfter` returns. `RunAfter` must not run `task` on the
  // calling thread before it returns.
  virtual TimerId RunAfter(absl::Duration delay, Task task) = 0;

  // Cancels a timer. If the timer's task was still pending, returns true: the
  // task has been destroyed and never runs. Returns false if the task has run,
  // is running or was destroyed before, or if `id` names no timer. Does not
  // wait for a running task.
  virtual bool Cancel(TimerId id) = 0;

  // Returns whether the calling thread is inside a task given to `Run` or
  // `RunBlocking`, or is destroying such a task after it has run. If so, the
  // caller must not wait for another task of this executor, which may be queued
  // behind the caller's own task. Inside a timer's task, an executor may return
  // either: ManualExecutor returns true, ThreadExecutor false.
  virtual bool InExecutorThread() const = 0;

  // Runs tasks of this executor on the calling thread until one of these holds:
  //
  //   - `done()` is true. If it is true at the start, no task is run.
  //   - The BootTime of `clock()` reaches `deadline`.
  //   - `deadline` is the infinite future, and nothing that is pending could
  //     still change `done()`.
  //
  // Returns true in each of these cases. The caller tells the cases apart by
  // calling `done()` and reading the clock. Returns false at once if the
  // calling thread cannot drive this executor because other threads run its
  // tasks. The caller should then wait for those threads. `done` is called
  // without a lock held. The default returns false, which is right for every
  // executor that has threads of its own.
  virtual bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline);

  // Returns the clock that `RunAfter` and `DriveUntil` follow. The clock is
  // thread-safe and lives as long as the executor.
  virtual const Clock& clock() const = 0;

 private:
  const std::shared_ptr<std::atomic<bool>> destroyed_ =
      std::make_shared<std::atomic<bool>>(false);
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_EXECUTOR_H_
