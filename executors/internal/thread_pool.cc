// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/internal/thread_pool.h"

#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/executors/internal/has_memory.h"

namespace refreshable {
namespace executors_internal {
namespace {

// A thread that waits for a point in time reads the clock at least this often.
// A timed wait may ignore the time for which the computer is suspended, but the
// clock counts it.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

// If no thread takes a queued task for this long, another thread is created, up
// to the limit in the options.
constexpr absl::Duration kStall = absl::Milliseconds(20);

// Returns the nanoseconds since the origin, rounded up. The infinite future
// becomes the greatest int64_t.
int64_t CeilToNanos(BootTime time) {
  const absl::Duration since = time - BootTime();
  const int64_t nanos = absl::ToInt64Nanoseconds(since);
  const bool up = absl::Nanoseconds(nanos) < since &&
                  nanos < std::numeric_limits<int64_t>::max();
  return up ? nanos + 1 : nanos;
}

BootTime FromNanos(int64_t nanos) {
  return nanos == std::numeric_limits<int64_t>::max()
             ? BootTime::InfiniteFuture()
             : BootTime() + absl::Nanoseconds(nanos);
}

// Each fork() makes this count one greater in the child process.
ABSL_CONST_INIT std::atomic<uint64_t> fork_count{0};

// Makes every later fork() increase `fork_count` in the child. If a pool made
// the first call of this function, a simultaneous fork() on another thread
// could go unnoticed. So a static initializer calls it. Each new pool calls it
// too, because another static initializer may create a pool earlier.
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

}  // namespace

ThreadPool::ThreadPool(const Options& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      workers_(std::min(options.workers, kPromptWorkers), options.workers,
               /*kept=*/1),
      blockers_(options.blocking_threads, options.blocking_threads,
                /*kept=*/0) {
  // A load factor of two saves memory. The nearly consecutive ids still fill
  // the buckets evenly.
  timers_by_id_.max_load_factor(2);
}

ThreadPool::ThisThread& ThreadPool::OfThisThread() {
  static thread_local ThisThread this_thread;
  return this_thread;
}

const std::atomic<uint64_t>& ThreadPool::Forks() {
  CountForks();
  return fork_count;
}

bool ThreadPool::Start() {
  bool started = false;
  {
    ForkMutexLock lock(&mu_);
    self_ = shared_from_this();
    started = StartThread([this](Threads::iterator self) { RunTimers(self); });
    started = started && Grow(workers_);
  }
  if (!started) {
    Shutdown(absl::InfiniteDuration());
    Release();
  }
  return started;
}

int ThreadPool::Shutdown(absl::Duration timeout) {
  std::list<Task> tasks, blocking;
  Timers timers;
  TimersById by_id;
  {
    ForkMutexLock lock(&mu_);
    closed_ = true;
    tasks.swap(workers_.queue);
    blocking.swap(blockers_.queue);
    timers.swap(timers_);
    by_id.swap(timers_by_id_);
    for (Lane* lane : {&workers_, &blockers_}) {
      for (Idler* idler : lane->idle) idler->woken.Signal();
    }
    timers_changed_.Signal();
  }
  // A running task may wait until a pending task is run or destroyed. So the
  // pending tasks are destroyed before the wait below.
  while (!tasks.empty()) tasks.pop_front();
  while (!blocking.empty()) blocking.pop_front();
  while (!timers.empty()) timers.erase(timers.begin());

  Threads finished;
  size_t left = 0;
  {
    ForkMutexLock lock(&mu_);
    const BootTime deadline = clock_.Now().boot + timeout;
    while (running_ > 0) {
      const absl::Duration wait = deadline - clock_.Now().boot;
      if (wait <= absl::ZeroDuration()) break;
      ended_.WaitWithTimeout(&mu_, std::min(wait, kLongestWait));
    }
    // Threads that are not in a task end at once, so this wait is short.
    while (live_.size() + detached_.size() > running_) ended_.Wait(&mu_);
    left = running_;
    for (Thread& thread : live_) thread.os.Detach();
    detached_.splice(detached_.end(), live_);
    finished.swap(finished_);
  }
  for (Thread& thread : finished) thread.os.Join();
  return static_cast<int>(left);
}

std::shared_ptr<ThreadPool> ThreadPool::Release() {
  released_ = true;
  return std::move(self_);
}

bool ThreadPool::Enqueue(Lane* to, Task task) {
  // The task's move constructor and destructor are the caller's code and must
  // not run under the lock. Under the lock, only a node is linked into the
  // queue.
  std::list<Task> node;
  if (!HasMemory([&] { node.push_back(std::move(task)); })) return false;
  ForkMutexLock lock(&mu_);
  Lane& lane = *to;
  if (closed_) return false;
  if ((lane.arriving < kArriving || Full(lane)) && !Summon(lane)) {
    if (lane.threads == 0 || Full(lane)) return false;
    Watch(lane);
  }
  lane.queue.splice(lane.queue.end(), node);
  return true;
}

bool ThreadPool::Summon(Lane& lane) {
  if (lane.idle.empty()) return lane.threads < lane.prompt && Grow(lane);
  Idler* const idler = lane.idle.back();
  lane.idle.pop_back();
  ++lane.arriving;
  idler->is_woken = true;
  idler->woken.Signal();
  return true;
}

bool ThreadPool::Grow(Lane& lane) {
  if (!StartThread(
          [this, &lane](Threads::iterator self) { Work(lane, self); })) {
    return false;
  }
  ++lane.threads;
  ++lane.arriving;
  return true;
}

bool ThreadPool::StartThread(absl::AnyInvocable<void(Threads::iterator)> main) {
  Threads made;
  OsThread::Body body;
  if (!HasMemory([&] {
        made.emplace_back();
        body = [self = shared_from_this(), thread = made.begin(),
                main = std::move(main)]() mutable { main(thread); };
      })) {
    return false;
  }
  if (!made.front().os.Start(std::move(body))) return false;
  live_.splice(live_.end(), made);
  return true;
}

void ThreadPool::Watch(Lane& lane) {
  if (lane.watch_at < BootTime::InfiniteFuture() || lane.threads >= lane.max) {
    return;
  }
  lane.watch_at = clock_.Now().boot + kStall;
  lane.taken_before = lane.taken;
  timers_changed_.Signal();
}

void ThreadPool::CheckWatched(Lane& lane, BootTime now) {
  if (now < lane.watch_at) return;
  lane.watch_at = BootTime::InfiniteFuture();
  // Tries again, because the system may have refused a thread before.
  while (lane.queue.size() > lane.arriving && Summon(lane)) {
  }
  if (lane.queue.size() <= lane.arriving || lane.threads >= lane.max) return;
  if (lane.taken == lane.taken_before) (void)Grow(lane);
  if (lane.threads >= lane.max) return;
  lane.watch_at = now + kStall;
  lane.taken_before = lane.taken;
}

bool ThreadPool::RunAfter(uint64_t id, absl::Duration delay, Task task) {
  Timers made;
  if (!HasMemory(
          [&] { made.emplace(std::make_pair(0, id), std::move(task)); })) {
    return false;
  }
  Timers::node_type node = made.extract(made.begin());
  ForkMutexLock lock(&mu_);
  if (closed_ || timers_.size() >= options_.max_timers) return false;
  const BootTime now = clock_.Now().boot;
  const BootTime due = now + std::max(delay, absl::ZeroDuration());
  node.key().first = CeilToNanos(due);
  const auto timer = timers_.insert(std::move(node)).position;
  const auto add = [&](TimersById& by_id) {
    return HasMemory([&] { by_id.emplace(id, timer); });
  };
  if (!add(timers_by_id_)) {
    // The node is destroyed after the lock is released.
    node = timers_.extract(timer);
    return false;
  }
  // Waking the timer thread takes long, so it is woken only if it would wake
  // too late by itself.
  if (timer == timers_.begin() && (due < wakes_at_ || wakes_at_ <= now)) {
    timers_changed_.Signal();
  }
  return true;
}

bool ThreadPool::Cancel(uint64_t id) {
  Timers::node_type cancelled;  // Destroyed after the lock is released.
  ForkMutexLock lock(&mu_);
  const auto timer = timers_by_id_.find(id);
  if (timer == timers_by_id_.end()) return false;
  cancelled = timers_.extract(timer->second);
  timers_by_id_.erase(timer);
  return true;
}

void ThreadPool::Work(Lane& lane, Threads::iterator self) {
  this_thread_().pool = this;
  mu_.Lock();
  --lane.arriving;
  while (!closed_) {
    if (lane.queue.empty()) {
      if (AwaitTask(lane, self->idler)) continue;
      break;
    }
    std::list<Task> node;
    node.splice(node.end(), lane.queue, lane.queue.begin());
    ++lane.taken;
    ++running_;
    // The task just taken may block, so another thread must take the next.
    if (lane.queue.size() > lane.arriving && lane.arriving < kArriving &&
        !Summon(lane)) {
      Watch(lane);
    }
    mu_.Unlock();
    this_thread_().in_task = true;
    std::move(node.front())();
    node.clear();  // The task's destructor counts as part of the task.
    this_thread_().in_task = false;
    mu_.Lock();
    LeaveTask();
  }
  --lane.threads;
  End(self);
}

// Waits until this thread is woken or the pool is closed. If the lane has more
// than `lane.kept` threads, waits for at most `idle_timeout`. Returns true if
// the thread must check `closed_` and the queue again, and false if it must
// end.
bool ThreadPool::AwaitTask(Lane& lane, Idler& me) {
  me.is_woken = false;
  lane.idle.push_back(&me);
  if (options_.idle_timeout == absl::InfiniteDuration() ||
      lane.threads <= lane.kept) {
    while (!me.is_woken && !closed_) me.woken.Wait(&mu_);
  } else {
    me.woken.WaitWithTimeout(&mu_,
                             std::min(options_.idle_timeout, absl::Hours(1)));
  }
  if (me.is_woken) {
    --lane.arriving;
    return true;
  }
  lane.idle.erase(std::find(lane.idle.begin(), lane.idle.end(), &me));
  return lane.threads <= lane.kept;
}

void ThreadPool::RunTimers(Threads::iterator self) {
  this_thread_().pool = this;
  mu_.Lock();
  while (AwaitTimer()) {
    Timers::node_type timer = timers_.extract(timers_.begin());
    timers_by_id_.erase(timer.key().second);
    ++running_;
    mu_.Unlock();
    std::move(timer.mapped())();
    timer = Timers::node_type();
    mu_.Lock();
    LeaveTask();
  }
  End(self);
}

// Waits until the first timer is due, and meanwhile makes the checks that
// `Watch` requested. Returns false if the thread must end.
bool ThreadPool::AwaitTimer() {
  while (!closed_) {
    const BootTime now = clock_.Now().boot;
    CheckWatched(workers_, now);
    CheckWatched(blockers_, now);
    BootTime due = timers_.empty() ? BootTime::InfiniteFuture()
                                   : FromNanos(timers_.begin()->first.first);
    if (due <= now) return true;
    due = std::min({due, workers_.watch_at, blockers_.watch_at});
    if (due == BootTime::InfiniteFuture()) {
      wakes_at_ = due;
      timers_changed_.Wait(&mu_);
    } else {
      wakes_at_ = std::min(due, now + kLongestWait);
      timers_changed_.WaitWithTimeout(&mu_, wakes_at_ - now);
    }
  }
  return false;
}

void ThreadPool::LeaveTask() {
  --running_;
  if (closed_) ended_.SignalAll();
}

void ThreadPool::End(Threads::iterator self) {
  this_thread_() = {};
  // Each thread that ends joins the thread that ended before it.
  Threads before;
  if (detached_.empty()) {
    before.swap(finished_);
    finished_.splice(finished_.end(), live_, self);
  } else {
    detached_.erase(self);  // Shutdown detached all remaining threads.
  }
  if (closed_) ended_.SignalAll();
  mu_.Unlock();
  for (Thread& thread : before) thread.os.Join();
}

}  // namespace executors_internal
}  // namespace refreshable
