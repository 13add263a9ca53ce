// SPDX-License-Identifier: Apache-2.0
//
// What the Shell's source files share.

#ifndef REFRESHABLE_SHELL_SHELL_EFFECTS_H_
#define REFRESHABLE_SHELL_SHELL_EFFECTS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/thread_ids.h"
#include "refreshable/shell/waiters.h"

namespace refreshable {
namespace internal {

// The longest sleep of the leader, and of a thread that drives the executor.
// On many systems a sleep does not count the time while the computer is
// suspended, but BootTime does. So these threads read BootTime after each such
// sleep. The timer for parked reads (see `Active`) has the same delay.
inline constexpr absl::Duration kLongestWait = absl::Seconds(1);

// Returns whether the token in `hold`, which was loaded from the cell, answers
// `request`. `hold` may be empty.
inline bool Answers(const HazardHolder& hold, const ReadRequest& request) {
  return hold.node() != nullptr &&
         request.rejected < SnapshotOf(hold).same_since();
}

// Converts `t` to wall time, by the clocks at `now`. If `t` has passed, returns
// `now.wall`.
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

// The work outside the lock after one input. CarryOut handles the fields before
// `deferred_by`, in their order.
struct Shell::Effects {
  AttemptId submit = AttemptId::kNone;
  // Whether the input was OnTimerLost: the executor refused or dropped the
  // timer.
  bool timer_lost = false;
  absl::AnyInvocable<void()> hook;
  std::vector<uint64_t> wake;
  // Async reads whose DeliverTask the executor did not run (shell_reads.cc).
  std::vector<uint64_t> deliver;
  std::vector<Garbage> garbage;
  // If the effects were deferred: the thread that must carry them out.
  std::thread::id deferred_by;
};

struct Shell::Trouble {
  // The token that was withdrawn last; null after another token was published.
  std::unique_ptr<const Snapshot> withdrawn;
  // The numbers of `Stats`, except `attempts_started` and `tokens_published`.
  Stats stats;
  // The last failure that reads were told of, and the error that describes it.
  ReadFailure failure;
  absl::Status error;
  // `Decisions::fails_until` in ticks of the coarse boot clock. Until then, a
  // read without `ReadRequest::rejected` fails with `error`. Each call of Apply
  // resets this.
  int64_t fails_until_ticks = std::numeric_limits<int64_t>::min();
};

struct Shell::Active {
  // Returns whether nothing is recorded here. The object may then be freed.
  bool unused() const {
    return in_executor.empty() && visit.empty() && blocked.empty() &&
           async.unused() && calls.empty() && in_attempt.empty() &&
           in_timer.empty() && closer == nullptr && deferred == nullptr &&
           events == nullptr && teller == std::thread::id();
  }
  // Returns whether another thread is inside a method of the executor. If so,
  // that thread will call LeaveExecutor.
  bool AnotherInExecutor() {
    visit.RequireCall();
    return visit.IsAnotherThread() || in_executor.HasAnotherThread();
  }

  // The reads whose threads block, and the undelivered async reads. A later
  // read has a higher id.
  BlockedReads blocked;
  AsyncReads async;
  // The read of the leader, or null. The leader is the blocked thread that
  // looks at the clock every second for all blocked threads. A thread that
  // drives the executor is never the leader.
  const BlockedRead* leader = nullptr;
  // The deadlines and ids of async reads. An entry is erased by EndReads, or
  // when its read is dispatched or removed.
  std::set<std::pair<BootTime, uint64_t>> deadlines;
  // A read is *parked* if the executor refused or dropped its DeliverTask
  // inside the read's own ReadAsync. The next input, or a timer at
  // `parked_until`, gives the executor a new DeliverTask.
  std::vector<uint64_t> parked;
  BootTime parked_until;

  // The calls that the source has not answered, with their cancellation flags.
  std::map<AttemptId, std::shared_ptr<std::atomic<bool>>> calls;
  // The threads inside an attempt (see InAttempt).
  ThreadIds in_attempt;
  ThreadIds in_timer;
  // The threads inside a method of the executor. Calls in Drive and Close do
  // not count.
  ThreadIds in_executor;
  // One more thread inside a method of the executor, or none. It gives the
  // executor the DeliverTask of a read that was served at once.
  Visit visit;
  // Wakes Close, which waits until no other thread is inside the executor. Null
  // while Close does not wait.
  Wakeup* closer = nullptr;
  // Deferred effects (see OnInput), or null. Each thread carries out its own
  // effects when it has left the executor.
  std::unique_ptr<std::vector<Effects>> deferred;
  // Events that the observer has not received yet, or null. One thread at a
  // time, `teller`, sends them in order. `teller` is the default value if no
  // thread sends.
  std::unique_ptr<std::deque<Event>> events;
  std::thread::id teller;
};

inline void AddThisThread(ThreadIds& threads) { threads.AddThisThread(); }

inline bool HasThisThread(const ThreadIds& threads) {
  return threads.HasThisThread();
}

inline void RemoveThisThread(ThreadIds& threads) { threads.RemoveThisThread(); }

// Holds the lock. The first Section in the child of a fork() calls
// ForgetParent. Code that is correct without that call may use a ForkMutexLock
// instead.
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

// Handles one input: calls `handle` under the lock, and then carries out the
// effects outside the lock. If the Refreshable is closed, does nothing and
// returns false.
//
// An input may come inside a method of the executor, for example from the
// destructor of a refused task. The effects are then deferred (see
// LeaveExecutor). Close waits for that method, but must not wait for user code
// in the effects.
template <typename Handle>
bool Shell::OnInput(Handle handle) noexcept {
  Effects effects;
  {
    Section section(this);
    if (closed_) return false;
    const Instant now = Now();
    handle(now, effects);
    if (NothingToDo(now, effects)) return true;
    if (InExecutor()) {
      auto& deferred = active().deferred;
      if (deferred == nullptr) {
        deferred = std::make_unique<std::vector<Effects>>();
      }
      effects.deferred_by = std::this_thread::get_id();
      deferred->push_back(std::move(effects));
      active_->visit.RequireCall();
      return true;
    }
  }
  CarryOut(effects);
  return true;
}

// Handles an input that only the machine has to handle: calls `decide` under
// the lock, and applies the decisions. These may publish `token`; otherwise
// `token` is destroyed outside the lock. If the Refreshable is closed, does
// nothing and returns false.
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
