// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/thread_executor.h"

#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <thread>  // NOLINT(build/c++11)
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/config.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/fatal.h"
#include "refreshable/executors/fork_mutex.h"
#include "refreshable/executors/steady_cond_var.h"

namespace refreshable {
namespace {

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;
using executors_internal::Require;
using executors_internal::SteadyCondVar;

// The longest the timer thread waits before it looks at the clock again: its
// wait does not count the time that the machine is suspended.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

// How many forks lie between the first process and this one.
ABSL_CONST_INIT std::atomic<uint64_t> fork_count{0};

// Before main, and not only at the first use: that may be in one thread while
// another one forks. But at the first use too, which may be even earlier.
int CountForks() {
#ifndef _WIN32
  ABSL_CONST_INIT static std::atomic<bool> counted{false};
  if (!counted.exchange(true, std::memory_order_relaxed)) {
    pthread_atfork(nullptr, nullptr,
                   [] { fork_count.fetch_add(1, std::memory_order_relaxed); });
  }
#endif
  return 0;
}
[[maybe_unused]] const int forks_are_counted = CountForks();

uint64_t ForkCount() { return fork_count.load(std::memory_order_relaxed); }

absl::Status Validate(const ThreadExecutor::Options& options) {
  if (options.workers < 1 || options.workers > ThreadExecutor::kMaxWorkers) {
    return absl::InvalidArgumentError(
        absl::StrCat("ThreadExecutor::Options::workers is ", options.workers,
                     "; it must be from 1 to ", ThreadExecutor::kMaxWorkers));
  }
  if (options.max_queued < 1) {
    return absl::InvalidArgumentError(
        "ThreadExecutor::Options::max_queued is 0; it must be at least 1");
  }
  if (options.max_timers < 1) {
    return absl::InvalidArgumentError(
        "ThreadExecutor::Options::max_timers is 0; it must be at least 1");
  }
  return absl::OkStatus();
}

}  // namespace

class ThreadExecutor::Core {
 public:
  Core(const Options& options, const Clock& clock)
      : options_(options), clock_(clock) {
    CountForks();
  }
  ~Core() { Shutdown(); }

  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // To be called once, by the thread that made this. After an error everything
  // is refused.
  absl::Status Start();
  // Drops what is pending, then waits for the threads.
  void Shutdown();

  bool Run(Task task);
  bool RunAfter(uint64_t id, absl::Duration delay, Task task);
  bool Cancel(uint64_t id);

  bool OfThisProcess() const { return fork_count_ == ForkCount(); }
  // Whether the calling thread is one of this core's.
  bool OwnsThisThread() const { return this_thread_.core == this; }
  // Whether it is a worker inside a task.
  bool InRunTask() const { return OwnsThisThread() && this_thread_.in_task; }

 private:
  // Due time, then id: the order in which timers run.
  using Timers = std::map<std::pair<absl::Duration, uint64_t>, Task>;

  struct ThisThread {
    const Core* core = nullptr;
    bool in_task = false;
  };

  void Work();
  void RunTimers();
  // Waits for a change of the timers, no longer than until `due` by a clock
  // that may stand still while the machine is suspended.
  void WaitForTimers(absl::Duration due, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  static thread_local ThisThread this_thread_;

  const Options options_;
  const Clock& clock_;
  const uint64_t fork_count_ = ForkCount();

  // A leaf: no task is run, moved or destroyed under it. Not absl::Mutex, which
  // a child of fork() cannot rely on: its queues and its deadlock detection
  // have locks that are the whole process's.
  ForkMutex mu_;
  SteadyCondVar queued_;          // A task was queued, or `closed_` was set.
  SteadyCondVar timers_changed_;  // The first one did, or `closed_` was set.
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::list<Task> queue_ ABSL_GUARDED_BY(mu_);
  Timers timers_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, absl::Duration> due_ ABSL_GUARDED_BY(mu_);

  std::vector<std::thread> threads_;  // Touched by Start and Shutdown only.
};

thread_local ThreadExecutor::Core::ThisThread
    ThreadExecutor::Core::this_thread_;

absl::Status ThreadExecutor::Core::Start() {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
#endif
    threads_.reserve(options_.workers + 1);
    threads_.emplace_back([this] { RunTimers(); });
    for (int i = 0; i < options_.workers; ++i) {
      threads_.emplace_back([this] { Work(); });
    }
#ifdef ABSL_HAVE_EXCEPTIONS
  } catch (const std::exception& e) {
    Shutdown();
    return absl::ResourceExhaustedError(
        absl::StrCat("ThreadExecutor cannot start a thread: ", e.what()));
  }
#endif
  return absl::OkStatus();
}

void ThreadExecutor::Core::Shutdown() {
  std::list<Task> queue;
  Timers timers;
  {
    ForkMutexLock lock(&mu_);
    closed_ = true;
    queue.swap(queue_);
    timers.swap(timers_);
    due_.clear();
    queued_.SignalAll();
    timers_changed_.Signal();
  }
  // Before the join: a running task may be waiting for what it queued.
  while (!queue.empty()) queue.pop_front();
  while (!timers.empty()) timers.erase(timers.begin());
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool ThreadExecutor::Core::Run(Task task) {
  // A node of its own, linked in later: neither the task's move constructor nor
  // its destructor, both the caller's code, runs under the lock.
  std::list<Task> node;
  node.push_back(std::move(task));
  ForkMutexLock lock(&mu_);
  if (closed_ || queue_.size() >= options_.max_queued) return false;
  queue_.splice(queue_.end(), node);
  queued_.Signal();
  return true;
}

bool ThreadExecutor::Core::RunAfter(uint64_t id, absl::Duration delay,
                                    Task task) {
  Timers made;
  made.emplace(std::make_pair(absl::ZeroDuration(), id), std::move(task));
  Timers::node_type node = made.extract(made.begin());
  ForkMutexLock lock(&mu_);
  if (closed_ || timers_.size() >= options_.max_timers) return false;
  const absl::Duration due =
      clock_.Now().since_boot + std::max(delay, absl::ZeroDuration());
  node.key().first = due;
  due_.emplace(id, due);
  const auto inserted = timers_.insert(std::move(node)).position;
  if (inserted == timers_.begin()) timers_changed_.Signal();
  return true;
}

bool ThreadExecutor::Core::Cancel(uint64_t id) {
  Timers::node_type cancelled;  // Destroyed after the lock is released.
  ForkMutexLock lock(&mu_);
  const auto due = due_.find(id);
  if (due == due_.end()) return false;
  cancelled = timers_.extract(std::make_pair(due->second, id));
  due_.erase(due);
  return true;
}

void ThreadExecutor::Core::Work() {
  this_thread_.core = this;
  while (true) {
    std::list<Task> node;
    {
      ForkMutexLock lock(&mu_);
      while (queue_.empty() && !closed_) queued_.Wait(&mu_);
      if (closed_) return;
      node.splice(node.end(), queue_, queue_.begin());
    }
    this_thread_.in_task = true;
    std::move(node.front())();
    node.clear();  // The task's destructor still counts as inside the task.
    this_thread_.in_task = false;
  }
}

void ThreadExecutor::Core::RunTimers() {
  this_thread_.core = this;
  while (true) {
    Timers::node_type timer;
    {
      ForkMutexLock lock(&mu_);
      while (true) {
        if (closed_) return;
        const absl::Duration due = timers_.empty()
                                       ? absl::InfiniteDuration()
                                       : timers_.begin()->first.first;
        const absl::Duration now = clock_.Now().since_boot;
        if (due <= now) break;
        WaitForTimers(due, now);
      }
      timer = timers_.extract(timers_.begin());
      due_.erase(timer.key().second);
    }
    std::move(timer.mapped())();
  }
}

void ThreadExecutor::Core::WaitForTimers(absl::Duration due,
                                         absl::Duration now) {
  if (due == absl::InfiniteDuration()) {
    timers_changed_.Wait(&mu_);
  } else {
    timers_changed_.WaitWithTimeout(&mu_, std::min(due - now, kLongestWait));
  }
}

absl::StatusOr<std::unique_ptr<ThreadExecutor>> ThreadExecutor::Create(
    const Options& options) {
  return Create(options, SystemClock::Get());
}

absl::StatusOr<std::unique_ptr<ThreadExecutor>> ThreadExecutor::Create(
    const Options& options, const Clock& clock) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  auto core = std::make_unique<Core>(options, clock);
  if (absl::Status status = core->Start(); !status.ok()) return status;
  return absl::WrapUnique(new ThreadExecutor(options, clock, std::move(core)));
}

ThreadExecutor::ThreadExecutor(const Options& options, const Clock& clock,
                               std::unique_ptr<Core> core)
    : options_(options), clock_(&clock), core_(core.release()) {}

ThreadExecutor::ThreadExecutor()
    : ThreadExecutor(Options(), SystemClock::Get(),
                     std::make_unique<Core>(Options(), SystemClock::Get())) {
  Require(core_.load(std::memory_order_relaxed)->Start().ok(),
          "ThreadExecutor cannot start its threads");
}

ThreadExecutor::~ThreadExecutor() {
  Core* const core = core_.load(std::memory_order_acquire);
  Require(!core->OwnsThisThread(),
          "ThreadExecutor destroyed inside one of its own tasks");
  // In a child that never used it, the core's lock may be held for ever by a
  // thread that is not there: it is left alone.
  if (core->OfThisProcess()) delete core;
}

bool ThreadExecutor::Run(Task task) {
  return ThisProcessCore().Run(std::move(task));
}

TimerId ThreadExecutor::RunAfter(absl::Duration delay, Task task) {
  // Ids are the executor's, not the core's: a child gives none out again.
  const uint64_t id =
      last_timer_id_.fetch_add(1, std::memory_order_relaxed) + 1;
  return ThisProcessCore().RunAfter(id, delay, std::move(task))
             ? static_cast<TimerId>(id)
             : TimerId::kNone;
}

bool ThreadExecutor::Cancel(TimerId id) {
  Core* const core = core_.load(std::memory_order_acquire);
  // The parent's timers never run in a child, but were not destroyed either.
  if (!core->OfThisProcess()) return false;
  return core->Cancel(static_cast<uint64_t>(id));
}

bool ThreadExecutor::InExecutorThread() const {
  return core_.load(std::memory_order_acquire)->InRunTask();
}

ThreadExecutor::Core& ThreadExecutor::ThisProcessCore() {
  Core* core = core_.load(std::memory_order_acquire);
  if (core->OfThisProcess()) return *core;
  auto fresh = std::make_unique<Core>(options_, *clock_);
  // A child that gets no threads has an executor that refuses everything.
  (void)fresh->Start();
  if (!core_.compare_exchange_strong(core, fresh.get(),
                                     std::memory_order_acq_rel)) {
    return *core;  // Another thread of the child was first.
  }
  return *fresh.release();
}

}  // namespace refreshable
