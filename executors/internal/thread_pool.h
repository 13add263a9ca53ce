// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: the threads of a ThreadExecutor. Private.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_THREAD_POOL_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/executors/internal/os_thread.h"
#include "refreshable/executors/internal/steady_cond_var.h"

namespace refreshable {
namespace executors_internal {

// The queues, timers and threads of a ThreadExecutor. The child of a fork()
// gets a pool of its own. Each thread shares ownership of the pool, so a thread
// whose task never returns can be left running. Thread-safe.
class ThreadPool final : public std::enable_shared_from_this<ThreadPool> {
 public:
  using Task = Executor::Task;

  // See ThreadExecutor::Options. The values must be valid.
  struct Options {
    int blocking_threads;
    int workers;
    absl::Duration idle_timeout;
    size_t max_queued;
    size_t max_timers;
  };

  ThreadPool(const Options& options, const Clock& clock);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Up to this many threads for `Run` are created without delay. A further
  // thread is created only if no thread takes a queued task for 20 ms.
  static constexpr int kPromptWorkers = 4;

  // The maximum number of *arriving* threads for one kind of task. A thread is
  // arriving if it has been woken or created and has no task yet. The maximum
  // saves wake-ups if there are many short tasks. A thread that takes a task
  // summons another for the next task, so blocking tasks still get their
  // threads. The maximum does not apply if the queue is full, or if the timer
  // thread summons threads.
  static constexpr size_t kArriving = 2;

  // Must be called once, by the thread that created the pool. Returns false if
  // a thread cannot be started. The pool then refuses all tasks.
  bool Start();
  // See `ThreadExecutor::Shutdown`.
  int Shutdown(absl::Duration timeout);
  // Gives up `self_`, the executor's reference to this pool. Afterwards
  // `InTaskLeftRunning` returns true inside this pool's tasks.
  std::shared_ptr<ThreadPool> Release();

  bool Run(Task task) { return Enqueue(&workers_, std::move(task)); }
  bool RunBlocking(Task task) { return Enqueue(&blockers_, std::move(task)); }
  bool RunAfter(uint64_t id, absl::Duration delay, Task task);
  bool Cancel(uint64_t id);

  bool OfThisProcess() const {
    return fork_count_ == forks_.load(std::memory_order_relaxed);
  }
  bool OwnsThisThread() const { return this_thread_().pool == this; }
  // Returns whether the calling thread is inside a task of `Run` or
  // `RunBlocking` in this pool.
  bool InRunTask() const { return OwnsThisThread() && this_thread_().in_task; }
  // Returns whether the calling thread is inside a task that a destroyed
  // executor left running. May wrongly return false if another copy of the
  // library created the pool.
  static bool InTaskLeftRunning() {
    const ThreadPool* const pool = OfThisThread().pool;
    return pool != nullptr && pool->released_;
  }

 private:
  // Timers run in the order of their keys: a due time, in nanoseconds since the
  // origin of BootTime, and an id.
  using Timers = std::map<std::pair<int64_t, uint64_t>, Task>;
  // An Abseil table would break if memory runs out.
  using TimersById = std::unordered_map<uint64_t, Timers::iterator>;

  struct ThisThread {
    const ThreadPool* pool = nullptr;
    bool in_task = false;
  };

  // Wakes a thread that waits for a task.
  struct Idler {
    SteadyCondVar woken;  // Its constructor allocates memory.
    bool is_woken = false;
  };

  // A thread, and all the memory that it needs while it runs. This memory is
  // allocated before the thread starts, so a running thread never lacks it.
  struct Thread {
    OsThread os;
    Idler idler;
  };
  using Threads = std::list<Thread>;

  // The queue and the threads for `Run` or for `RunBlocking`. Each Lane is
  // guarded by `mu_`.
  struct Lane {
    Lane(int p, int m, int k) : prompt(p), max(m), kept(k) { idle.reserve(m); }

    const int prompt;  // Up to this many threads are created without delay.
    const int max;
    const int kept;  // This many threads stay even if they are idle.

    std::list<Task> queue;
    std::vector<Idler*> idle;  // In the order in which they became idle.
    int threads = 0;
    size_t arriving = 0;  // See `kArriving`.
    uint64_t taken = 0;
    // When the timer thread must make the check that `Watch` requested.
    // Infinite if no check is requested.
    BootTime watch_at = BootTime::InfiniteFuture();
    uint64_t taken_before = 0;  // `taken` when `watch_at` was set.
  };

  // Returns whether the queue is full. A task for which a thread is arriving
  // does not count.
  bool Full(const Lane& lane) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return lane.queue.size() >= options_.max_queued &&
           lane.queue.size() - options_.max_queued >= lane.arriving;
  }
  bool Enqueue(Lane* to, Task task) ABSL_LOCKS_EXCLUDED(mu_);
  // Wakes an idle thread. If no thread is idle and the lane has fewer than
  // `lane.prompt` threads, creates a thread. Returns false if it did neither.
  bool Summon(Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Creates a thread. Returns false if it cannot be started.
  bool Grow(Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Starts a thread, which calls `main` with the thread's element of `live_`.
  // Returns false if the memory or the thread is refused.
  bool StartThread(absl::AnyInvocable<void(Threads::iterator)> main)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the timer thread check, after 20 ms, whether waiting tasks need
  // another thread.
  void Watch(Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the check that `Watch` requested, if it is due.
  void CheckWatched(Lane& lane, BootTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // `Work` and `RunTimers` are the main functions of threads. They call
  // `AwaitTask`, `AwaitTimer` and `LeaveTask`.
  void Work(Lane& lane, Threads::iterator self);
  void RunTimers(Threads::iterator self);
  bool AwaitTask(Lane& lane, Idler& me) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AwaitTimer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeaveTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Removes the calling thread from `live_` or `detached_`, and releases the
  // lock. The thread uses nothing of the pool afterwards.
  void End(Threads::iterator self) ABSL_UNLOCK_FUNCTION(mu_);

  static ThisThread& OfThisThread();
  // Returns the variable `fork_count` of thread_pool.cc. Each fork() increases
  // it in the child.
  static const std::atomic<uint64_t>& Forks();

  const Options options_;
  const Clock& clock_;
  // A process may contain several copies of this library, each with data of its
  // own. The linker decides which copy's functions a call reaches. With the
  // next three members, a pool always uses the data of the copy that created
  // it.
  ThisThread& (*const this_thread_)() = &OfThisThread;
  const std::atomic<uint64_t>& forks_ = Forks();
  const uint64_t fork_count_ = forks_.load(std::memory_order_relaxed);
  std::atomic<bool> released_{false};
  std::shared_ptr<ThreadPool> self_;  // The executor's reference.

  // No task is run, moved or destroyed under this lock. An absl::Mutex would
  // not be safe in the child of a fork().
  ForkMutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  Lane workers_ ABSL_GUARDED_BY(mu_);
  Lane blockers_ ABSL_GUARDED_BY(mu_);
  // Signalled when the timer thread must end, when it must wait for an earlier
  // timer, and when `Watch` requests a check.
  SteadyCondVar timers_changed_;
  // When the timer thread's most recent wait ends unless `timers_changed_` is
  // signalled. A suspend of the computer can make the wait end later.
  BootTime wakes_at_ ABSL_GUARDED_BY(mu_) = BootTime::InfinitePast();
  Timers timers_ ABSL_GUARDED_BY(mu_);
  TimersById timers_by_id_ ABSL_GUARDED_BY(mu_);

  // Signalled when a task or thread ends after `closed_` was set.
  SteadyCondVar ended_;
  size_t running_ ABSL_GUARDED_BY(mu_) = 0;  // The number of running tasks.
  Threads live_ ABSL_GUARDED_BY(mu_);
  // Threads that have ended or are about to end, and must still be joined.
  Threads finished_ ABSL_GUARDED_BY(mu_);
  // Threads that Shutdown left running in their tasks.
  Threads detached_ ABSL_GUARDED_BY(mu_);
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_THREAD_POOL_H_
