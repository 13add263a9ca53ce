// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/manual_executor.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/memory/memory.h"
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
  std::vector<Turn> dropped;
  {
    absl::MutexLock lock(&mu_);
    Require(depth_ == 0, "ManualExecutor destroyed inside one of its tasks");
    closed_ = true;
    dropped.swap(turns_);
  }
  std::sort(dropped.begin(), dropped.end());
  for (const Turn& turn : dropped) {
    OwnedStep step;  // Destroyed after the lock is released.
    absl::MutexLock lock(&mu_);
    step = Take(turn.id);
  }
}

uint64_t ManualExecutor::Queue(PendingStep::Kind kind, absl::Duration delay,
                               Task& task) {
  Require(task != nullptr, "ManualExecutor is given a null task");
  // The step is made before the lock is taken, because the task's move
  // constructor is the caller's code. A refused step is destroyed after the
  // lock is released.
  OwnedStep step;
  if (!HasMemory([&] {
        step = absl::WrapUnique(new Step{0, nullptr, std::move(task)});
      })) {
    return 0;
  }
  absl::MutexLock lock(&mu_);
  Require(!closed_,
          "ManualExecutor destroyed before something that still uses it");
  const bool timer = kind == PendingStep::Kind::kTimer;
  if (timer ? refuse_timers_ : refuse_runs_) return 0;
  auto& of_kind = timer ? timers_ : runs_;
  const Turn turn = {now_.boot + std::max(delay, absl::ZeroDuration()),
                     last_id_ + 1};
  const auto make_room = [&turn](auto& steps, auto& turns) {
    return HasMemory([&] {
      steps.Reserve();
      turns.push_back(turn);
    });
  };
  if (!make_room(of_kind, turns_)) return 0;
  std::push_heap(turns_.begin(), turns_.end(), std::greater<>());
  step->id = ++last_id_;
  of_kind.Insert(std::move(step));
  return turn.id;
}

bool ManualExecutor::Run(Task task) {
  return Queue(PendingStep::Kind::kRun, absl::ZeroDuration(), task) != 0;
}

TimerId ManualExecutor::RunAfter(absl::Duration delay, Task task) {
  return static_cast<TimerId>(Queue(PendingStep::Kind::kTimer, delay, task));
}

bool ManualExecutor::Cancel(TimerId id) {
  OwnedStep cancelled;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mu_);
  if (timers_.Find(static_cast<uint64_t>(id)) == nullptr) return false;
  cancelled = Take(static_cast<uint64_t>(id));
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
  return size();
}

std::vector<ManualExecutor::PendingStep> ManualExecutor::PendingSteps() const {
  absl::MutexLock lock(&mu_);
  std::vector<PendingStep> result;
  result.reserve(size());
  for (const Turn& turn : Turns()) {
    const bool timer = timers_.Find(turn.id) != nullptr;
    result.push_back(
        {timer ? PendingStep::Kind::kTimer : PendingStep::Kind::kRun, turn.id,
         turn.due});
  }
  return result;
}

bool ManualExecutor::RunPending(size_t index) {
  RequireOwner();
  OwnedStep step;
  {
    absl::MutexLock lock(&mu_);
    if (index >= size()) return false;
    const Turn turn = Turns()[index];
    if (!IsFinite(turn.due)) return false;
    MoveTo(turn.due);
    step = Take(turn.id);
    ++depth_;
  }
  RunStep(std::move(step));
  return true;
}

bool ManualExecutor::DropPending(size_t index) {
  OwnedStep dropped;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mu_);
  if (index >= size()) return false;
  dropped = Take(Turns()[index].id);
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
  OwnedStep step;
  {
    absl::MutexLock lock(&mu_);
    const Turn* const first = First();
    if (first == nullptr || first->due > limit || !IsFinite(first->due)) {
      return false;
    }
    MoveTo(first->due);
    step = Take(first->id);
    ++depth_;
  }
  RunStep(std::move(step));
  return true;
}

const ManualExecutor::Turn* ManualExecutor::First() {
  while (!turns_.empty() && !IsPending(turns_.front().id)) {
    std::pop_heap(turns_.begin(), turns_.end(), std::greater<>());
    turns_.pop_back();
  }
  return turns_.empty() ? nullptr : &turns_.front();
}

std::vector<ManualExecutor::Turn> ManualExecutor::Turns() const {
  std::vector<Turn> result;
  result.reserve(size());
  for (const Turn& turn : turns_) {
    if (IsPending(turn.id)) result.push_back(turn);
  }
  std::sort(result.begin(), result.end());
  return result;
}

ManualExecutor::OwnedStep ManualExecutor::Take(uint64_t id) {
  OwnedStep step = timers_.Take(id);
  if (step == nullptr) step = runs_.Take(id);
  if (turns_.size() / 2 > size() + 32) {
    const auto gone = std::remove_if(
        turns_.begin(), turns_.end(),
        [&](const Turn& turn)
            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !IsPending(turn.id); });
    turns_.erase(gone, turns_.end());
    std::make_heap(turns_.begin(), turns_.end(), std::greater<>());
  }
  return step;
}

void ManualExecutor::RunStep(OwnedStep step) {
  // Decrements `depth_` even if an exception ends the task.
  struct Leave {
    ManualExecutor* executor;
    ~Leave() {
      absl::MutexLock lock(&executor->mu_);
      --executor->depth_;
    }
  } leave{this};
  // The task is destroyed before `leave`, so `InExecutorThread` is still true
  // inside the task's destructor.
  const OwnedStep running = std::move(step);
  std::move(running->task)();
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
