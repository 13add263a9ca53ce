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

// An executor with three kinds of threads: for tasks that may block, for tasks
// that do not block, and for timers. So tasks that do not block, and timers,
// never wait for tasks that may block:
//
// - Each task given to `RunBlocking` gets a thread of its own without waiting
//   for another task, up to `Options::blocking_threads`. Further tasks wait
//   until one of those tasks ends.
// - Tasks given to `Run` share up to four threads. If such tasks block
//   nevertheless, so that no thread has taken a waiting task for 20 ms, another
//   thread is created, up to `Options::workers`.
// - Timer tasks run on one thread, one after another.
//
// Tasks of one kind start in the order in which they were given. Giving a task
// wakes or creates a thread only if fewer than two threads are on their way to
// a task, or the queue is full. A thread that takes a task wakes or creates a
// thread for the next task under the same condition. So many short tasks given
// at the same time cost few wake-ups. A new thread is created either by the
// thread that gives a task or by a thread of the executor, and it inherits its
// creator's signal mask, priority and similar attributes. Idle threads end
// after `Options::idle_timeout`, except for the timer thread and one thread for
// `Run`.
//
//   refreshable::ThreadExecutor executor;  // Must outlive what uses it.
//
// Refusals. Unless `Options` limits the queues or the timers, a task is refused
// only after `Shutdown` or if there is no memory for it. A task given to
// `RunBlocking` is also refused if the system grants no thread and there is no
// thread for such tasks yet. If there is one, the task waits for it, and the
// system is asked again every 20 ms. In the child of a fork(), everything is
// refused until the system grants the child's first two threads, one for timers
// and one for `Run`. Nothing throws.
//
// Time is the BootTime of `SystemClock`. Timers due while the computer was
// suspended run at most a second after it resumes. Steps of the wall clock
// change nothing. Equal due times run in the order of insertion. While a timer
// is pending, the timer thread wakes at least once a second. `RunAfter` and
// `Cancel` take time logarithmic in the number of timers.
//
// Thread-safe. `DriveUntil` returns false, because the executor's own threads
// run its tasks. `InExecutorThread` is true inside a task of `Run` or
// `RunBlocking`, and false on the timer thread. A null task, and a task from
// which an exception escapes, end the program.
//
// fork(): threads and pending tasks stay with the parent. In the child of the
// fork(), those tasks never run, and their memory is never freed. The child's
// first `Run`, `RunBlocking` or `RunAfter` starts threads of its own, with the
// same options. A task of this executor that forks must not return in the
// child. Forks are noticed through pthread_atfork; child processes made by
// other means are not supported.
class ThreadExecutor final : public Executor {
 public:
  struct Options {
    // The maximum number of threads for tasks given to `RunBlocking`, 1 to
    // kMaxThreads. A Refreshable whose token source hangs occupies
    // `RefreshPolicy::max_abandoned_calls` (2 by default) of these threads
    // until the source returns, and takes one more of them at ever longer
    // intervals.
    int blocking_threads = 256;
    // The maximum number of threads for tasks given to `Run`, 1 to kMaxThreads.
    int workers = 64;
    // How long a thread waits for another task before it ends; not negative.
    // More than an hour, if finite, counts as an hour.
    absl::Duration idle_timeout = absl::Seconds(10);
    // How long the destructor waits for running tasks; not negative. If
    // infinite, it waits until all have ended.
    absl::Duration shutdown_grace = absl::Seconds(5);
    // The maximum number of tasks of each kind (`Run`, `RunBlocking`) that may
    // wait for a thread, and of timers that may be pending; each at least 1.
    // Further tasks and timers are refused. The default sets no limit: a
    // Refreshable has at most one timer, one waiting attempt and, per
    // asynchronous read, one waiting callback.
    size_t max_queued = std::numeric_limits<size_t>::max();
    size_t max_timers = std::numeric_limits<size_t>::max();
  };

  static constexpr int kMaxThreads = 10000;

  // Returns INVALID_ARGUMENT if an option is out of range, or
  // RESOURCE_EXHAUSTED if the system refuses the first threads.
  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options);

  // These constructors do what `Create` does, but end the program with a
  // message where `Create` would return an error. The constructor without an
  // argument uses the default options.
  ThreadExecutor();
  explicit ThreadExecutor(const Options& options);

  // Calls `Shutdown(Options::shutdown_grace)`. If tasks are still running after
  // that, one line on stderr says how many. Such tasks keep their threads, and
  // the memory that the threads share, until they return or the process ends.
  // They must not use the executor. (If the executor's memory still exists, as
  // that of a static executor does, calls by such a task are refused, and all
  // other calls end the program with a message.) Destroying the executor inside
  // one of its own tasks ends the program.
  ~ThreadExecutor() override;

  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  // Refuses further tasks, destroys pending tasks without running them, and
  // waits up to `timeout` for running tasks. Returns how many still run, timer
  // tasks included. Their threads keep running, and a later call waits for the
  // same tasks again. 0 means that all tasks and all threads have ended. (A
  // thread that an earlier call left running may still be about to exit.)
  //
  // Pending tasks are destroyed on the calling thread, with no lock held: tasks
  // of `Run`, then tasks of `RunBlocking`, each in the order in which they were
  // queued, then timers in the order of their due times.
  //
  // May be called repeatedly. Calling it inside a task of this executor ends
  // the program.
  int Shutdown(absl::Duration timeout);

  // The methods of Executor.
  bool Run(Task task) override;
  bool RunBlocking(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  bool InExecutorThread() const override;
  const Clock& clock() const override { return *clock_; }

 private:
  // Lets this class's own test supply a clock. Users get only real time here,
  // and virtual time only from a ManualExecutor.
  friend class ThreadExecutorTestPeer;

  using ThreadPool = executors_internal::ThreadPool;

  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options, const Clock& clock);
  ThreadExecutor(const Options& options, const Clock& clock,
                 const std::shared_ptr<ThreadPool>& pool);

  // Returns the pool that was created last. Returns null if this executor has
  // been destroyed and the caller is a task that it left running. Any other
  // call on a destroyed executor ends the program.
  ThreadPool* LastPool() const;
  // Returns the pool of this process. Creates it at the first use in the child
  // of a fork(). Returns null if calls must be refused.
  ThreadPool* ThisProcessPool();

  const Options options_;
  const Clock* const clock_;
  std::atomic<uint64_t> last_timer_id_{0};
  std::atomic<bool> shut_down_{false};  // Children forked later inherit it.
  std::atomic<ThreadPool*> pool_;       // Null once this has been destroyed.
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
