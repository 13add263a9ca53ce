// SPDX-License-Identifier: Apache-2.0
//
// The Shell's reads.
//
// A read is *settled* if it no longer waits for the refresh. Its
// `PendingRead::outcome` is then set. A settled async read is *dispatched*: the
// executor is given a DeliverTask. That task *delivers* the read to the user's
// callback, or makes the read wait again.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {

// A task that delivers an async read. It is so small that an Executor::Task
// contains it without an allocation.
class Shell::DeliverTask {
 public:
  DeliverTask(RefPtr<Shell> shell, std::shared_ptr<AsyncRead> read)
      : read_(std::move(read)) {
    read_->shell_ = std::move(shell);
  }
  DeliverTask(DeliverTask&&) noexcept = default;
  ~DeliverTask() {
    if (read_ == nullptr) return;
    const RefPtr<Shell> shell = std::move(read_->shell_);
    shell->DeliveryLost(*read_);
  }
  void operator()() && {
    const std::shared_ptr<AsyncRead> read = std::move(read_);
    const RefPtr<Shell> shell = std::move(read->shell_);
    shell->Deliver(*read);
  }

 private:
  std::shared_ptr<AsyncRead> read_;
};

namespace {

absl::Status MakeStatus(const ReadFailure& failure) {
  RefreshError error;
  error.cause = std::string(failure.cause.message());
  error.failures = failure.failures;
  error.next_attempt = failure.next_attempt;
  error.fatal = failure.fatal;
  error.rejected = failure.rejected;
  // If a fatal failure had the code of its cause, the caller's retry loop might
  // go on.
  return MakeRefreshError(failure.fatal ? absl::StatusCode::kFailedPrecondition
                                        : failure.cause.code(),
                          error);
}

}  // namespace

// ---- Reads ----

// If `request` rejects a generation that has not been published yet, drops the
// rejection (A7). Otherwise the machine might later treat the token of that
// generation as rejected.
void Shell::ForgetUnpublished(ReadRequest& request) const {
  if (request.rejected > machine_.generation()) request.rejected = Generation();
}

// Returns nullopt if the read must wait.
std::optional<absl::StatusOr<HazardHolder>> Shell::OutcomeOf(
    RefreshMachine::ReadAnswer answer, const Decisions& decisions) {
  switch (answer) {
    case RefreshMachine::ReadAnswer::kServe:
      return cell_.Take();
    case RefreshMachine::ReadAnswer::kFail:
      return StatusOf(decisions.failure);
    case RefreshMachine::ReadAnswer::kWait:
      break;
  }
  return std::nullopt;
}

// Keeps the last error, because making an error takes much longer than copying
// it.
const absl::Status& Shell::StatusOf(const ReadFailure& failure) {
  ReadFailure& told = trouble().failure;
  absl::Status& error = trouble_->error;
  if (told.failures != failure.failures ||
      told.next_attempt != failure.next_attempt ||
      told.fatal != failure.fatal || told.rejected != failure.rejected ||
      told.cause != failure.cause || error.ok()) {
    told = failure;
    error = MakeStatus(failure);
  }
  return error;
}

WaiterId Shell::ReadAsync(const ReadRequest& request,
                          std::shared_ptr<AsyncRead> read,
                          bool served) noexcept {
  uint64_t id = 0;
  Visit* visit = nullptr;
  const auto add = [&](const ReadRequest& asked)
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                         id = ++last_waiter_;
                         read->id_ = id;
                         read->request = asked;
                         read->settled = read->dispatched_ = served;
                         read->outcome = absl::OkStatus();
                         active().async.Add(read);
                       };
  if (served) {
    Section section(this);
    if (closed_) return WaiterId::kNone;
    served = !AnyParked() && !InExecutor();
    if (served) {
      add(request);
      if (active_->visit.Enter()) {
        visit = &active_->visit;
      } else {
        AddThisThread(active_->in_executor);
      }
    }
  }
  if (served) {
    executor()->Run(DeliverTask(RefPtr<Shell>(this), std::move(read)));
    if (visit != nullptr && !visit->Leave()) return WaiterId{id};
    std::vector<Effects> deferred;
    {
      ForkMutexLock lock(&mutex_);
      deferred = LeaveExecutor();
      if (deferred.empty()) return WaiterId{id};
      SetOwnCall(id, std::this_thread::get_id());
    }
    for (Effects& effects : deferred) CarryOut(effects);
  } else {
    OnInput([&](const Instant& now, Effects& effects)
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                  Decisions decisions;
                  ReadRequest asked = request;
                  ForgetUnpublished(asked);
                  const auto answer = machine_.OnRead(now, asked, decisions);
                  Apply(now, decisions, effects);
                  add(asked);
                  SetOwnCall(id, std::this_thread::get_id());
                  if (answer == RefreshMachine::ReadAnswer::kServe) {
                    Settle(id, *read, absl::OkStatus(), effects);
                  } else if (answer == RefreshMachine::ReadAnswer::kFail) {
                    Settle(id, *read, StatusOf(decisions.failure), effects);
                  } else if (request.deadline < BootTime::InfiniteFuture()) {
                    active_->deadlines.emplace(request.deadline, id);
                  }
                });
  }
  bool parked = false;
  {
    ForkMutexLock lock(&mutex_);
    parked = AnyParked();
  }
  if (parked) SyncTimer(/*retry=*/true);
  ForkMutexLock lock(&mutex_);
  SetOwnCall(id, std::thread::id());
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
  std::shared_ptr<AsyncRead> read;
  {
    Section section(this);
    read = Remove(static_cast<uint64_t>(id));
  }
  if (read == nullptr) return false;
  // Destroys the user's callback now, because a task may own the read for
  // longer.
  read->Discard();
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
      !decisions.rejecting_waiters.has_value() &&
      decisions.fail_deadlines_before == BootTime::InfinitePast() &&
      decisions.fail_retries_below == 0) {
    return;
  }
  if (active_ == nullptr) return;
  const int default_retries = machine_.policy().retry.max_retries;
  std::vector<std::pair<uint64_t, PendingRead*>> waiters;
  waiters.reserve(active_->blocked.size() + active_->async.size());
  for (auto& [id, read] : active_->blocked) {
    waiters.emplace_back(id, read.get());
  }
  for (const auto& read : active_->async.All()) {
    PendingRead* const waiter = read.get();
    waiters.emplace_back(read->id_, waiter);
  }
  std::sort(waiters.begin(), waiters.end());
  for (auto& [id, waiter] : waiters) {
    if (waiter->settled) continue;
    const ReadRequest& request = waiter->request;
    const Decisions::Waiters fate =
        decisions.rejecting_waiters.has_value() && machine_.rejects(request)
            ? *decisions.rejecting_waiters
            : decisions.waiters;
    if (fate == Decisions::Waiters::kServe) {
      Settle(id, *waiter, absl::OkStatus(), effects);
    } else if (fate == Decisions::Waiters::kFail ||
               request.deadline < decisions.fail_deadlines_before ||
               request.max_retries.value_or(default_retries) <
                   decisions.fail_retries_below) {
      Settle(id, *waiter, StatusOf(decisions.failure), effects);
    }
  }
}

void Shell::Settle(uint64_t id, PendingRead& waiter, absl::Status outcome,
                   Effects& effects) {
  waiter.settled = true;
  waiter.outcome = std::move(outcome);
  effects.wake.push_back(id);
}

// Settles the async reads whose deadline is `until` or earlier. A read that is
// settled already keeps its outcome. If its deadline has passed, this thread
// dispatches it. The thread that settled it might do so too late, because it
// first runs the observer and the user's hook.
void Shell::EndReads(const Instant& now, BootTime until,
                     const absl::Status& outcome, Effects& effects) {
  if (active_ == nullptr) return;
  auto& deadlines = active_->deadlines;
  while (!deadlines.empty() && deadlines.begin()->first <= until) {
    const auto [deadline, id] = *deadlines.begin();
    deadlines.erase(deadlines.begin());
    PendingRead& waiter = *active_->async.Find(id);
    if (!waiter.settled) {
      Settle(id, waiter, outcome, effects);
    } else if (deadline <= now.boot) {
      effects.wake.push_back(id);
    }
  }
}

// Returns null if there is no such async read. Only the caller that gets the
// read may use the user's code in it. That caller must destroy the read outside
// the lock.
std::shared_ptr<AsyncRead> Shell::Remove(uint64_t id) {
  if (active_ == nullptr) return nullptr;
  std::shared_ptr<AsyncRead> read = active_->async.Take(id);
  if (read != nullptr && AnyDeadline()) {
    active_->deadlines.erase({read->request.deadline, id});
  }
  FreeInactive();
  return read;
}

std::shared_ptr<AsyncRead> Shell::FindAsync(uint64_t id) const {
  return active_ != nullptr ? active_->async.Find(id) : nullptr;
}

bool Shell::AnyParked() const {
  return active_ != nullptr && !active_->parked.empty();
}

bool Shell::InExecutor() const {
  return active_ != nullptr &&
         (active_->visit.IsThisThread() || HasThisThread(active_->in_executor));
}

bool Shell::AnyDeadline() const {
  return active_ != nullptr && !active_->deadlines.empty();
}

void Shell::SetOwnCall(uint64_t id, std::thread::id thread) {
  const std::shared_ptr<AsyncRead> read = FindAsync(id);
  if (read != nullptr) read->own_call_ = thread;
}

// Ends the blocked reads in `ids` and wakes their threads. Dispatches the
// settled async reads in `ids`, and the parked reads (see `Active::parked`).
// Returns whether a deadline was removed, for which the timer may still be
// armed.
bool Shell::WakeWaiters(const std::vector<uint64_t>& ids) {
  std::vector<std::shared_ptr<AsyncRead>> async;
  std::vector<std::shared_ptr<BlockedRead>> ended;
  bool had_deadlines = false;
  {
    ForkMutexLock lock(&mutex_);
    if (active_ == nullptr) return false;
    for (uint64_t id : ids) {
      const auto thread = active_->blocked.find(id);
      if (thread != active_->blocked.end()) {
        ended.push_back(thread->second);
        continue;
      }
      std::shared_ptr<AsyncRead> read = active_->async.Find(id);
      // The read may have been dispatched, delivered or cancelled after it was
      // settled. It may also have begun to wait again.
      if (read == nullptr || !read->settled || read->dispatched_) continue;
      read->dispatched_ = true;
      had_deadlines |=
          active_->deadlines.erase({read->request.deadline, id}) > 0;
      async.push_back(std::move(read));
    }
    // Reads whose ReadAsync is running on this thread stay parked. Otherwise
    // the executor might refuse them, DeliverHere would park them again, and so
    // on without end.
    auto& parked = active_->parked;
    const auto others =
        std::partition(parked.begin(), parked.end(),
                       [&](uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                         const std::shared_ptr<AsyncRead> read = FindAsync(id);
                         return read != nullptr &&
                                read->own_call_ == std::this_thread::get_id();
                       });
    for (auto id = others; id != parked.end(); ++id) {
      std::shared_ptr<AsyncRead> read = FindAsync(*id);
      if (read != nullptr) async.push_back(std::move(read));
    }
    parked.erase(others, parked.end());
    End(ended);  // May free `active_`.
  }
  for (auto& read : ended) read->wakeup.Wake();
  for (auto& read : async) Dispatch(std::move(read));
  return had_deadlines;
}

void Shell::Dispatch(std::shared_ptr<AsyncRead> read) {
  UseExecutor([&] {
    executor()->Run(DeliverTask(RefPtr<Shell>(this), std::move(read)));
  });
}

void Shell::DeliveryLost(const AsyncRead& read) {
  OnInput([&](const Instant&, Effects& effects) {
    effects.deliver.push_back(read.id_);
  });
}

// Delivers a read whose DeliverTask the executor has refused or dropped. If the
// read's own ReadAsync is running on this thread, parks the read instead.
void Shell::DeliverHere(uint64_t id) {
  std::shared_ptr<AsyncRead> read;
  {
    ForkMutexLock lock(&mutex_);
    read = FindAsync(id);
    if (closed_ || read == nullptr) return;
    if (read->own_call_ == std::this_thread::get_id()) {
      active_->parked.push_back(id);
      active_->parked_until = Now().boot + kLongestWait;
      return;
    }
  }
  Deliver(*read);
}

// Delivers the outcome of a settled read. If the outcome is OK, loads the token
// only now, because the token may have changed. If the machine must be asked,
// the read may also fail or wait again.
void Shell::Deliver(AsyncRead& read) {
  std::optional<absl::StatusOr<HazardHolder>> result;
  std::shared_ptr<AsyncRead> removed;
  if (read.outcome.ok()) {
    HazardHolder hold = cell_.LoadBySystemClock();
    if (Answers(hold, read.request)) {
      {
        ForkMutexLock lock(&mutex_);
        removed = Remove(read.id_);
      }
      if (removed != nullptr) read.Deliver(std::move(hold));
      return;
    }
  }
  OnInput([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (FindAsync(read.id_) == nullptr) return;
    if (!read.outcome.ok()) {
      result = read.outcome;
    } else if (CheckAt(now) > absl::InfinitePast() &&
               !machine_.rejects(read.request)) {
      result = cell_.Take();  // The machine need not be asked.
    } else {
      Decisions decisions;
      const auto answer = machine_.OnRead(now, read.request, decisions);
      Apply(now, decisions, effects);
      result = OutcomeOf(answer, decisions);
      if (!result.has_value()) {
        read.settled = read.dispatched_ = false;
        if (read.request.deadline < BootTime::InfiniteFuture()) {
          active_->deadlines.emplace(read.request.deadline, read.id_);
        }
        return;
      }
    }
    if (NothingToDo(now, effects)) removed = Remove(read.id_);
  });
  if (!result.has_value()) return;
  if (removed == nullptr) {
    // The effects may have run user code that destroyed the Refreshable or
    // cancelled the read. Then Remove returns null.
    ForkMutexLock lock(&mutex_);
    removed = Remove(read.id_);
  }
  if (removed != nullptr) read.Deliver(*std::move(result));
}

}  // namespace internal
}  // namespace refreshable
