// SPDX-License-Identifier: Apache-2.0
//
// ThreadExecutor: an executor with threads of its own, created as needed, for
// programs that have no thread pool.

#ifndef REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
#define REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {
namespace executors_internal {
class ThreadPool;
}  // namespace executors_internal

// An executor with threads of its own, created as needed, for programs that
// have no thread pool. It runs tasks of `RunBlocking`, tasks of `Run`, and
// timers on three separate kinds of threads. So a blocked task of `RunBlocking`
// delays neither tasks of `Run` nor timers.
//
// - Each task given to `RunBlocking` gets a thread of its own without waiting
//   for another task, up to `Options::blocking_threads` threads. Further tasks
//   wait until one of these threads has finished its task.
// - Tasks given to `Run` share up to four threads. If these tasks block,
//   further tasks wait. If no waiting task starts for 20 ms, another thread is
//   created, up to `Options::workers` threads.
// - Timer tasks run on one thread, one after another.
//
// Tasks given to `Run` start in the order in which they were given. The same
// holds for tasks given to `RunBlocking`.
//
// Many short tasks given at the same time cost few wake-ups. A thread is
// *arriving* from its creation or wake-up until it takes a task. A new task
// wakes or creates a thread only if fewer than two threads are arriving, or if
// the queue is full (`Options::max_queued`). If the queue is full and no thread
// is woken or created, the new task is refused. A thread that takes a task
// wakes or creates another thread if fewer than two threads are arriving, and
// if there are more waiting tasks than arriving threads. The queues and threads
// of `Run` and `RunBlocking` are counted separately.
//
// New threads are created by the threads that construct or use the executor,
// and by the executor's own threads. A new thread inherits its creator's signal
// mask, priority and similar attributes. Idle threads end after
// `Options::idle_timeout`, except for the timer thread and one thread for
// `Run`.
//
//   refreshable::ThreadExecutor executor;  // Must outlive what uses it.
//
// Refusals. A task or timer is refused after `Shutdown`, if there is no memory
// for it, or if it exceeds a limit in `Options`. A task given to `RunBlocking`
// is also refused if the system grants no thread and the executor has no thread
// for tasks of `RunBlocking`. If the executor has such a thread, the task waits
// for that thread, and the executor asks the system for another thread every 20
// ms. The child of a fork() needs two new threads, one for timers and one for
// `Run`. Until the system grants both, everything is refused in the child. No
// refusal throws.
//
// Time is the BootTime of `SystemClock`. If a timer becomes due while the
// computer is suspended, or in the first second after it resumes, the timer
// runs at most a second after the computer resumes. Timers with equal due times
// run in the order in which they were queued. While a timer with a finite delay
// is pending, the timer thread wakes at least once a second. `RunAfter` and
// `Cancel` take time logarithmic in the number of timers, averaged over many
// calls.
//
// Thread-safe. `DriveUntil` returns false. `InExecutorThread` is true inside a
// task of `Run` or `RunBlocking`, and false on the timer thread. A null task,
// and a task from which an exception escapes, end the program.
//
// fork(): threads and pending tasks stay with the parent. In the child of the
// fork(), those tasks never run, and their memory is never freed. The child's
// first `Run`, `RunBlocking` or `RunAfter` starts new threads there, with the
// same options. If a task of this executor forks, the task must not return in
// the child. Forks are noticed through pthread_atfork; child processes made by
// other means are not supported.
class ThreadExecutor final : public Executor {
 public:
  struct Options {
    // The maximum number of threads for tasks given to `RunBlocking`, 1 to
    // kMaxThreads. While a token source hangs, its Refreshable occupies
    // `RefreshPolicy::max_abandoned_calls` (2 by default) of these threads, and
    // takes one more thread at ever longer intervals.
    int blocking_threads = 256;
    // The maximum number of threads for tasks given to `Run`, 1 to kMaxThreads.
    int workers = 64;
    // How long an idle thread waits for a task before it ends; not negative. A
    // finite time of more than an hour counts as an hour. If the time is
    // infinite, idle threads do not end.
    absl::Duration idle_timeout = absl::Seconds(10);
    // The longest time that the destructor waits for running tasks; not
    // negative, may be infinite.
    absl::Duration shutdown_grace = absl::Seconds(5);
    // `max_queued` is the maximum number of waiting tasks for which no thread
    // is arriving (see above). It applies to tasks of `Run` and of
    // `RunBlocking` separately. `max_timers` is the maximum number of pending
    // timers. Both must be at least 1. Tasks and timers beyond these limits are
    // refused. A Refreshable needs one timer, and a task for each attempt and
    // each asynchronous read.
    size_t max_queued = std::numeric_limits<size_t>::max();
    size_t max_timers = std::numeric_limits<size_t>::max();
  };

  static constexpr int kMaxThreads = 10000;

  // Returns INVALID_ARGUMENT if an option is out of range, or
  // RESOURCE_EXHAUSTED if the system refuses the first threads.
  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options);

  // These constructors end the program with a message where `Create` would
  // return an error.
  ThreadExecutor();
  explicit ThreadExecutor(const Options& options);

  // Calls `Shutdown(Options::shutdown_grace)`. If tasks are still running after
  // that, one line on stderr says how many. These tasks keep their threads, and
  // the memory that the threads share, until the tasks return or the process
  // ends. The tasks must not use the executor. Destroying the executor inside
  // one of its own tasks ends the program.
  ~ThreadExecutor() override;

  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  // Refuses further tasks, destroys pending tasks without running them, and
  // waits up to `timeout` for running tasks. Returns how many tasks still run,
  // timer tasks included. These tasks keep their threads, and a later
  // `Shutdown` waits for them again. If the result is 0, all tasks and all
  // threads have ended. Only a thread whose task an earlier `Shutdown` left
  // running may still be about to end.
  //
  // Pending tasks are destroyed on the calling thread, with no lock held: tasks
  // of `Run`, then tasks of `RunBlocking`, each in the order in which they were
  // queued, then timers in the order of their due times.
  //
  // `Shutdown` may be called repeatedly. A call inside a task of this executor
  // ends the program.
  int Shutdown(absl::Duration timeout);

  bool Run(Task task) override;
  bool RunBlocking(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  bool InExecutorThread() const override;
  const Clock& clock() const override { return *clock_; }

 private:
  // Lets the tests of this class supply a clock.
  friend class ThreadExecutorTestPeer;

  using ThreadPool = executors_internal::ThreadPool;

  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options, const Clock& clock);
  ThreadExecutor(const Options& options, const Clock& clock,
                 const std::shared_ptr<ThreadPool>& pool);

  // Returns the pool that was created last. In the child of a fork(), this is
  // the parent's pool until the child uses the executor. After the destructor,
  // returns null inside a task that was left running, and ends the program
  // elsewhere. The executor's memory must still exist.
  ThreadPool* LastPool() const;
  // Returns the pool of this process. At the first use in the child of a
  // fork(), creates that pool. Returns null if the caller's task must be
  // refused.
  ThreadPool* ThisProcessPool();

  const Options options_;
  const Clock* const clock_;
  std::atomic<uint64_t> last_timer_id_{0};
  std::atomic<bool> shut_down_{false};  // Children forked later inherit it.
  std::atomic<ThreadPool*> pool_;       // Null after the destructor.
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
