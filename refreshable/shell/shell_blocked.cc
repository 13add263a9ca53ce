// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads whose threads block.
//
// A read is *settled* once it waits for the refresh no longer;
// `PendingRead::outcome` is set then. It *ends* when its thread may return from
// Await: for a settled read that is usually after the user's hook has run. Each
// thread sleeps on a wake-up of its own, and is woken for one of these reasons:
//
// - Its read has ended.
// - An attempt was submitted that the thread may run. One such thread is woken.
//   If it leaves without running the attempt, it wakes another.
// - Its deadline has passed. The thread's own sleep ends then, but the sleep
//   may not count the time while the computer is suspended. Therefore one of
//   the threads, the leader, reads the BootTime every second, and wakes those
//   whose deadline has passed.
// - It is the new leader, because the old one waits no longer.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"
#include "refreshable/shell/waiters.h"

namespace refreshable {
namespace internal {

absl::StatusOr<HazardHolder> Shell::Read(ReadRequest request,
                                         absl::Duration timeout) {
  request.deadline = BootTime::InfinitePast();  // The first Ask computes it.
  for (;;) {
    std::shared_ptr<BlockedRead> blocked;
    std::optional<absl::StatusOr<HazardHolder>> outcome =
        Ask(request, timeout, blocked);
    if (outcome.has_value()) return *std::move(outcome);
    absl::Status status = Await(*blocked);
    if (!status.ok()) return status;
    HazardHolder hold = cell_.LoadBySystemClock();
    if (Answers(hold, request)) return hold;
  }
}

// Returns the outcome of the read if it is known at once. Otherwise makes the
// read a waiter, sets `blocked` to that waiter, and returns nullopt.
std::optional<absl::StatusOr<HazardHolder>> Shell::Ask(
    ReadRequest& request, absl::Duration timeout,
    std::shared_ptr<BlockedRead>& blocked) noexcept {
  Effects effects;
  std::optional<absl::StatusOr<HazardHolder>> outcome;
  bool nothing_to_do = false;
  {
    Section section(this);
    if (closed_) return Destroyed();
    // Between two attempts very many threads may read, and queue for the lock.
    // They need neither the machine nor the precise clocks (see
    // `Decisions::fails_until`).
    if (trouble_ != nullptr && request.rejected == Generation() &&
        (active_ == nullptr || !HasThisThread(active_->in_attempt)) &&
        clock().CoarseBoot().Ticks() < trouble_->fails_until_ticks) {
      return trouble_->error;
    }
    const Instant now = Now();
    if (request.deadline == BootTime::InfinitePast()) {
      request.deadline = now.boot + timeout;
    }
    ForgetUnpublished(request);
    if (active_ != nullptr && HasThisThread(active_->in_attempt) &&
        !machine_.serves(now, request)) {
      return absl::FailedPreconditionError(
          "a token source read its own Refreshable, which has no usable "
          "token until that very call of the source has returned");
    }
    Decisions decisions;
    const auto answer = machine_.OnRead(now, request, decisions);
    Apply(now, decisions, effects);
    outcome = OutcomeOf(answer, decisions);
    if (!outcome.has_value()) {
      blocked = std::make_shared<BlockedRead>();
      blocked->request = request;
      blocked->id = ++last_waiter_;
      active().blocked.emplace(blocked->id, blocked);
    }
    nothing_to_do = NothingToDo(now, effects);
    if (nothing_to_do && decisions.fails_until > now.boot) {
      trouble().fails_until_ticks =
          CoarseBootClock::TicksBefore(decisions.fails_until);
    }
  }
  if (!nothing_to_do) CarryOut(effects);
  if (outcome.has_value()) return outcome;
  // Finds out whether this thread may run a queued attempt itself (see CanRun).
  // A thread of the executor may, because the attempt that the read waits for
  // may be queued behind the very task that it runs.
  UseExecutor([&] {
    blocked->in_executor_thread = executor()->InExecutorThread();
    blocked->drivable =
        executor()->DriveUntil([] { return true; }, request.deadline);
  });
  return std::nullopt;
}

// Blocks until the read has an outcome, and returns it. If the outcome is OK,
// the caller must get the token from the cell, or ask the machine again.
absl::Status Shell::Await(BlockedRead& read) {
  for (;;) {
    std::optional<absl::Status> outcome = Block(read);
    if (outcome.has_value()) return *std::move(outcome);
    // Block returns without an outcome only if this thread drives the executor.
    Drive(read);
    outcome = AfterDriving(read);
    if (outcome.has_value()) return *std::move(outcome);
  }
}

// Drives the executor until `Ready` returns true, the deadline has passed or,
// if the deadline is infinite, nothing is pending that could help. If a task
// throws, removes the read and lets the exception pass.
void Shell::Drive(BlockedRead& read) {
  // Removes the read if an exception leaves this function.
  struct End {
    Shell* shell;
    BlockedRead& read;
    bool returned = false;
    ~End() {
      if (returned) return;
      ForkMutexLock lock(&shell->mutex_);
      shell->Leave(read);
    }
  } end{this, read};
  // This call does not go through UseExecutor, which would defer the effects of
  // all inputs that come in the tasks that run here. So Close does not wait for
  // it; the executor must not be destroyed while a thread drives it.
  executor()->DriveUntil(
      [&] {
        ForkMutexLock lock(&mutex_);
        return Ready(read);
      },
      read.request.deadline);
  end.returned = true;
}

// Returns whether the read's thread may take a queued attempt and run it. A
// thread of the executor always may. A thread that drives the executor may do
// so once its read is settled: the hook runs before the thread is woken, and
// may wait for that attempt. Any other thread may not.
bool Shell::CanRun(const BlockedRead& read) const {
  return read.in_executor_thread || (read.drivable && read.settled);
}

// Returns whether the read has ended, or an attempt is queued that its thread
// may run.
bool Shell::Ready(const BlockedRead& read) const {
  return read.done.load(std::memory_order_relaxed) ||
         (CanRun(read) && machine_.queued() != AttemptId::kNone);
}

// Blocks until the read has an outcome, and returns it. Meanwhile runs queued
// attempts if CanRun permits it. If this thread drives the executor and would
// have to wait here, returns nullopt instead.
std::optional<absl::Status> Shell::Block(BlockedRead& read) noexcept {
  const BootTime deadline = read.request.deadline;
  for (bool waited = false;;) {
    if (read.done.load(std::memory_order_acquire)) return read.outcome;
    AttemptId claimed = AttemptId::kNone;
    bool wake_machine = false;
    absl::Duration longest;
    {
      ForkMutexLock lock(&mutex_);
      read.waiting = false;
      // After Close every read is done. So the clock below, which may have been
      // destroyed by then, is not read.
      if (read.done.load(std::memory_order_relaxed)) return read.outcome;
      if (!read.drivable && active_ != nullptr &&
          HasThisThread(active_->in_timer)) {
        Leave(read);
        return absl::FailedPreconditionError(
            "a read inside an observer or callback that a timer of the "
            "executor runs would have to wait, which holds up all timers");
      }
      const Instant now = Now();
      if (now.boot >= deadline) {
        Leave(read);
        // If the read is settled, it waits only for a slow hook or observer, so
        // it gets the outcome with which it was settled.
        return read.settled ? read.outcome : DeadlineExceeded();
      }
      if (Ready(read)) {
        claimed = machine_.queued();
      } else if (read.drivable) {
        return std::nullopt;
      } else if (waited && active_ != nullptr && active_->leader == &read) {
        WakeOverdue(now);
        // If the timer is lost, the leader calls the machine in its place, for
        // example to end an attempt that takes too long. It does so only if the
        // call is due. (The leader resigns for the call, which wakes the next
        // leader at once. If each leader made a call whether it is due or not,
        // this would go on without end.)
        wake_machine = timer_lost_ && machine_.wake_at(now) <= now.boot;
      }
      if (claimed != AttemptId::kNone || wake_machine) {
        Resign(read);
      } else {
        read.waiting = true;
        const BlockedRead*& leader = active().leader;
        if (leader == nullptr) leader = &read;
        longest = deadline - now.boot;
        if (leader == &read) longest = std::min(longest, kLongestWait);
      }
    }
    waited = false;
    if (claimed != AttemptId::kNone) {
      RunAttempt(claimed);
    } else if (wake_machine) {
      OnInput([&](const Instant& now, Effects& effects)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                    WakeMachine(now, effects);
                  });
    } else {
      read.wakeup.Wait(longest);
      waited = true;
    }
  }
}

// Called when Drive has returned. If `Ready` returns true or the deadline has
// passed, returns nullopt: Block must be called again. Otherwise, if the read
// is settled, waits for one of these two. If it is not settled, returns an
// error, because the executor has nothing more to run that could help.
std::optional<absl::Status> Shell::AfterDriving(BlockedRead& read) noexcept {
  const BootTime deadline = read.request.deadline;
  for (;;) {
    {
      ForkMutexLock lock(&mutex_);
      read.waiting = false;
      if (Ready(read) || Now().boot >= deadline) return std::nullopt;
      if (!read.settled) {
        Leave(read);
        return absl::FailedPreconditionError(
            "nothing is pending that could bring a token: the executor is "
            "idle, and the read has no deadline");
      }
      read.waiting = true;
    }
    // The read is settled, so another thread will wake this one.
    read.wakeup.Wait(kLongestWait);
  }
}

// Ends the reads: removes them, so that their threads may return. The caller
// must then wake these threads.
void Shell::End(const std::vector<std::shared_ptr<BlockedRead>>& reads) {
  if (active_ == nullptr) return;
  bool could_run = false;
  for (const auto& read : reads) {
    if (active_->leader == read.get()) active_->leader = nullptr;
    // The read's thread may have been woken for a queued attempt that it will
    // now not run, so another thread is woken for that attempt. (A thread that
    // does not wait was not woken for an attempt, and its flags for CanRun may
    // not have been set yet.)
    could_run |= read->waiting && CanRun(*read);
    active_->blocked.erase(read->id);
    read->done.store(true, std::memory_order_release);
  }
  if (active_->leader == nullptr) ElectLeader();
  if (could_run) WakeRunner();
  FreeInactive();
}

// Removes the read, because its thread waits no longer. If that thread could
// have run a queued attempt, wakes another thread for the attempt.
void Shell::Leave(BlockedRead& read) {
  Resign(read);
  if (active_ != nullptr) active_->blocked.erase(read.id);
  FreeInactive();
  if (CanRun(read)) WakeRunner();
}

// Notes that the read's thread does not wait for now. If it was the leader,
// chooses another leader.
void Shell::Resign(BlockedRead& read) {
  read.waiting = false;
  if (active_ == nullptr || active_->leader != &read) return;
  active_->leader = nullptr;
  ElectLeader();
}

// Makes a waiting thread, if there is one, the leader, and wakes it. Skips
// threads that drive the executor: they do not look at the clock for others.
void Shell::ElectLeader() {
  for (auto& [id, read] : active_->blocked) {
    if (!read->waiting || read->drivable) continue;
    active_->leader = read.get();
    read->wakeup.Wake();
    return;
  }
}

// If an attempt is queued, wakes one waiting thread that may run it. (A thread
// that is not waiting looks for a queued attempt before it waits.)
void Shell::WakeRunner() {
  if (active_ == nullptr || machine_.queued() == AttemptId::kNone) return;
  for (auto& [id, read] : active_->blocked) {
    if (!read->waiting || !CanRun(*read)) continue;
    read->wakeup.Wake();
    return;
  }
}

void Shell::WakeOverdue(const Instant& now) {
  for (auto& [id, read] : active_->blocked) {
    if (read->waiting && now.boot >= read->request.deadline) {
      read->wakeup.Wake();
    }
  }
}

}  // namespace internal
}  // namespace refreshable
