// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/manual_executor.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/fatal.h"
#include "refreshable/executors/internal/has_memory.h"

namespace refreshable {
namespace {

using executors_internal::HasMemory;
using executors_internal::Require;

bool IsFinite(absl::Duration d) {
  return d > -absl::InfiniteDuration() && d < absl::InfiniteDuration();
}

bool IsFinite(BootTime t) {
  return t > BootTime::InfinitePast() && t < BootTime::InfiniteFuture();
}

}  // namespace

Instant ManualExecutor::VirtualClock::Now() const {
  absl::MutexLock lock(&executor_->mu_);
  return executor_->now_;
}

Instant ManualExecutor::DefaultStart() {
  return Instant{absl::FromUnixSeconds(1767225600),
                 BootTime() + absl::Hours(1)};
}

ManualExecutor::ManualExecutor(Instant start)
    : clock_(this),
      now_(start),
      wall_nanos_(FloorToUnixNanos(start.wall)),
      boot_nanos_(CoarseBootClock::TicksBefore(start.boot)),
      owner_(std::this_thread::get_id()) {
  Require(IsFinite(start.boot),
          "ManualExecutor starts at an infinite BootTime");
}

ManualExecutor::~ManualExecutor() {
  Steps dropped;
  {
    absl::MutexLock lock(&mu_);
    Require(depth_ == 0, "ManualExecutor destroyed inside one of its tasks");
    closed_ = true;
    timers_.clear();
    dropped.swap(steps_);
  }
  while (!dropped.empty()) dropped.erase(dropped.begin());
}

uint64_t ManualExecutor::Queue(PendingStep::Kind kind, absl::Duration delay,
                               Task& task) {
  Require(task != nullptr, "ManualExecutor is given a null task");
  // The nodes are made and filled before the lock is taken, so that the task's
  // move constructor, which is the caller's code, does not run under it.
  Steps made;
  Timers made_timers;
  if (!HasMemory([&] {
        Step& step = made[{BootTime(), 0}];
        step.kind = kind;
        step.task = std::move(task);
        if (kind == PendingStep::Kind::kTimer) made_timers[0] = made.begin();
      })) {
    return 0;
  }
  Steps::node_type node = made.extract(made.begin());
  {
    absl::MutexLock lock(&mu_);
    Require(!closed_,
            "ManualExecutor destroyed before something that still uses it");
    const bool refuse =
        kind == PendingStep::Kind::kRun ? refuse_runs_ : refuse_timers_;
    if (!refuse) {
      const uint64_t id = ++last_id_;
      node.key() = {now_.boot + std::max(delay, absl::ZeroDuration()), id};
      const auto step = steps_.insert(std::move(node)).position;
      if (kind == PendingStep::Kind::kTimer) {
        Timers::node_type timer = made_timers.extract(made_timers.begin());
        timer.key() = id;
        timer.mapped() = step;
        timers_.insert(std::move(timer));
      }
      return id;
    }
  }
  return 0;  // Destroys `node` and the task in it.
}

bool ManualExecutor::Run(Task task) {
  return Queue(PendingStep::Kind::kRun, absl::ZeroDuration(), task) != 0;
}

TimerId ManualExecutor::RunAfter(absl::Duration delay, Task task) {
  return static_cast<TimerId>(Queue(PendingStep::Kind::kTimer, delay, task));
}

bool ManualExecutor::Cancel(TimerId id) {
  Steps::node_type cancelled;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mu_);
  const auto timer = timers_.find(static_cast<uint64_t>(id));
  if (timer == timers_.end()) return false;
  cancelled = Take(timer->second);
  return true;
}

bool ManualExecutor::InExecutorThread() const {
  absl::MutexLock lock(&mu_);
  return depth_ > 0 && owner_ == std::this_thread::get_id();
}

bool ManualExecutor::DriveUntil(absl::FunctionRef<bool()> done,
                                BootTime deadline) {
  if (!IsOwner()) return false;
  if (Boot() >= deadline) return true;
  while (!done()) {
    // A task may have moved time past the deadline.
    if (Boot() > deadline) return true;
    if (RunFirst(deadline)) continue;
    if (deadline < BootTime::InfiniteFuture()) {
      absl::MutexLock lock(&mu_);
      MoveTo(deadline);
    }
    return true;
  }
  return true;
}

bool ManualExecutor::RunNext() {
  RequireOwner();
  return RunFirst(Boot());
}

size_t ManualExecutor::RunUntilIdle() {
  size_t ran = 0;
  while (RunNext()) ++ran;
  return ran;
}

size_t ManualExecutor::AdvanceBy(absl::Duration d) {
  RequireOwner();
  Require(IsFinite(d) && d >= absl::ZeroDuration(),
          "ManualExecutor::AdvanceBy with a negative or infinite duration");
  const BootTime target = Boot() + d;
  size_t ran = 0;
  while (RunFirst(target)) ++ran;
  absl::MutexLock lock(&mu_);
  MoveTo(target);
  return ran;
}

size_t ManualExecutor::AdvanceTo(absl::Time wall) {
  return AdvanceBy(wall - clock_.Now().wall);
}

void ManualExecutor::StepWall(absl::Duration d) {
  Require(IsFinite(d), "ManualExecutor::StepWall with an infinite duration");
  absl::MutexLock lock(&mu_);
  now_.wall += d;
  wall_nanos_.store(FloorToUnixNanos(now_.wall), std::memory_order_relaxed);
}

void ManualExecutor::Suspend(absl::Duration d) {
  Require(IsFinite(d) && d >= absl::ZeroDuration(),
          "ManualExecutor::Suspend with a negative or infinite duration");
  absl::MutexLock lock(&mu_);
  MoveTo(now_.boot + d);
}

size_t ManualExecutor::pending() const {
  absl::MutexLock lock(&mu_);
  return steps_.size();
}

std::vector<ManualExecutor::PendingStep> ManualExecutor::PendingSteps() const {
  absl::MutexLock lock(&mu_);
  std::vector<PendingStep> result;
  result.reserve(steps_.size());
  for (const auto& [key, step] : steps_) {
    result.push_back(PendingStep{step.kind, key.second, key.first});
  }
  return result;
}

bool ManualExecutor::RunPending(size_t index) {
  RequireOwner();
  Steps::node_type step;
  {
    absl::MutexLock lock(&mu_);
    if (index >= steps_.size()) return false;
    const auto it = std::next(steps_.begin(), index);
    if (!IsFinite(it->first.first)) return false;
    MoveTo(it->first.first);
    step = Take(it);
    ++depth_;
  }
  RunStep(std::move(step));
  return true;
}

bool ManualExecutor::DropPending(size_t index) {
  Steps::node_type dropped;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mu_);
  if (index >= steps_.size()) return false;
  dropped = Take(std::next(steps_.begin(), index));
  return true;
}

void ManualExecutor::set_refuse_runs(bool refuse) {
  absl::MutexLock lock(&mu_);
  refuse_runs_ = refuse;
}

void ManualExecutor::set_refuse_timers(bool refuse) {
  absl::MutexLock lock(&mu_);
  refuse_timers_ = refuse;
}

void ManualExecutor::BindToCurrentThread() {
  absl::MutexLock lock(&mu_);
  Require(depth_ == 0,
          "ManualExecutor::BindToCurrentThread while a task is running");
  owner_ = std::this_thread::get_id();
}

bool ManualExecutor::RunFirst(BootTime limit) {
  Steps::node_type step;
  {
    absl::MutexLock lock(&mu_);
    if (steps_.empty()) return false;
    const BootTime due = steps_.begin()->first.first;
    if (due > limit || !IsFinite(due)) return false;
    MoveTo(due);
    step = Take(steps_.begin());
    ++depth_;
  }
  RunStep(std::move(step));
  return true;
}

ManualExecutor::Steps::node_type ManualExecutor::Take(Steps::iterator step) {
  timers_.erase(step->first.second);
  return steps_.extract(step);
}

void ManualExecutor::RunStep(Steps::node_type step) {
  // Notes that the task has ended, even if an exception ends it.
  struct Leave {
    ManualExecutor* executor;
    ~Leave() {
      absl::MutexLock lock(&executor->mu_);
      --executor->depth_;
    }
  } leave{this};
  // The task is destroyed before `leave`, so its destructor still counts as
  // inside the task.
  Task task = std::move(step.mapped().task);
  std::move(task)();
}

void ManualExecutor::MoveTo(BootTime boot) {
  if (boot <= now_.boot) return;
  now_.wall += boot - now_.boot;
  now_.boot = boot;
  wall_nanos_.store(FloorToUnixNanos(now_.wall), std::memory_order_relaxed);
  boot_nanos_.store(CoarseBootClock::TicksBefore(boot),
                    std::memory_order_relaxed);
}

BootTime ManualExecutor::Boot() const {
  absl::MutexLock lock(&mu_);
  return now_.boot;
}

bool ManualExecutor::IsOwner() const {
  absl::MutexLock lock(&mu_);
  return owner_ == std::this_thread::get_id();
}

void ManualExecutor::RequireOwner() const {
  Require(IsOwner(),
          "ManualExecutor driven from a thread that does not own it; see "
          "BindToCurrentThread()");
}

}  // namespace refreshable
