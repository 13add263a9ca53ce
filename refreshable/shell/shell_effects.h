// SPDX-License-Identifier: Apache-2.0
//
// What the Shell's source files share.

#ifndef REFRESHABLE_SHELL_SHELL_EFFECTS_H_
#define REFRESHABLE_SHELL_SHELL_EFFECTS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"

namespace refreshable {
namespace internal {

// The longest time that anything waits before it reads the BootTime again. The
// wait itself may not count the time while the computer is suspended.
inline constexpr absl::Duration kLongestWait = absl::Seconds(1);

// Returns whether a read may return what `hold` holds without asking the
// machine. `hold` is the result of a load from the cell, and may be empty.
inline bool Answers(const HazardHolder& hold, const ReadRequest& request) {
  return hold.node() != nullptr &&
         request.rejected < SnapshotOf(hold).same_since;
}

// Converts a moment to wall time, by the difference between the clocks at
// `now`. A moment in the past becomes `now`.
inline absl::Time ToWall(const Instant& now, BootTime t) {
  return now.wall + std::max(absl::ZeroDuration(), t - now.boot);
}

inline absl::Status Destroyed() {
  return absl::CancelledError("the Refreshable was destroyed");
}

inline absl::Status DeadlineExceeded() {
  return MakeReadTimeout(
      "the read's timeout passed while the token was being refreshed");
}

// What one input leaves to be done outside the lock. The fields are in the
// order in which CarryOut handles them.
struct Shell::Effects {
  AttemptId submit = AttemptId::kNone;
  bool timer_lost = false;  // The timer was just lost; do not retry at once.
  absl::AnyInvocable<void()> hook;
  std::vector<uint64_t> wake;
  std::vector<uint64_t> deliver;  // Reads whose callback the executor refused.
  std::vector<Garbage> garbage;
};

struct Shell::Told {
  ReadFailure failure;
  absl::Status status;
};

inline void AddThisThread(ThreadIds& threads) { threads.AddThisThread(); }

inline bool HasThisThread(const ThreadIds& threads) {
  return threads.HasThisThread();
}

inline void RemoveThisThread(ThreadIds& threads) { threads.RemoveThisThread(); }

// Holds the lock while it exists. In the child of a fork(), the first Section
// forgets what belongs to the parent's threads. Code that can run only after
// some Section of this process needs no Section and takes only the lock: later
// code of the same call, and tasks, timers and calls of the source that were
// started after the Section.
class ABSL_SCOPED_LOCKABLE Shell::Section {
 public:
  explicit Section(Shell* shell) ABSL_EXCLUSIVE_LOCK_FUNCTION(shell->mutex_)
      : lock_(&shell->mutex_) {
    if (shell->TakeForked()) shell->ForgetParent();
  }
  ~Section() ABSL_UNLOCK_FUNCTION() {}

 private:
  ForkMutexLock lock_;
};

// Handles one input: calls `handle` under the lock, with the present moment and
// the effects to fill. Returns false if the Refreshable is closed. An input may
// come inside a method of the executor, for example because the executor
// destroys a task that it refuses. Then the effects are deferred until that
// method has returned: Close waits for the method, so no user code may run
// inside it.
template <typename Handle>
bool Shell::OnInput(Handle handle) noexcept {
  Effects effects;
  {
    Section section(this);
    if (closed_) return false;
    const Instant now = Now();
    handle(now, effects);
    if (NothingToDo(now, effects)) return true;
    if (HasThisThread(in_executor_)) {
      if (deferred_ == nullptr) {
        deferred_ = std::make_unique<std::vector<Effects>>();
      }
      deferred_->push_back(std::move(effects));
      return true;
    }
  }
  CarryOut(effects);
  return true;
}

// Handles an input that only the machine has to handle: calls `decide` under
// the lock, with the machine and the present moment, and applies the decisions
// that `decide` fills in. `token` is the token that the decisions may publish;
// otherwise it is destroyed outside the lock.
template <typename Decide>
bool Shell::AskMachine(Decide decide,
                       std::shared_ptr<const void> token) noexcept {
  return OnInput([&](const Instant& now, Effects& effects)
                     ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                       Decisions decisions;
                       decide(machine_, now, decisions);
                       Apply(now, decisions, effects, &token);
                     });
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SHELL_EFFECTS_H_
