// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: the threads of a ThreadExecutor. Private.

#ifndef REFRESHABLE_EXECUTORS_THREAD_POOL_H_
#define REFRESHABLE_EXECUTORS_THREAD_POOL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/fork_mutex.h"
#include "refreshable/executors/os_thread.h"
#include "refreshable/executors/steady_cond_var.h"

namespace refreshable {
namespace executors_internal {

// Queues, timers and threads, in one process: a child of fork() has another
// one. Each thread shares in the ownership, so that one whose task never
// returns can be left running. Thread-safe.
class ThreadPool final : public std::enable_shared_from_this<ThreadPool> {
 public:
  using Task = Executor::Task;

  // As ThreadExecutor::Options has them, and valid.
  struct Options {
    int blocking_threads;
    int workers;
    absl::Duration idle_timeout;
    size_t max_queued;
    size_t max_timers;
  };

  ThreadPool(const Options& options, const Clock& clock)
      : options_(options),
        clock_(clock),
        workers_(std::min(options.workers, kPromptWorkers), options.workers,
                 /*kept=*/1),
        blockers_(options.blocking_threads, options.blocking_threads,
                  /*kept=*/0) {}

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // How many threads for `Run` are made without delay.
  static constexpr int kPromptWorkers = 4;

  // How many forks lie between the first process and this one.
  static uint64_t ForkCount();

  // To be called once, by the thread that made this. False if the system
  // refuses the first threads; everything is refused then.
  bool Start();
  int Shutdown(absl::Duration timeout);
  // The executor is being destroyed.
  void Release();

  bool Run(Task task) { return Enqueue(&workers_, std::move(task)); }
  bool RunBlocking(Task task) { return Enqueue(&blockers_, std::move(task)); }
  bool RunAfter(uint64_t id, absl::Duration delay, Task task);
  bool Cancel(uint64_t id);

  bool OfThisProcess() const { return fork_count_ == ForkCount(); }
  // Whether the calling thread is one of this core's.
  bool OwnsThisThread() const { return this_thread_.core == this; }
  // Whether it is inside a task that is no timer's.
  bool InRunTask() const { return OwnsThisThread() && this_thread_.in_task; }
  // Whether the calling thread is in a task that some executor left running.
  static bool InTaskLeftRunning() {
    return this_thread_.core != nullptr && this_thread_.core->released_;
  }

 private:
  // Due time, then id: the order in which timers run.
  using Timers = std::map<std::pair<absl::Duration, uint64_t>, Task>;
  using TimersById = std::map<uint64_t, Timers::iterator>;
  using Threads = std::list<OsThread>;

  struct ThisThread {
    const ThreadPool* core = nullptr;
    bool in_task = false;
  };

  // A thread that waits for a task.
  struct Idler {
    SteadyCondVar woken;
    bool is_woken = false;
  };

  // The tasks of one kind and their threads. Guarded by `mu_`.
  struct Lane {
    Lane(int p, int m, int k) : prompt(p), max(m), kept(k) { idle.reserve(m); }

    const int prompt;  // Threads that are made as soon as there is a task.
    const int max;     // Threads that are made in the end.
    const int kept;    // Threads that stay though they are idle.

    std::list<Task> queue;
    std::vector<Idler*> idle;  // The one that waits least is the last.
    int threads = 0;
    size_t arriving = 0;  // Threads that were woken or made for a task.
    uint64_t taken = 0;   // Tasks so far.
    // When the timer thread looks whether any task has been taken since.
    absl::Duration watch_at = absl::InfiniteDuration();
    uint64_t taken_before = 0;
  };

  // Whether as many tasks wait for a thread as may.
  bool Full(const Lane& lane) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return lane.queue.size() >= options_.max_queued &&
           lane.queue.size() - options_.max_queued >= lane.arriving;
  }
  bool Enqueue(Lane* to, Task task) ABSL_LOCKS_EXCLUDED(mu_);
  // Makes a thread. False if the system refuses it.
  bool Grow(Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool StartThread(absl::AnyInvocable<void(Threads::iterator)> main)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Has the timer thread see to it that tasks which wait get a thread.
  void Watch(Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The timer thread's part of that.
  void LookAt(Lane& lane, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // What the threads do, and how each of them ends.
  void Work(Lane& lane, Threads::iterator self);
  void RunTimers(Threads::iterator self);
  bool AwaitTask(Lane& lane, Idler& me) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AwaitTimer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeaveTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Releases the lock. The thread touches nothing here afterwards.
  void End(Threads::iterator self) ABSL_UNLOCK_FUNCTION(mu_);

  static thread_local ThisThread this_thread_;

  const Options options_;
  const Clock& clock_;
  const uint64_t fork_count_ = ForkCount();
  std::atomic<bool> released_{false};
  std::shared_ptr<ThreadPool> self_;  // The executor's part in the ownership.

  // A leaf: no task is run, moved or destroyed under it. Not absl::Mutex, which
  // a child of fork() cannot rely on: its queues and its deadlock detection
  // have locks that are the whole process's.
  ForkMutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  Lane workers_ ABSL_GUARDED_BY(mu_);
  Lane blockers_ ABSL_GUARDED_BY(mu_);
  // The first timer or a watch changed, or `closed_` was set.
  SteadyCondVar timers_changed_;
  Timers timers_ ABSL_GUARDED_BY(mu_);
  TimersById timers_by_id_ ABSL_GUARDED_BY(mu_);

  SteadyCondVar ended_;  // Once closed: a task or a thread has.
  size_t running_ ABSL_GUARDED_BY(mu_) = 0;  // Tasks.
  Threads live_ ABSL_GUARDED_BY(mu_);
  Threads finished_ ABSL_GUARDED_BY(mu_);  // To be joined.
  Threads detached_ ABSL_GUARDED_BY(mu_);  // By Shutdown, in tasks.
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_THREAD_POOL_H_
