// SPDX-License-Identifier: Apache-2.0
//
// ThreadExecutor: worker threads and a timer thread, for programs that bring no
// thread pool of their own.

#ifndef REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
#define REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable {

// Runs the tasks given to `Run` on a fixed number of worker threads, first in
// first out, and timer tasks on a thread of their own, so that they are on time
// even when every worker is blocked. Bounded: it refuses what exceeds its
// options.
//
//   refreshable::ThreadExecutor executor;  // Outlives what is given it.
//
// Time is the machine's since-boot clock (`SystemClock`). Timers due while the
// machine was suspended run at most a second after it resumes; steps of the
// wall clock change nothing. Equal due times run in the order of insertion.
// While a timer is pending, the timer thread wakes at least once a second.
//
// Thread-safe. `DriveUntil` returns false: callers wait for the threads.
// `InExecutorThread` is true on a worker inside a task, and false on the timer
// thread.
//
// A task from which an exception escapes ends the program (std::terminate).
//
// The destructor refuses further tasks, destroys what is pending without
// running it (tasks in the order of queueing, then timers in that of their due
// times), on the destroying thread and with no lock held, and then waits for
// the tasks that are running. Destroying the executor from inside one of its
// own tasks ends the program.
//
// fork(): the threads stay with the parent, and so does all that was pending;
// in the child it never runs and its memory is never freed. The child's first
// `Run` or `RunAfter` starts threads of its own, with the same options. No task
// of this executor should return in a child that it forked. (Seen through
// pthread_atfork, hence not where a child is made by other means.)
class ThreadExecutor final : public Executor {
 public:
  struct Options {
    // Worker threads, 1 to kMaxWorkers. A source that hangs may hold two of
    // them per Refreshable until it returns.
    int workers = 4;
    // How many tasks may wait for a worker, at least 1. `Run` refuses more.
    size_t max_queued = 16384;
    // How many timers may be pending, at least 1. `RunAfter` refuses more.
    size_t max_timers = 16384;
  };

  static constexpr int kMaxWorkers = 1024;

  // INVALID_ARGUMENT if an option is out of range, RESOURCE_EXHAUSTED if the
  // machine refuses a thread (without exceptions that ends the program).
  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options);

  // With the default options. Ends the program if the machine refuses a thread.
  ThreadExecutor();
  ~ThreadExecutor() override;

  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  // Executor.
  bool Run(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  bool InExecutorThread() const override;
  const Clock& clock() const override { return *clock_; }

 private:
  // Lets this class's own test bring a clock. Not for users: their time is
  // either real or, with ManualExecutor, virtual, never a mixture.
  friend class ThreadExecutorTestPeer;

  // The threads of one process, and what they share.
  class Core;

  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options, const Clock& clock);
  ThreadExecutor(const Options& options, const Clock& clock,
                 std::unique_ptr<Core> core);

  // The core of this process, made now if this is a new child.
  Core& ThisProcessCore();

  const Options options_;
  const Clock* const clock_;
  std::atomic<uint64_t> last_timer_id_{0};
  std::atomic<Core*> core_;  // Owned.
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
