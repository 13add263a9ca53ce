// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads and those who wait.

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "refreshable/internal/shell.h"
#include "refreshable/internal/shell_parts.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace internal {

// The delivery of an async read. Destroyed without having run: the executor
// refused or dropped it.
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

// Abseil's timed waits may follow the wall clock, which may step: no wait is
// longer than this before the since-boot clock is looked at again.
constexpr absl::Duration kLongestWait = absl::Seconds(1);

absl::Status StatusOfFailure(const ReadFailure& failure) {
  RefreshError error;
  error.cause = std::string(failure.cause.message());
  error.failures = failure.failures;
  error.next_attempt = failure.next_attempt;
  error.fatal = failure.fatal;
  // Retry loops leave this code alone, and not the cause's.
  return MakeRefreshError(failure.fatal ? absl::StatusCode::kFailedPrecondition
                                        : failure.cause.code(),
                          error);
}

}  // namespace

// ---- Reads ----

absl::Status Shell::Read(const ReadRequest& request,
                         absl::FunctionRef<void()> take) {
  for (;;) {
    Effects effects;
    absl::Status status;
    uint64_t id = 0;
    std::shared_ptr<Waiter> waiter;
    {
      ForkMutexLock lock(&mutex_);
      if (closed_) return Destroyed();
      if (forked_) ForgetParent();
      const Instant now = Now();
      if (!machine_.servable(now) && HasThisThread(in_attempt_)) {
        return absl::FailedPreconditionError(
            "a token source read its own Refreshable, which has no usable "
            "token until that very call of the source has returned");
      }
      Decisions decisions;
      const auto answer = machine_.OnRead(now, request, decisions);
      Apply(now, decisions, nullptr, effects);
      if (answer == RefreshMachine::ReadAnswer::kServe) {
        take();
      } else if (answer == RefreshMachine::ReadAnswer::kFail) {
        status = StatusOfFailure(decisions.failure);
      } else {
        waiter = std::make_shared<Waiter>();
        waiter->request = request;
        id = ++last_waiter_;
        waiters_.emplace(id, waiter);
      }
    }
    CarryOut(effects);
    if (waiter == nullptr) return status;
    status = Await(id, waiter);
    if (!status.ok()) return status;
  }
}

// Blocks until the waiter is done; OK: read again. On a thread of the executor
// the attempt that is waited for may be queued behind the caller, so the caller
// runs it itself.
absl::Status Shell::Await(uint64_t id, const std::shared_ptr<Waiter>& waiter) {
  const absl::Duration deadline = waiter->request.deadline;
  bool in_executor_thread = false;
  bool drivable = false;
  UseExecutor([&] {
    in_executor_thread = executor_->InExecutorThread();
    drivable = executor_->DriveUntil([] { return true; }, deadline);
  });
  // Also once it is settled: what wakes it may be waiting for the attempt.
  const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiter->done ||
           ((in_executor_thread || (drivable && waiter->settled)) &&
            machine_.queued() != AttemptId::kNone);
  };
  for (;;) {
    AttemptId claimed = AttemptId::kNone;
    bool woken_by_none = false;
    {
      ForkMutexLock lock(&mutex_);
      if (forked_) ForgetParent();  // By the attempt.
      if (!waiter->done && !drivable && HasThisThread(in_timer_)) {
        RemoveWaiter(id);
        return absl::FailedPreconditionError(
            "a read inside an observer or callback that a timer of the "
            "executor runs would have to wait, which holds up all timers");
      }
      while (!drivable && !ready()) {
        // While closed, the outcome has been set: the clock is not touched.
        const absl::Duration left = deadline - Now().since_boot;
        if (left <= absl::ZeroDuration()) break;
        changed_.WaitWithTimeout(&mutex_, std::min(left, kLongestWait));
        woken_by_none = timer_lost_ && !ready();
        if (woken_by_none) break;
      }
      if (waiter->done) return waiter->outcome;
      if (Now().since_boot >= deadline) {
        RemoveWaiter(id);
        return DeadlineExceeded();
      }
      if (ready()) claimed = machine_.queued();
    }
    if (claimed != AttemptId::kNone) {
      RunAttempt(claimed);
      continue;
    }
    // No timer will: see to it that the attempt ends in time.
    if (woken_by_none) {
      OnEvent([&](const Instant& now, Effects& effects)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                    WakeMachine(now, effects);
                  });
    }
    if (!drivable) continue;
    const auto done = [&] {
      ForkMutexLock lock(&mutex_);
      if (forked_) ForgetParent();  // By what was driven.
      return ready();
    };
    // This thread is the one that drives the executor, which therefore lives.
    executor_->DriveUntil(done, deadline);
    if (!done()) {
      ForkMutexLock lock(&mutex_);
      // Another thread may be about to wake it.
      while (waiter->settled && !ready()) changed_.Wait(&mutex_);
      if (!ready() && Now().since_boot < deadline) {
        RemoveWaiter(id);
        return absl::FailedPreconditionError(
            "nothing is pending that could bring a token: the executor is "
            "idle, and the read has no deadline");
      }
    }
  }
}

WaiterId Shell::ReadAsync(const ReadRequest& request,
                          std::unique_ptr<AsyncRead> read) {
  uint64_t id = 0;
  auto waiter = std::make_shared<Waiter>();
  waiter->request = request;
  waiter->async = std::move(read);
  waiter->own_call = std::this_thread::get_id();
  OnEvent([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Decisions decisions;
    const auto answer = machine_.OnRead(now, request, decisions);
    Apply(now, decisions, nullptr, effects);
    id = ++last_waiter_;
    waiters_.emplace(id, waiter);
    if (answer == RefreshMachine::ReadAnswer::kServe) {
      Settle(id, *waiter, absl::OkStatus(), effects);
    } else if (answer == RefreshMachine::ReadAnswer::kFail) {
      Settle(id, *waiter, StatusOfFailure(decisions.failure), effects);
    } else if (request.deadline < absl::InfiniteDuration()) {
      deadlines_.emplace(request.deadline, id);
    }
  });
  bool parked = false;
  {
    ForkMutexLock lock(&mutex_);
    parked = !parked_.empty();
  }
  if (parked) SyncTimer();
  ForkMutexLock lock(&mutex_);
  waiter->own_call = std::thread::id();
  return WaiterId{id};
}

absl::Status Shell::TryRead(absl::FunctionRef<void()> take) {
  ForkMutexLock lock(&mutex_);
  if (closed_) return Destroyed();
  if (forked_) ForgetParent();
  const Instant now = Now();
  if (machine_.published_servable(now)) {
    take();
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(
      "no usable token: ", FreshnessName(machine_.freshness(now)),
      machine_.refreshing() ? ", being refreshed" : ", not being refreshed"));
}

bool Shell::Cancel(WaiterId id) {
  std::shared_ptr<Waiter> waiter;  // Destroyed outside the lock.
  ForkMutexLock lock(&mutex_);
  if (forked_) ForgetParent();
  const auto it = waiters_.find(static_cast<uint64_t>(id));
  if (it == waiters_.end() || it->second->async == nullptr) return false;
  waiter = it->second;
  RemoveWaiter(it->first);
  return true;
}

void Shell::SettleWaiters(const Decisions& decisions, Effects& effects) {
  if (decisions.waiters == Decisions::Waiters::kKeep &&
      decisions.fail_deadlines_before == -absl::InfiniteDuration() &&
      decisions.fail_retries_below == 0) {
    return;
  }
  for (auto& [id, waiter] : waiters_) {
    if (waiter->settled) continue;
    const ReadRequest& request = waiter->request;
    if (decisions.waiters == Decisions::Waiters::kServe) {
      Settle(id, *waiter, absl::OkStatus(), effects);
    } else if (decisions.waiters == Decisions::Waiters::kFail ||
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
  deadlines_.erase({waiter.request.deadline, id});
  effects.wake.push_back(id);
}

void Shell::RemoveWaiter(uint64_t id) {
  const auto it = waiters_.find(id);
  if (it == waiters_.end()) return;
  deadlines_.erase({it->second->request.deadline, id});
  waiters_.erase(it);
}

void Shell::WakeWaiters(const std::vector<uint64_t>& ids) {
  std::vector<uint64_t> async;
  {
    ForkMutexLock lock(&mutex_);
    if (forked_) ForgetParent();  // By the hook.
    bool threads = false;
    for (uint64_t id : ids) {
      const auto it = waiters_.find(id);
      if (it == waiters_.end()) continue;
      if (it->second->async != nullptr) {
        async.push_back(id);
      } else {
        it->second->done = true;
        waiters_.erase(it);
        threads = true;
      }
    }
    // Not those of this very thread: it would be refused without end.
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
}

// Has a settled async read delivered by the executor.
void Shell::Dispatch(uint64_t id) {
  UseExecutor([&] { executor_->Run(DeliverTask(shared_from_this(), id)); });
}

void Shell::DeliveryLost(uint64_t id) {
  OnEvent(
      [&](const Instant&, Effects& effects) { effects.deliver.push_back(id); });
}

// Delivers in this thread, unless the read's own GetAsync is still running in
// it: then whatever happens next tries again, a timer at the latest.
void Shell::DeliverHere(uint64_t id) {
  {
    ForkMutexLock lock(&mutex_);
    const auto it = waiters_.find(id);
    if (closed_ || it == waiters_.end()) return;
    if (it->second->own_call == std::this_thread::get_id()) {
      parked_.push_back(id);
      parked_until_ = Now().since_boot + kLongestWait;
      return;
    }
  }
  Deliver(id);
}

// The token may have changed since the read was settled: it reads again.
void Shell::Deliver(uint64_t id) {
  std::shared_ptr<Waiter> waiter;
  absl::Status status;
  OnEvent([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto it = waiters_.find(id);
    if (it == waiters_.end() || !it->second->settled) return;
    waiter = it->second;
    status = waiter->outcome;
    if (status.ok()) {
      Decisions decisions;
      const auto answer = machine_.OnRead(now, waiter->request, decisions);
      Apply(now, decisions, nullptr, effects);
      if (answer == RefreshMachine::ReadAnswer::kServe) {
        waiter->async->TakeLease();
      } else if (answer == RefreshMachine::ReadAnswer::kFail) {
        status = StatusOfFailure(decisions.failure);
      } else {
        waiter->settled = false;
        if (waiter->request.deadline < absl::InfiniteDuration()) {
          deadlines_.emplace(waiter->request.deadline, id);
        }
        waiter = nullptr;
        return;
      }
    }
    RemoveWaiter(id);
  });
  if (waiter != nullptr) waiter->async->Finish(std::move(status));
}

}  // namespace internal
}  // namespace refreshable
