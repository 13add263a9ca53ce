// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/asio_executor/asio_executor.h"

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "asio/any_io_executor.hpp"
#include "asio/bind_executor.hpp"
#include "asio/error.hpp"
#include "asio/error_code.hpp"
#include "asio/post.hpp"
#include "asio/steady_timer.hpp"
#include "asio/strand.hpp"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable_examples {
namespace {

using refreshable::BootTime;
using refreshable::SystemClock;
using refreshable::TimerId;

// The clock is read again after at most this wait. On many systems, Asio's
// timer stands still while the computer is suspended.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

BootTime Now() { return SystemClock::Get().Now().boot; }

}  // namespace

class AsioExecutor::Core final : public std::enable_shared_from_this<Core> {
 public:
  Core(asio::any_io_executor blocking, asio::any_io_executor tasks,
       asio::any_io_executor timers)
      : blocking_(std::move(blocking)),
        tasks_(std::move(tasks)),
        alarm_(std::in_place, std::move(timers)) {}

  void Stop() {
    std::list<Task> blocking, tasks;
    Timers timers;
    {
      absl::MutexLock lock(&mu_);
      closed_ = true;
      blocking.swap(blocking_queue_);
      tasks.swap(task_queue_);
      timers.swap(timers_);
      due_.clear();
      alarm_.reset();
    }
    tasks.clear();
    blocking.clear();
    timers.clear();
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(this, &Core::Idle));
  }

  bool Run(Task task) { return Post(tasks_, &task_queue_, std::move(task)); }
  bool RunBlocking(Task task) {
    return Post(blocking_, &blocking_queue_, std::move(task));
  }

  // Refuses the timer after `Stop`, or if there is no memory.
  TimerId RunAfter(absl::Duration delay, Task task) {
    Timers::node_type node;  // Destroyed after the lock is released.
    try {
      Timers made;
      made.emplace(std::make_pair(BootTime(), 0), std::move(task));
      node = made.extract(made.begin());
    } catch (const std::bad_alloc&) {
      return TimerId::kNone;
    }
    absl::MutexLock lock(&mu_);
    if (closed_) return TimerId::kNone;
    const uint64_t id = ++last_id_;
    const BootTime due = Now() + std::max(delay, absl::ZeroDuration());
    node.key() = {due, id};
    try {
      due_.emplace(id, due);
    } catch (const std::bad_alloc&) {
      return TimerId::kNone;
    }
    const auto inserted = timers_.insert(std::move(node)).position;
    if (inserted == timers_.begin()) Arm();
    return static_cast<TimerId>(id);
  }

  bool Cancel(TimerId timer) {
    const uint64_t id = static_cast<uint64_t>(timer);
    Timers::node_type cancelled;  // Destroyed after the lock is released.
    absl::MutexLock lock(&mu_);
    const auto due = due_.find(id);
    if (due == due_.end()) return false;
    const auto it = timers_.find({due->second, id});
    const bool first = it == timers_.begin();
    cancelled = timers_.extract(it);
    due_.erase(due);
    if (first) Arm();
    return true;
  }

  bool InTask() const {
    for (const Frame* frame = Frame::innermost; frame != nullptr;
         frame = frame->outer) {
      if (frame->core == this) return true;
    }
    return false;
  }

 private:
  using Queue = std::list<Task>;
  // Each key is a due time and an id.
  using Timers = std::map<std::pair<BootTime, uint64_t>, Task>;

  // A task of `Run` or `RunBlocking` on this thread. If the task calls `run()`
  // of an Asio context, other tasks run inside it.
  struct Frame {
    explicit Frame(const Core* c) : core(c) { innermost = this; }
    ~Frame() { innermost = outer; }

    static thread_local const Frame* innermost;
    const Core* const core;
    const Frame* const outer = innermost;
  };

  // The destructor decrements `running_`, even if the task throws. The code
  // that makes a Running has incremented `running_` before.
  struct Running {
    ~Running() {
      absl::MutexLock lock(&core->mu_);
      --core->running_;
    }
    Core* const core;
  };

  struct Alarm {
    explicit Alarm(asio::any_io_executor timers)
        : timer(timers), strand(std::move(timers)) {}
    asio::steady_timer timer;
    // Runs one timer task at a time.
    asio::strand<asio::any_io_executor> strand;
  };

  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return running_ == 0; }

  // Appends `task` to `queue`, and posts a handler that will run the first task
  // of the queue. Returns false after `Stop`, or if there is no memory.
  bool Post(const asio::any_io_executor& context, Queue* queue, Task task) {
    // Moving or destroying a task may run the caller's code, so neither may
    // happen under the lock.
    Queue node;
    try {
      node.push_back(std::move(task));
      absl::MutexLock lock(&mu_);
      if (closed_) return false;
      // The queue owns the task, and the handler does not. So `Stop` can
      // destroy the task even if nobody runs the context any longer.
      asio::post(context,
                 [self = shared_from_this(), queue] { self->RunTask(queue); });
      queue->splice(queue->end(), node);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  void RunTask(Queue* queue) {
    Queue node;
    {
      absl::MutexLock lock(&mu_);
      if (queue->empty()) return;
      node.splice(node.end(), *queue, queue->begin());
      ++running_;
    }
    const Running running{this};
    const Frame frame(this);
    // `task` is destroyed before `running` and `frame`, because its destructor
    // counts as a part of the task.
    Task task = std::move(node.front());
    std::move(task)();
  }

  // Runs the first timer if it is due, and arms the next one.
  void RunTimer() {
    Timers::node_type timer;
    {
      absl::MutexLock lock(&mu_);
      if (!timers_.empty() && timers_.begin()->first.first <= Now()) {
        timer = timers_.extract(timers_.begin());
        due_.erase(timer.key().second);
        ++running_;
      }
      Arm();
    }
    if (timer.empty()) return;
    const Running running{this};
    Task task = std::move(timer.mapped());
    std::move(task)();
  }

  // Schedules RunTimer for the first due time, but at most `kLongestWait` from
  // now. If memory runs out, the program ends, because the timers would be
  // lost.
  void Arm() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (closed_) return;
    const BootTime due = timers_.empty() ? BootTime::InfiniteFuture()
                                         : timers_.begin()->first.first;
    if (due == BootTime::InfiniteFuture()) {
      alarm_->timer.cancel();
      return;
    }
    // `expires_after` cancels the previous wait.
    alarm_->timer.expires_after(
        absl::ToChronoNanoseconds(std::min(due - Now(), kLongestWait)));
    alarm_->timer.async_wait(asio::bind_executor(
        alarm_->strand, [self = shared_from_this()](asio::error_code error) {
          if (error != asio::error::operation_aborted) self->RunTimer();
        }));
  }

  const asio::any_io_executor blocking_;
  const asio::any_io_executor tasks_;

  // A thread that holds this lock takes no other lock except Asio's own. It
  // does not run, move or destroy a task.
  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  Queue blocking_queue_ ABSL_GUARDED_BY(mu_);
  Queue task_queue_ ABSL_GUARDED_BY(mu_);
  Timers timers_ ABSL_GUARDED_BY(mu_);
  // The due time of each timer, by the timer's id.
  absl::flat_hash_map<uint64_t, BootTime> due_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<Alarm> alarm_ ABSL_GUARDED_BY(mu_);  // Empty if `closed_`.
};

thread_local const AsioExecutor::Core::Frame*
    AsioExecutor::Core::Frame::innermost = nullptr;

AsioExecutor::AsioExecutor(asio::any_io_executor blocking,
                           asio::any_io_executor tasks,
                           asio::any_io_executor timers)
    : core_(std::make_shared<Core>(std::move(blocking), std::move(tasks),
                                   std::move(timers))) {}

AsioExecutor::~AsioExecutor() { core_->Stop(); }

void AsioExecutor::Stop() { core_->Stop(); }

bool AsioExecutor::Run(Task task) { return core_->Run(std::move(task)); }

bool AsioExecutor::RunBlocking(Task task) {
  return core_->RunBlocking(std::move(task));
}

TimerId AsioExecutor::RunAfter(absl::Duration delay, Task task) {
  return core_->RunAfter(delay, std::move(task));
}

bool AsioExecutor::Cancel(TimerId id) { return core_->Cancel(id); }

bool AsioExecutor::InExecutorThread() const { return core_->InTask(); }

}  // namespace refreshable_examples
