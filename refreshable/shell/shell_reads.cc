// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads and its waiters.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {

// A task that delivers an async read. If it is destroyed without having run,
// the executor has refused or dropped it.
class Shell::DeliverTask {
 public:
  DeliverTask(std::shared_ptr<Shell> shell, uint64_t id)
      : shell_(std::move(shell)), id_(id) {}
  DeliverTask(DeliverTask&&) noexcept = default;
  ~DeliverTask() {
    if (shell_ != nullptr) shell_->DeliveryLost(id_);
  }
  void operator()() && { std::exchange(shell_, nullptr)->Deliver(id_); }

 private:
  std::shared_ptr<Shell> shell_;
  uint64_t id_;
};

namespace {

// The longest time that a thread waits before it reads the BootTime again,
// because its wait may not count the time while the machine is suspended.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

absl::Status StatusOfFailure(const ReadFailure& failure) {
  RefreshError error;
  error.cause = std::string(failure.cause.message());
  error.failures = failure.failures;
  error.next_attempt = failure.next_attempt;
  error.fatal = failure.fatal;
  error.rejected = failure.rejected;
  // If the failure is fatal, its code must be one that retry loops do not
  // retry, which the cause's code may not be.
  return MakeRefreshError(failure.fatal ? absl::StatusCode::kFailedPrecondition
                                        : failure.cause.code(),
                          error);
}

}  // namespace

// ---- Reads ----

// A read that waits.
struct Shell::Wait {
  uint64_t id = 0;
  std::shared_ptr<Waiter> waiter;
  bool in_executor_thread = false;
  bool drivable = false;  // This thread drives the executor.
};

absl::StatusOr<HazardHolder> Shell::Read(const ReadRequest& request) {
  ReadRequest asked = request;
  for (;;) {
    Wait wait;
    std::optional<absl::StatusOr<HazardHolder>> outcome = Ask(asked, wait);
    if (outcome.has_value()) return *std::move(outcome);
    absl::Status status = Await(wait);
    if (!status.ok()) return status;
  }
}

// Answers the read, or makes it one of the waiters and returns nullopt.
std::optional<absl::StatusOr<HazardHolder>> Shell::Ask(ReadRequest& request,
                                                       Wait& wait) noexcept {
  Effects effects;
  std::optional<absl::StatusOr<HazardHolder>> outcome;
  {
    Section section(this);
    if (closed_) return Destroyed();
    const Instant now = Now();
    ForgetUnpublished(request);
    if (!machine_.serves(now, request) && HasThisThread(in_attempt_)) {
      return absl::FailedPreconditionError(
          "a token source read its own Refreshable, which has no usable "
          "token until that very call of the source has returned");
    }
    Decisions decisions;
    const auto answer = machine_.OnRead(now, request, decisions);
    Apply(now, decisions, effects);
    if (answer == RefreshMachine::ReadAnswer::kServe) {
      outcome = cell_.Take();
    } else if (answer == RefreshMachine::ReadAnswer::kFail) {
      outcome = StatusOfFailure(decisions.failure);
    } else {
      wait.waiter = std::make_shared<Waiter>();
      wait.waiter->request = request;
      wait.id = ++last_waiter_;
      waiters_.emplace(wait.id, wait.waiter);
    }
  }
  CarryOut(effects);
  if (outcome.has_value()) return outcome;
  // On a thread of the executor the attempt that is waited for may be queued
  // behind the caller, so the caller runs it itself.
  UseExecutor([&] {
    wait.in_executor_thread = executor()->InExecutorThread();
    wait.drivable =
        executor()->DriveUntil([] { return true; }, request.deadline);
  });
  return std::nullopt;
}

// If the read rejects a generation that has not been published yet, makes it an
// ordinary read. The machine may be asked for this read more than once, and
// must not take that generation for rejected later, when it has been published.
void Shell::ForgetUnpublished(ReadRequest& request) const {
  if (request.rejected > machine_.generation()) request.rejected = Generation();
}

// Blocks until the waiter is done. If the result is OK, the caller reads again.
absl::Status Shell::Await(const Wait& wait) {
  for (;;) {
    std::optional<absl::Status> outcome = Block(wait);
    if (outcome.has_value()) return *std::move(outcome);
    if (!wait.drivable) continue;
    Drive(wait);
    outcome = AfterDriving(wait);
    if (outcome.has_value()) return *std::move(outcome);
  }
}

// Drives the executor until something can be done. If a task throws, the read
// ends with the exception.
void Shell::Drive(const Wait& wait) {
  // Removes the waiter if an exception leaves this function.
  struct Leave {
    Shell* shell;
    const Wait& wait;
    bool returned = false;
    ~Leave() {
      if (returned) return;
      ForkMutexLock lock(&shell->mutex_);
      shell->RemoveWaiter(wait.id);
    }
  } leave{this, wait};
  // This thread is the one that drives the executor, which therefore lives.
  executor()->DriveUntil(
      [&] {
        ForkMutexLock lock(&mutex_);
        return Ready(wait);
      },
      wait.waiter->request.deadline);
  leave.returned = true;
}

// Whether the waiter is done, or its thread can run the attempt. The thread may
// do so even after the waiter is settled, because the hook that runs before the
// wake-up may itself wait for this attempt.
bool Shell::Ready(const Wait& wait) const {
  return wait.waiter->done || ((wait.in_executor_thread ||
                                (wait.drivable && wait.waiter->settled)) &&
                               machine_.queued() != AttemptId::kNone);
}

// Waits until something can be done, and does it. If this thread drives the
// executor, does not wait. Returns the outcome of the wait; nullopt if the wait
// has not ended.
std::optional<absl::Status> Shell::Block(const Wait& wait) noexcept {
  const BootTime deadline = wait.waiter->request.deadline;
  for (;;) {
    AttemptId claimed = AttemptId::kNone;
    bool woken_by_none = false;
    {
      ForkMutexLock lock(&mutex_);
      if (!wait.waiter->done && !wait.drivable && HasThisThread(in_timer_)) {
        RemoveWaiter(wait.id);
        return absl::FailedPreconditionError(
            "a read inside an observer or callback that a timer of the "
            "executor runs would have to wait, which holds up all timers");
      }
      while (!wait.drivable && !Ready(wait)) {
        // After Close every waiter is ready, so the clock is not read then.
        const absl::Duration left = deadline - Now().boot;
        if (left <= absl::ZeroDuration()) break;
        changed_.WaitWithTimeout(&mutex_, std::min(left, kLongestWait));
        woken_by_none = timer_lost_ && !Ready(wait);
        if (woken_by_none) break;
      }
      if (wait.waiter->done) return wait.waiter->outcome;
      if (Now().boot >= deadline) {
        RemoveWaiter(wait.id);
        // If the waiter is settled, the refresh has ended and a slow hook still
        // runs.
        return wait.waiter->settled ? wait.waiter->outcome : DeadlineExceeded();
      }
      if (Ready(wait)) claimed = machine_.queued();
    }
    if (claimed != AttemptId::kNone) {
      RunAttempt(claimed);
      continue;
    }
    // There is no timer, so this thread ends an attempt that takes too long.
    if (woken_by_none) {
      OnInput([&](const Instant& now, Effects& effects)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                    WakeMachine(now, effects);
                  });
    }
    return std::nullopt;
  }
}

// Returns an error if the executor has nothing more to run that could help;
// otherwise nullopt.
std::optional<absl::Status> Shell::AfterDriving(const Wait& wait) noexcept {
  ForkMutexLock lock(&mutex_);
  if (Ready(wait)) return std::nullopt;
  const BootTime deadline = wait.waiter->request.deadline;
  // Another thread may be about to wake the waiter.
  while (wait.waiter->settled && !Ready(wait) && Now().boot < deadline) {
    changed_.WaitWithTimeout(&mutex_, kLongestWait);
  }
  if (Ready(wait) || Now().boot >= deadline) {
    return std::nullopt;
  }
  RemoveWaiter(wait.id);
  return absl::FailedPreconditionError(
      "nothing is pending that could bring a token: the executor is "
      "idle, and the read has no deadline");
}

WaiterId Shell::ReadAsync(const ReadRequest& request, AsyncRead read) noexcept {
  uint64_t id = 0;
  auto waiter = std::make_shared<Waiter>();
  waiter->request = request;
  waiter->async = std::move(read);
  waiter->own_call = std::this_thread::get_id();
  OnInput([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Decisions decisions;
    ForgetUnpublished(waiter->request);
    const auto answer = machine_.OnRead(now, waiter->request, decisions);
    Apply(now, decisions, effects);
    id = ++last_waiter_;
    waiters_.emplace(id, waiter);
    if (answer == RefreshMachine::ReadAnswer::kServe) {
      Settle(id, *waiter, absl::OkStatus(), effects);
    } else if (answer == RefreshMachine::ReadAnswer::kFail) {
      Settle(id, *waiter, StatusOfFailure(decisions.failure), effects);
    } else if (request.deadline < BootTime::InfiniteFuture()) {
      deadlines_.emplace(request.deadline, id);
    }
  });
  bool parked = false;
  {
    ForkMutexLock lock(&mutex_);
    parked = !parked_.empty();
  }
  if (parked) SyncTimer(/*retry=*/true);
  ForkMutexLock lock(&mutex_);
  waiter->own_call = std::thread::id();
  return WaiterId{id};
}

absl::StatusOr<HazardHolder> Shell::TryRead() noexcept {
  Section section(this);
  if (closed_) return Destroyed();
  const Instant now = Now();
  if (machine_.published_servable(now)) return cell_.Take();
  return absl::UnavailableError(absl::StrCat(
      "no usable token: ", FreshnessName(machine_.freshness(now)),
      machine_.refreshing() ? ", being refreshed" : ", not being refreshed"));
}

bool Shell::Cancel(WaiterId id) noexcept {
  std::shared_ptr<Waiter> waiter;  // Destroyed outside the lock.
  Section section(this);
  const auto it = waiters_.find(static_cast<uint64_t>(id));
  if (it == waiters_.end() || it->second->async == nullptr) return false;
  waiter = it->second;
  RemoveWaiter(it->first);
  return true;
}

void Shell::ReportRejected(Generation generation) noexcept {
  AskMachine([&](RefreshMachine& machine, const Instant& now, Decisions& out) {
    machine.OnReportRejected(now, generation, out);
  });
}

std::optional<Instant> Shell::NowUnlessClosed() const noexcept {
  ForkMutexLock lock(&mutex_);
  if (closed_) return std::nullopt;
  return Now();
}

void Shell::SettleWaiters(const Decisions& decisions, Effects& effects) {
  if (decisions.waiters == Decisions::Waiters::kKeep &&
      !decisions.rejected_waiters.has_value() &&
      decisions.fail_deadlines_before == BootTime::InfinitePast() &&
      decisions.fail_retries_below == 0) {
    return;
  }
  for (auto& [id, waiter] : waiters_) {
    if (waiter->settled) continue;
    const ReadRequest& request = waiter->request;
    const Decisions::Waiters fate =
        decisions.rejected_waiters.has_value() && machine_.rejects(request)
            ? *decisions.rejected_waiters
            : decisions.waiters;
    if (fate == Decisions::Waiters::kServe) {
      Settle(id, *waiter, absl::OkStatus(), effects);
    } else if (fate == Decisions::Waiters::kFail ||
               request.deadline < decisions.fail_deadlines_before ||
               request.max_retries.value_or(default_retries_) <
                   decisions.fail_retries_below) {
      Settle(id, *waiter, StatusOfFailure(decisions.failure), effects);
    }
  }
}

void Shell::Settle(uint64_t id, Waiter& waiter, absl::Status outcome,
                   Effects& effects) {
  waiter.settled = true;
  waiter.outcome = std::move(outcome);
  effects.wake.push_back(id);
}

// Ends async reads whose deadline is `until` or earlier, with `outcome`. A read
// that is settled already waits only for a slow hook or observer: if its
// deadline has passed, it now gets the outcome with which it was settled.
void Shell::EndReads(const Instant& now, BootTime until,
                     const absl::Status& outcome, Effects& effects) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= until) {
    const auto [deadline, id] = *deadlines_.begin();
    deadlines_.erase(deadlines_.begin());
    Waiter& waiter = *waiters_.find(id)->second;
    if (!waiter.settled) {
      Settle(id, waiter, outcome, effects);
    } else if (deadline <= now.boot) {
      effects.wake.push_back(id);
    }
  }
}

void Shell::RemoveWaiter(uint64_t id) {
  const auto it = waiters_.find(id);
  if (it == waiters_.end()) return;
  deadlines_.erase({it->second->request.deadline, id});
  waiters_.erase(it);
}

// Wakes the settled waiters among `ids`, and the parked ones. Returns true if
// the timer may now be armed for a deadline that no longer matters.
bool Shell::WakeWaiters(const std::vector<uint64_t>& ids) {
  std::vector<uint64_t> async;
  bool had_deadlines = false;
  {
    ForkMutexLock lock(&mutex_);
    bool threads = false;
    for (uint64_t id : ids) {
      const auto it = waiters_.find(id);
      if (it == waiters_.end()) continue;
      if (it->second->async != nullptr) {
        // The read may have been delivered, and wait again, since it was
        // settled.
        if (!it->second->settled || it->second->dispatched) continue;
        it->second->dispatched = true;
        had_deadlines |=
            deadlines_.erase({it->second->request.deadline, id}) > 0;
        async.push_back(id);
      } else {
        it->second->done = true;
        waiters_.erase(it);
        threads = true;
      }
    }
    // Skip reads whose GetAsync is still running on this thread: delivering
    // them here would be refused again, forever.
    const auto others = std::partition(
        parked_.begin(), parked_.end(),
        [&](uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          const auto it = waiters_.find(id);
          return it != waiters_.end() &&
                 it->second->own_call == std::this_thread::get_id();
        });
    async.insert(async.end(), others, parked_.end());
    parked_.erase(others, parked_.end());
    if (threads) changed_.SignalAll();
  }
  for (uint64_t id : async) Dispatch(id);
  return had_deadlines;
}

// Gives the executor a task that delivers a settled async read.
void Shell::Dispatch(uint64_t id) {
  UseExecutor([&] { executor()->Run(DeliverTask(shared_from_this(), id)); });
}

void Shell::DeliveryLost(uint64_t id) {
  OnInput(
      [&](const Instant&, Effects& effects) { effects.deliver.push_back(id); });
}

// Delivers the read in this thread. If the read's own GetAsync is still running
// in this thread, parks the read instead: the next input tries again, or at the
// latest a timer.
void Shell::DeliverHere(uint64_t id) {
  {
    ForkMutexLock lock(&mutex_);
    const auto it = waiters_.find(id);
    if (closed_ || it == waiters_.end()) return;
    if (it->second->own_call == std::this_thread::get_id()) {
      parked_.push_back(id);
      parked_until_ = Now().boot + kLongestWait;
      return;
    }
  }
  Deliver(id);
}

// Delivers the outcome. If it was settled as OK, reads again, because the token
// may have changed since.
void Shell::Deliver(uint64_t id) {
  std::shared_ptr<Waiter> waiter;
  absl::StatusOr<HazardHolder> result;
  OnInput([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto it = waiters_.find(id);
    if (it == waiters_.end() || !it->second->settled) return;
    waiter = it->second;
    if (!waiter->outcome.ok()) {
      result = waiter->outcome;
    } else {
      Decisions decisions;
      const auto answer = machine_.OnRead(now, waiter->request, decisions);
      Apply(now, decisions, effects);
      if (answer == RefreshMachine::ReadAnswer::kServe) {
        result = cell_.Take();
      } else if (answer == RefreshMachine::ReadAnswer::kFail) {
        result = StatusOfFailure(decisions.failure);
      } else {
        waiter->settled = waiter->dispatched = false;
        if (waiter->request.deadline < BootTime::InfiniteFuture()) {
          deadlines_.emplace(waiter->request.deadline, id);
        }
        waiter = nullptr;
      }
    }
  });
  if (waiter == nullptr) return;
  {
    // The observer may have destroyed the Refreshable, or cancelled the read.
    ForkMutexLock lock(&mutex_);
    if (waiters_.find(id) == waiters_.end()) return;
    RemoveWaiter(id);
  }
  waiter->async(std::move(result));
}

}  // namespace internal
}  // namespace refreshable
