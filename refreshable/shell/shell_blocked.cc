// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads whose threads block.
//
// Each thread sleeps on a wake-up of its own, and is woken for one of these:
//
// - Its read has ended. The thread then needs the lock no more.
// - An attempt was submitted that the thread may run. One such thread is woken.
//   If it leaves without running the attempt, it wakes another.
// - Its deadline has passed. The thread's own sleep ends then, but it may not
//   count the time while the machine is suspended. Therefore one of the
//   threads, the leader, reads the BootTime every second, and wakes those whose
//   deadline has passed. If the leader leaves, it wakes the next leader.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"
#include "refreshable/shell/waiters.h"

namespace refreshable {
namespace internal {

// Blocks until the read has ended. If the result is OK, the caller reads again.
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

// Drives the executor until `Ready` or the deadline. If a task throws, the read
// ends with the exception.
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
  // This thread is the one that drives the executor, which therefore lives.
  executor()->DriveUntil(
      [&] {
        ForkMutexLock lock(&mutex_);
        return Ready(read);
      },
      read.request.deadline);
  end.returned = true;
}

// Whether the thread may run an attempt that is queued. It may do so even after
// the read is settled, because the hook that runs before the wake-up may itself
// wait for this attempt.
bool Shell::CanRun(const BlockedRead& read) const {
  return read.in_executor_thread || (read.drivable && read.settled);
}

// Whether the read has ended, or its thread can run the attempt that is queued.
bool Shell::Ready(const BlockedRead& read) const {
  return read.done.load(std::memory_order_relaxed) ||
         (CanRun(read) && machine_.queued() != AttemptId::kNone);
}

// Waits until something can be done, and does it. Does not wait if this thread
// drives the executor. Returns the outcome of the read; nullopt if it has not
// ended and this thread drives the executor.
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
      // After Close every read is done, so the clock is not read then.
      if (read.done.load(std::memory_order_relaxed)) return read.outcome;
      if (!read.drivable && HasThisThread(in_timer_)) {
        Leave(read);
        return absl::FailedPreconditionError(
            "a read inside an observer or callback that a timer of the "
            "executor runs would have to wait, which holds up all timers");
      }
      const Instant now = Now();
      if (now.boot >= deadline) {
        Leave(read);
        // If the read is settled, the refresh has ended and a slow hook still
        // runs.
        return read.settled ? read.outcome : DeadlineExceeded();
      }
      if (Ready(read)) {
        claimed = machine_.queued();
      } else if (read.drivable) {
        return std::nullopt;
      } else if (waited && leader_ == &read) {
        WakeOverdue(now);
        // There is no timer, so this thread ends an attempt that takes too
        // long. It does nothing before that, because it resigns then, and the
        // next leader, which is woken at once, would do the same.
        wake_machine = timer_lost_ && machine_.wake_at(now) <= now.boot;
      }
      if (claimed != AttemptId::kNone || wake_machine) {
        Resign(read);
      } else {
        read.waiting = true;
        if (leader_ == nullptr) leader_ = &read;
        longest = deadline - now.boot;
        if (leader_ == &read) longest = std::min(longest, kLongestWait);
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

// Returns an error if the executor has nothing more to run that could help;
// otherwise nullopt.
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
    // Another thread is about to wake this one.
    read.wakeup.Wait(kLongestWait);
  }
}

// Removes reads that have ended. The caller must then wake their threads, which
// need the lock no more.
void Shell::End(const std::vector<std::shared_ptr<BlockedRead>>& reads) {
  bool could_run = false;
  for (const auto& read : reads) {
    if (leader_ == read.get()) leader_ = nullptr;
    // If the thread does not wait, it has not been woken for an attempt, and
    // may not have noted yet whether it can run one.
    could_run |= read->waiting && CanRun(*read);
    blocked_.erase(read->id);
    read->done.store(true, std::memory_order_release);
  }
  if (leader_ == nullptr) ElectLeader();
  if (could_run) WakeRunner();
}

// Removes a read whose thread no longer waits.
void Shell::Leave(BlockedRead& read) {
  Resign(read);
  blocked_.erase(read.id);
  if (CanRun(read)) WakeRunner();
}

// Notes that the thread does not wait for now.
void Shell::Resign(BlockedRead& read) {
  read.waiting = false;
  if (leader_ != &read) return;
  leader_ = nullptr;
  ElectLeader();
}

// A thread that drives the executor waits only for another thread that is about
// to wake it, and does not look at the clock for others.
void Shell::ElectLeader() {
  for (auto& [id, read] : blocked_) {
    if (!read->waiting || read->drivable) continue;
    leader_ = read.get();
    read->wakeup.Wake();
    return;
  }
}

// If an attempt is queued, wakes a thread that may run it. (A thread that may
// run it and does not wait looks for it before it waits.)
void Shell::WakeRunner() {
  if (machine_.queued() == AttemptId::kNone) return;
  for (auto& [id, read] : blocked_) {
    if (!read->waiting || !CanRun(*read)) continue;
    read->wakeup.Wake();
    return;
  }
}

// Wakes the threads whose deadline has passed.
void Shell::WakeOverdue(const Instant& now) {
  for (auto& [id, read] : blocked_) {
    if (read->waiting && now.boot >= read->request.deadline) {
      read->wakeup.Wake();
    }
  }
}

}  // namespace internal
}  // namespace refreshable
