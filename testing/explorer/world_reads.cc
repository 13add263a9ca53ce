// SPDX-License-Identifier: Apache-2.0
//
// The reads of World: what they may start, and how they may end.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "refreshable/freshness.h"
#include "refreshable/refresh_error.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::BootTime;
using refreshable::Freshness;
using refreshable::Generation;
using ByRejection = Oracle::ByRejection;
using Kind = refreshable::ManualExecutor::PendingStep::Kind;

// ---- What a step may do ----

void World::ReadAsync(absl::Duration timeout, std::optional<int> max_retries,
                      Rejects rejects) {
  read_at_ = Now().boot;
  const Generation rejected = Choose(rejects);
  const ReadPlan plan = Plan(rejected);
  ReadAround(plan, [&] {
    const size_t index = readers_.size();
    readers_.emplace_back();
    Reader& reader = readers_[index];
    reader.deadline = Now().boot + timeout;
    reader.max_retries = max_retries;
    reader.usable = oracle_->Usable() && !plan.rejects;
    // If a read is served at once, the task that runs its callback looks for
    // the token again. If the token is gone by then, the read joins a refresh.
    // While a timer is late, a read may be served a token that has expired only
    // by BootTime.
    reader.may_rejoin =
        !plan.rejects && (oracle_->Usable() || Late() ||
                          policy_.max_stale_on_error > absl::ZeroDuration());
    reader.generation = oracle_->generation();
    reader.rejecting = plan.rejects;
    reader.rejected = plan.rejected;
    reader.joins = Joins(plan);
    // A8, A9: a rejecting read may fail unless it certainly joins or starts an
    // attempt. B5: any other read may fail in two cases. Either a refresh is in
    // flight, and the read's retries are spent. Or none is in flight, and the
    // read must end at once.
    reader.may_fail = plan.rejects      ? !reader.joins
                      : plan.refreshing ? Spent(reader)
                                        : plan.ends;
    Token::ReadOptions options;
    options.timeout = timeout;
    options.max_retries = max_retries;
    options.rejected = rejected;
    reader.id = token_->GetAsync(options, [this, index](LeaseOr lease) {
      OnOutcome(index, std::move(lease));
    });
    reader.calling = false;
    reader.served = !plan.rejects && oracle_->Servable();
    Joined(Retries(reader));
  });
}

void World::ReadBlocking(absl::Duration timeout, Rejects rejects) {
  read_at_ = Now().boot;
  const Generation rejected = Choose(rejects);
  const ReadPlan plan = Plan(rejected);
  const bool usable = oracle_->Usable() && !plan.rejects;
  const BootTime deadline = Now().boot + timeout;
  std::optional<LeaseOr> lease;
  ReadAround(plan, [&] {
    if (timeout > absl::ZeroDuration()) Joined(policy_.retry.max_retries);
    Token::ReadOptions options;
    options.timeout = timeout;
    options.rejected = rejected;
    blocked_.push_back(deadline);
    lease = token_->Get(options);
    blocked_.pop_back();
  });
  Expect(!usable || lease->ok(), "B4: a read of a usable token failed");
  CheckOutcome(*lease, deadline, Late());
  CheckRejected(*lease, plan.rejected);
  if (!lease->ok()) Joined(policy_.retry.max_retries);
}

void World::ReportRejected() {
  oracle_->BeforeRead();
  const Generation last = oracle_->generation();
  // If a task was refused or a timer is late, this report handles what is
  // overdue (R11, E2), and so may start a refresh.
  const bool may_start = token_->health().refreshing || lost_task_ || Late();
  token_->ReportRejected(last);
  Expect(last.value() == 0 || oracle_->noted(),
         "A12: a rejection was not noted");
  Expect(may_start || !token_->health().refreshing,
         "A12: a report started a refresh");
}

// ---- What a read may start ----

Generation World::Choose(Rejects rejects) const {
  const uint64_t last = oracle_->generation().value();
  switch (rejects) {
    case Rejects::kNone:
      break;
    case Rejects::kLast:
      return Generation(last);
    case Rejects::kOld:
      return Generation(last == 0 ? 0 : last - 1);
    case Rejects::kNext:
      return Generation(last + 1);
  }
  return Generation();
}

// A read may look only at the wall clock, and leave BootTime to the timers. So
// while a timer is late, a read may overlook what is due by BootTime. While a
// timer may be late, `ReadPlan::steady` is false.
World::ReadPlan World::Plan(Generation rejected) const {
  oracle_->BeforeRead();
  ReadPlan plan;
  if (rejected <= oracle_->generation()) plan.rejected = rejected;
  plan.steady = takes_tasks_ && takes_timers_ && !Late();
  plan.refreshing = token_->health().refreshing;
  plan.rejects = oracle_->Rejects(rejected);
  const bool wanted =
      oracle_->Fresh() == Freshness::kExpired ||
      (oracle_->Fresh() == Freshness::kStale && policy_.background_refresh);
  plan.ends = !plan.refreshing && !oracle_->Servable() &&
              (oracle_->failures() > 0 || oracle_->AskedToWait()) &&
              !oracle_->Permitted();
  plan.ahead = policy_.refresh_ahead && oracle_->Fresh() != Freshness::kFresh &&
               oracle_->Permitted();
  plan.starts = plan.rejects ? oracle_->RejectionPermitted()
                             : wanted && oracle_->Permitted();
  return plan;
}

// A8, A9: returns whether a rejecting read certainly joins or starts an
// attempt. Between two attempts of a refresh, it does neither.
bool World::Joins(const ReadPlan& plan) const {
  if (!plan.rejects || !plan.steady) return false;
  if (!plan.refreshing) return plan.starts.value_or(false);
  return queued_ > 0 ||
         std::any_of(held_.begin(), held_.end(),
                     [this](const Call& call) { return Live(call); });
}

// Checks whether a read has started a refresh. It must have done so if it
// needed one and had permission (R2, R3, A9). It must not have done so if it
// had to end at once (B5), or was a rejecting read without permission (A9).
void World::CheckPlan(const ReadPlan& plan) {
  if (destroyed()) return;
  if (plan.rejects) {
    Expect(oracle_->noted(), "A13: a rejection was not noted");
    if (queued_ > 0) Tell(plan.steady ? Told::kYes : Told::kUnclear);
  }
  if (!plan.steady || plan.refreshing || !plan.starts.has_value()) return;
  const bool started = token_->health().refreshing;
  if (*plan.starts && !started) {
    oracle_->Fail(plan.rejects
                      ? "A9: a rejecting read that may start an attempt did not"
                      : "R2, R3: a read that may start a refresh did not");
  }
  if (plan.ends && started) {
    oracle_->Fail("B5: a read waits between two refreshes");
  }
  if (plan.rejects && !*plan.starts && started) {
    oracle_->Fail("A9: a rejecting read started an attempt too early");
  }
}

void World::ReadAround(const ReadPlan& plan, absl::FunctionRef<void()> read) {
  plan_ = plan;
  plan_checked_ = false;
  read();
  if (plan_.has_value() && !std::exchange(plan_checked_, true)) CheckPlan(plan);
  plan_.reset();
}

void World::Joined(int max_retries) {
  if (!oracle_->Servable() || (plan_.has_value() && plan_->rejects)) {
    joined_.insert({max_retries, {step_, -1}});
  }
}

// Returns whether a waiting read has rejected a token that is still served to
// other reads.
bool World::AnyRejecting() const {
  return std::any_of(
      readers_.begin(), readers_.end(), [this](const Reader& reader) {
        return Waits(reader) && oracle_->Rejects(reader.rejected);
      });
}

void World::Tell(Told told) {
  if (told == Told::kNo) return;
  flight_told_ = true;
  if (told_ != Told::kYes) told_ = told;
}

// Records that the Refreshable gives an attempt to the executor, and whether a
// rejecting read started the attempt. A task that runs a rejecting read's
// callback looks for a token again (A8), and may then submit an attempt. If a
// task submits this attempt, RunOrLose decides afterwards whether the task ran
// such a callback.
void World::OnSubmit() {
  ++queued_;
  told_ = flight_told_ ? Told::kUnclear : Told::kNo;
  ByRejection by = ByRejection::kNo;
  if (plan_.has_value()) {
    if ((!plan_->steady || plan_->ahead) && oracle_->Covers(plan_->rejected)) {
      by = ByRejection::kUnclear;
    } else if (oracle_->Rejects(plan_->rejected)) {
      by = ByRejection::kYes;
    }
  } else if (in_task_) {
    task_submitted_ = true;
  }
  if (by == ByRejection::kNo && lost_task_ && AnyRejecting()) {
    by = ByRejection::kUnclear;
  }
  oracle_->OnSubmit(by);
  Tell(by == ByRejection::kYes       ? Told::kYes
       : by == ByRejection::kUnclear ? Told::kUnclear
                                     : Told::kNo);
}

// A read joins the refresh if a step is to run its callback, but there is no
// token for the read. Records the reads to which this may happen in `step`. A
// timer runs a callback only if the executor has refused the callback's task.
void World::NoteCallback(const refreshable::ManualExecutor::PendingStep& step) {
  if (step.kind == Kind::kTimer && !lost_task_) return;
  const Origin origin =
      step.kind == Kind::kTimer ? Origin{step_, -1} : origins_[step.id];
  for (const Reader& reader : readers_) {
    if (!Waits(reader) || !(reader.may_rejoin || reader.rejecting)) continue;
    if (oracle_->Servable() && !oracle_->Rejects(reader.rejected)) continue;
    joined_.insert({Retries(reader), origin});
  }
}

void World::RunOrLose(size_t index, bool lose) {
  const auto step = executor_.PendingSteps()[index];
  const int visible = visible_;
  const bool late = Late();
  const bool rejecting = AnyRejecting();
  if (lost_task_) NoteCallback(step);
  // OnSubmit sets `task_submitted_` for tasks but not for timers, because no
  // timer starts an attempt for a rejecting read (A9). There is one exception:
  // a timer may run a callback whose task the executor refused. OnSubmit deals
  // with this exception (`lost_task_`).
  in_task_ = step.kind == Kind::kRun;
  task_submitted_ = false;
  if (lose) {
    executor_.DropPending(index);
  } else {
    executor_.RunPending(index);
  }
  in_task_ = false;
  if (visible == visible_) NoteCallback(step);
  if (!rejecting) return;
  // A task that submits an attempt, but neither calls the source nor ends a
  // read, was to run the callback of a rejecting read. The read looked for a
  // token again, and now waits. If `clear` is false, any task that submits an
  // attempt may be such a task.
  const bool clear = !late && !lost_task_ && !policy_.refresh_ahead;
  if (std::exchange(task_submitted_, false) &&
      (visible == visible_ || !clear)) {
    oracle_->OnSubmit(clear ? ByRejection::kYes : ByRejection::kUnclear);
    Tell(clear ? Told::kYes : Told::kUnclear);
  } else if (visible == visible_ && queued_ > 0) {
    Tell(Told::kUnclear);
  }
}

bool World::Drive(absl::FunctionRef<bool()> done, BootTime deadline) {
  if (plan_.has_value() && !std::exchange(plan_checked_, true))
    CheckPlan(*plan_);
  if (Now().boot >= deadline) return true;
  // Other steps happen while the read waits, so the plan no longer holds. The
  // read may look for a token again after the wait, so a new plan is made
  // below.
  const std::optional<ReadPlan> plan = std::exchange(plan_, std::nullopt);
  while (!done() && Now().boot <= deadline) {
    if (driver_ != nullptr && !at_end_) {
      if (!driver_()) break;
    } else if (!RunFirst(deadline)) {
      if (deadline < BootTime::InfiniteFuture()) {
        Pass(deadline - Now().boot);
      }
      break;
    }
  }
  if (!destroyed() && plan.has_value()) {
    plan_ = Plan(plan->rejected);
    plan_checked_ = true;
    if (plan_->rejects && queued_ > 0) Tell(Told::kUnclear);
  }
  return true;
}

// ---- How a read may end ----

void World::OnOutcome(size_t reader, LeaseOr lease) {
  Reader& r = readers_[reader];
  ++visible_;
  Expect(++r.ended == 1, "B5: a read ended twice");
  Expect(!r.cancelled, "R8: a cancelled read was called back");
  Expect(!r.calling, "R11: a callback ran inside its GetAsync");
  Expect(alive_ != nullptr, "E1: a callback ran after the destructor");
  Expect(lease.ok() || destroyed() || lost_timer_ || !r.usable ||
             !oracle_->Usable() || r.generation != oracle_->generation(),
         "B4: a read of a usable token failed");
  const auto error = refreshable::GetRefreshError(lease.status());
  Expect(!error.has_value() || r.may_fail || r.may_rejoin || lost_task_ ||
             lost_timer_ || r.deadline < BootTime::InfiniteFuture() ||
             (error->rejected && !r.joins),
         "B1, B5: a read failed before its retries were spent");
  Expect(!error.has_value() || error->rejected || !r.rejecting || r.may_fail ||
             !oracle_->Rejects(r.rejected) || lost_task_ || lost_timer_,
         "A8: a rejecting read failed with an attempt that did not know");
  Expect(!error.has_value() || !r.joins || lost_task_ || lost_timer_,
         "A8, A9: a rejecting read failed that has joined an attempt");
  CheckOutcome(lease, r.deadline, /*late=*/false);
  CheckRejected(lease, r.rejected);
  BackIn();
}

void World::CheckOutcome(const LeaseOr& lease, BootTime deadline, bool late) {
  if (lease.ok()) return oracle_->OnLease(*lease, late);
  const absl::Status& status = lease.status();
  const auto error = refreshable::GetRefreshError(status);
  if (error.has_value()) {
    Expect(error->fatal == refreshable::IsFatal(status),
           "B7: an error is fatal, and is not");
    Expect(!error->cause.empty(), "B5: an error without a cause");
  } else if (absl::IsDeadlineExceeded(status)) {
    Expect(Now().boot >= deadline, "R7: DEADLINE_EXCEEDED before the deadline");
  } else if (absl::IsCancelled(status)) {
    Expect(destroyed(), "E1: CANCELLED, and not destroyed");
  } else {
    Expect(lost_timer_,
           absl::StrCat("B5: a read ended with ", status.ToString()));
  }
}

// `rejected` is the published generation that the read rejected, or 0.
void World::CheckRejected(const LeaseOr& lease, Generation rejected) {
  if (lease.ok()) {
    Expect(rejected.value() == 0 || lease->generation() > rejected,
           "A7: a read was served what it rejected");
    Expect(!oracle_->Covers(rejected),
           "A11: a read was served the bytes that it rejected");
    return;
  }
  const auto error = refreshable::GetRefreshError(lease.status());
  Expect(!error.has_value() || !error->rejected || rejected.value() > 0,
         "A9: a read that rejected nothing was told that it did");
}

}  // namespace schedule
}  // namespace refreshable_testing
