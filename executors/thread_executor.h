// SPDX-License-Identifier: Apache-2.0
//
// ThreadExecutor: threads that are made as they are needed, for programs that
// bring no thread pool of their own.

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

namespace refreshable {
namespace executors_internal {
class ThreadPool;
}  // namespace executors_internal

// Runs tasks that may block, tasks that do not, and timers on threads of three
// kinds, so that none of the latter two ever waits for the first:
//
// - Each task given to `RunBlocking` gets a thread of its own at once, up to
//   `Options::blocking_threads`. Further tasks wait until one of those ends.
// - Tasks given to `Run` share up to four threads. A fifth and further ones are
//   made only if none of those has taken a task for 20 ms, because the tasks
//   that they run block all the same, up to `Options::workers`.
// - Timer tasks run on one thread, one after another.
//
// Tasks of a kind start in the order in which they were given. Threads are made
// by the thread that needs one, and inherit what the system lets a thread
// inherit (its signal mask, its priority). Idle ones end after
// `Options::idle_timeout`; the timer thread and one for `Run` stay.
//
//   refreshable::ThreadExecutor executor;  // Must outlive what uses it.
//
// Refusals. Unless `Options` sets a bound, a task is refused only after
// `Shutdown`, for want of memory, or, given to `RunBlocking`, if the system
// grants no thread and there is none of that kind. If there is one, the task
// waits for it, and the system is asked again every 20 ms. Nothing throws.
//
// Time is the machine's since-boot clock (`SystemClock`). Timers due while the
// machine was suspended run at most a second after it resumes; steps of the
// wall clock change nothing. Equal due times run in the order of insertion.
// While a timer is pending, the timer thread wakes at least once a second.
// `RunAfter` and `Cancel` take time logarithmic in the number of timers.
//
// Thread-safe. `DriveUntil` returns false: callers wait for the threads.
// `InExecutorThread` is true inside a task of `Run` or `RunBlocking`, and false
// on the timer thread. A null task, and a task from which an exception escapes,
// end the program.
//
// fork(): the threads stay with the parent, and so does all that was pending;
// in the child it never runs and its memory is never freed. The child's first
// `Run`, `RunBlocking` or `RunAfter` starts threads of its own, with the same
// options. No task of this executor should return in a child that it forked.
// (Seen through pthread_atfork, hence not where a child is made by other
// means.)
class ThreadExecutor final : public Executor {
 public:
  struct Options {
    // The most threads for tasks given to `RunBlocking`, 1 to kMaxThreads. A
    // source that hangs may hold two of them per Refreshable until it returns.
    int blocking_threads = 256;
    // The most threads for tasks given to `Run`, 1 to kMaxThreads.
    int workers = 64;
    // How long a thread waits for another task before it ends; not negative.
    // More than an hour, if finite, counts as an hour.
    absl::Duration idle_timeout = absl::Seconds(10);
    // How long the destructor waits for the tasks that are running; not
    // negative. With an infinite grace it waits for as long as they take.
    absl::Duration shutdown_grace = absl::Seconds(5);
    // How many tasks of a kind may wait for a thread, and how many timers may
    // be pending, each at least 1; more are refused. Without a bound, what
    // waits is bounded by its users: a Refreshable has at most one timer, one
    // attempt and one callback per asynchronous read waiting.
    size_t max_queued = std::numeric_limits<size_t>::max();
    size_t max_timers = std::numeric_limits<size_t>::max();
  };

  static constexpr int kMaxThreads = 10000;

  // INVALID_ARGUMENT if an option is out of range, RESOURCE_EXHAUSTED if the
  // system refuses the first threads.
  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options);

  // The same, but ends the program with a message instead. Without options: the
  // defaults.
  ThreadExecutor();
  explicit ThreadExecutor(const Options& options);

  // `Shutdown(Options::shutdown_grace)`. If tasks are still running then, one
  // line on stderr says how many. They keep their threads, and the state that
  // the threads share, to the end of the process; they must not use the
  // executor any more, as no one may. (Where its memory is still there, as that
  // of a static executor is, such a task's calls are refused, and other calls
  // end the program with a message.) Destroying the executor from inside one of
  // its own tasks ends the program.
  ~ThreadExecutor() override;

  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  // Refuses further tasks, destroys what is pending without running it (the
  // tasks of `Run`, then those of `RunBlocking`, each in the order of queueing,
  // then timers in that of their due times), in the calling thread and with no
  // lock held, and then waits for the tasks that are running, no longer than
  // `timeout`. Returns how many still run, timer tasks included: 0 means that
  // no thread of this executor is left. May be called repeatedly, but not from
  // inside a task of this executor, which ends the program.
  int Shutdown(absl::Duration timeout);

  // Executor.
  bool Run(Task task) override;
  bool RunBlocking(Task task) override;
  TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(TimerId id) override;
  bool InExecutorThread() const override;
  const Clock& clock() const override { return *clock_; }

 private:
  // Lets this class's own test bring a clock. Not for users: their time is
  // either real or, with ManualExecutor, virtual, never a mixture.
  friend class ThreadExecutorTestPeer;

  using ThreadPool = executors_internal::ThreadPool;

  static absl::StatusOr<std::unique_ptr<ThreadExecutor>> Create(
      const Options& options, const Clock& clock);
  ThreadExecutor(const Options& options, const Clock& clock,
                 std::shared_ptr<ThreadPool> pool);

  // The threads that were made last. Null if this executor has been destroyed
  // and the caller is a task that it left running; any other caller of a
  // destroyed executor ends the program.
  ThreadPool* LastPool() const;
  // The threads of this process, made now if this is a new child. Null if calls
  // are to be refused.
  ThreadPool* ThisProcessPool();

  const Options options_;
  const Clock* const clock_;
  std::atomic<uint64_t> last_timer_id_{0};
  std::atomic<bool> shut_down_{false};  // In a later child, too.
  std::atomic<ThreadPool*> pool_;       // Null once this has been destroyed.
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_THREAD_EXECUTOR_H_
