// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads whose threads block.
//
// A read is *settled* if it no longer waits for the refresh. Its
// `PendingRead::outcome` is then set. A read *ends* when its thread may return
// from Await. A settled read usually ends after the user's hook has run.
//
// Each thread sleeps on a Wakeup of its own. It is woken for one of these
// reasons:
//
// - Its read has ended.
// - It may run the queued attempt. Only one such thread is woken. If it leaves
//   without running the attempt, it wakes another.
// - Its deadline has passed. The timeout of its sleep may leave out the time
//   while the computer is suspended. So one thread, the leader, reads the
//   BootTime every second and wakes each thread whose deadline has passed.
// - It is the new leader.

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

// Returns the outcome if it is known at once. Otherwise makes the read a
// waiter, `blocked`, and returns nullopt.
std::optional<absl::StatusOr<HazardHolder>> Shell::Ask(
    ReadRequest& request, absl::Duration timeout,
    std::shared_ptr<BlockedRead>& blocked) noexcept {
  Effects effects;
  std::optional<absl::StatusOr<HazardHolder>> outcome;
  bool nothing_to_do = false;
  {
    Section section(this);
    if (closed_) return Destroyed();
    // If a read fails because no attempt is permitted yet, later reads get the
    // same error (see `Decisions::fails_until`). Asking the machine would hold
    // the lock longer, and very many threads may be waiting for the lock.
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
  // Sets what CanRun looks at.
  UseExecutor([&] {
    blocked->in_executor_thread = executor()->InExecutorThread();
    blocked->drivable =
        executor()->DriveUntil([] { return true; }, request.deadline);
  });
  return std::nullopt;
}

// Blocks until the read has an outcome. If that is OK, the caller must load the
// token from the cell. If that token does not answer the read, the caller must
// ask the machine again.
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

// Drives the executor until the read is `Ready` or its deadline has passed. If
// the deadline is infinite, also returns when nothing is pending that could
// help. If a task throws, removes the read and lets the exception pass.
void Shell::Drive(BlockedRead& read) {
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
  // Does not go through UseExecutor, which would defer the effects of the tasks
  // that run here. Therefore Close does not wait for this call. The user must
  // not destroy the executor before the call has returned.
  executor()->DriveUntil(
      [&] {
        ForkMutexLock lock(&mutex_);
        return Ready(read);
      },
      read.request.deadline);
  end.returned = true;
}

// Returns whether the read's thread may run a queued attempt. A thread of the
// executor may do so, because the attempt may be queued behind its own task. A
// thread that drives the executor may do so once its read is settled. It then
// waits for the hook, which may wait for that attempt.
bool Shell::CanRun(const BlockedRead& read) const {
  return read.in_executor_thread || (read.drivable && read.settled);
}

// Returns whether the read has ended, or an attempt is queued that its thread
// may run.
bool Shell::Ready(const BlockedRead& read) const {
  return read.done.load(std::memory_order_relaxed) ||
         (CanRun(read) && machine_.queued() != AttemptId::kNone);
}

// Blocks until the read has an outcome. Meanwhile runs queued attempts if
// CanRun permits it. Returns nullopt if this thread drives the executor and
// would have to wait here.
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
      // Must come before Now(): Close ends every read, and after Close the
      // clock may have been destroyed.
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
        // A settled read waits only for a hook or observer, so it gets its
        // outcome.
        return read.settled ? read.outcome : DeadlineExceeded();
      }
      if (Ready(read)) {
        claimed = machine_.queued();
      } else if (read.drivable) {
        return std::nullopt;
      } else if (waited && active_ != nullptr && active_->leader == &read) {
        WakeOverdue(now);
        // If the timer is lost, the leader calls OnWake instead. Before the
        // call it resigns, which wakes the next leader. That thread comes here
        // too. Without the check of `wake_at`, it would also resign and call
        // OnWake, and so on.
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

// Called after Drive. Returns nullopt if the read is `Ready` or its deadline
// has passed; the caller must then call Block again. A settled read first waits
// here until it is `Ready` or its deadline has passed. Any other read gets an
// error, because the executor has nothing to run that could settle it.
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
    // The thread that settled the read will end it after the user's hook, and
    // then wake this thread.
    read.wakeup.Wait(kLongestWait);
  }
}

// Ends and removes the reads. The caller must then wake their threads.
void Shell::End(const std::vector<std::shared_ptr<BlockedRead>>& reads) {
  if (active_ == nullptr) return;
  bool could_run = false;
  for (const auto& read : reads) {
    if (active_->leader == read.get()) active_->leader = nullptr;
    // The read's thread may have been woken to run a queued attempt. The thread
    // will not run the attempt, because the read has ended. So WakeRunner must
    // wake another thread. If `waiting` is false, the thread has no wake-up to
    // pass on, and what CanRun looks at may not be set yet.
    could_run |= read->waiting && CanRun(*read);
    active_->blocked.erase(read->id);
    read->done.store(true, std::memory_order_release);
  }
  if (active_->leader == nullptr) ElectLeader();
  if (could_run) WakeRunner();
  FreeInactive();
}

// Removes a read whose thread waits no longer. If that thread could have run a
// queued attempt, wakes another thread for the attempt.
void Shell::Leave(BlockedRead& read) {
  Resign(read);
  if (active_ != nullptr) active_->blocked.erase(read.id);
  FreeInactive();
  if (CanRun(read)) WakeRunner();
}

// Notes that the read's thread has stopped waiting, perhaps only for a while.
// Chooses another leader if necessary.
void Shell::Resign(BlockedRead& read) {
  read.waiting = false;
  if (active_ == nullptr || active_->leader != &read) return;
  active_->leader = nullptr;
  ElectLeader();
}

// Makes one of the waiting threads the leader and wakes it.
void Shell::ElectLeader() {
  for (auto& [id, read] : active_->blocked) {
    if (!read->waiting || read->drivable) continue;
    active_->leader = read.get();
    read->wakeup.Wake();
    return;
  }
}

// If an attempt is queued, wakes one waiting thread that may run it. Threads
// that are not waiting look for a queued attempt before they wait.
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
