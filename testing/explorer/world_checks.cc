// SPDX-License-Identifier: Apache-2.0
//
// The checks of World between steps and at the end of a schedule.

#include <algorithm>
#include <cmath>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "refreshable/event.h"
#include "refreshable/health.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::BootTime;
using refreshable::Health;
using Kind = refreshable::ManualExecutor::PendingStep::Kind;

// ---- What the explorer does ----

bool World::cancellable(size_t index) const {
  reads_told_apart_ = true;
  return !destroyed() && index < readers_.size() && !readers_[index].cancelled;
}

int64_t World::Waiting() const {
  return std::count_if(readers_.begin(), readers_.end(), Waits);
}

World::Pending World::Queue() const {
  Pending pending;
  for (const auto& step : executor_.PendingSteps()) {
    if (step.kind == Kind::kRun) {
      ++pending.tasks;
      pending.first_task = std::min(pending.first_task, step.due);
      pending.last_task = std::max(pending.last_task, step.due);
    } else {
      pending.first_timer = std::min(pending.first_timer, step.due);
    }
  }
  return pending;
}

bool World::Late() const {
  return lost_timer_ || Queue().first_timer <= Now().boot;
}

bool World::Live(const Call& call) const { return !call.context.cancelled(); }

// Returns the number of abandoned calls that count towards the limit of F6.
int World::Unanswered() const {
  return static_cast<int>(std::count_if(
      held_.begin(), held_.end(),
      [this](const Call& call) { return !Live(call) && !call.forgotten; }));
}

bool World::MayCall() const {
  return Unanswered() < policy_.max_abandoned_calls ||
         Now().boot >=
             last_call_ + policy_.retry.probe_interval * std::exp2(beyond_);
}

// Returns all that a discarded answer must not change. `late` is `Late()`
// before the answer. Even a discarded answer gives refused callbacks to the
// executor again (R11), and does the work of a late timer (F7). If either is
// possible, health, statistics and tasks are left out.
std::string World::Visible(bool late) const {
  refreshable::Stats stats = token_->stats();
  stats.attempts_discarded = 0;
  std::ostringstream visible;
  visible << oracle_->generation();
  // Every answer tries to arm a lost timer again (E2). If the executor still
  // refuses timers, the answer itself handles what is overdue, which may change
  // health() and stats().
  if (!lost_task_ && !(late && policy_.refresh_ahead) && takes_timers_) {
    visible << token_->health() << stats << Queue().tasks;
  } else if (!late) {
    visible << ' ' << oracle_->failures();
  }
  return visible.str();
}

void World::CheckEnded() {
  for (const Reader& reader : readers_) {
    Expect(reader.ended == (reader.cancelled ? 0 : 1),
           "E1, B5: a read was left without an outcome");
  }
}

void World::CheckCalls() {
  const int live =
      std::count_if(held_.begin(), held_.end(),
                    [this](const Call& call) { return Live(call); });
  Expect(live <= (destroyed() ? 0 : 1),
         "F1, E1: a call that nobody waits for was not told so");
  for (const Call& call : held_) {
    Expect(!Live(call) || call.epoch == oracle_->epoch(),
           "A2: an attempt that was overtaken goes on");
  }
}

// B8: checks that every waiting read waits for something that can happen.
void World::CheckWaits(const Health& health) {
  const BootTime now = Now().boot;
  const Pending pending = Queue();
  const bool waiting = Waiting() > 0;
  const auto live =
      std::find_if(held_.begin(), held_.end(),
                   [this](const Call& call) { return Live(call); });
  const BootTime next = now + (health.next_attempt - Now().wall);
  const auto expect_timer = [&](BootTime at, absl::string_view what) {
    Expect(pending.first_timer <= std::max(at, now), what);
  };
  // If this condition holds, an attempt is queued, or a late timer has yet to
  // queue one. A queued attempt needs a timer that ends it if the executor does
  // not run it in time. A late timer passes the check because it is already
  // due.
  if (health.refreshing && live == held_.end() && next <= now &&
      pending.tasks > 0 && !lost_task_ && !lost_timer_) {
    expect_timer(pending.last_task + policy_.attempt_timeout,
                 "E2: no timer ends an attempt that is not run");
  }
  if (pending.tasks > 0) return;
  // Without a refresh, a read waits only if its callback was refused. It waits
  // for a timer that gives the callback to the executor again (R11). If that
  // timer was refused too, the read waits for the next operation or answer.
  Expect(!waiting || health.refreshing ||
             (lost_task_ && (lost_timer_ ||
                             pending.first_timer < BootTime::InfiniteFuture())),
         "B8: a read waits for no refresh");
  Expect(!health.refreshing || live != held_.end() ||
             pending.first_timer < BootTime::InfiniteFuture(),
         "B8: a refresh that nothing can end");
  if (lost_timer_) return;
  if (live != held_.end()) {
    expect_timer(live->start.boot + policy_.attempt_timeout,
                 "F6: no timer ends the attempt");
  }
  for (const Reader& reader : readers_) {
    if (!Waits(reader)) continue;
    Expect(live != held_.end() || lost_task_ || !Spent(reader),
           "B1, B5: a read waits on, its retries spent");
    Expect(live != held_.end() || lost_task_ || reader.may_rejoin ||
               oracle_->failures() == 0 ||
               reader.saw_failures <= Retries(reader),
           "B1, B5: a read waits on, having seen its retries fail");
    Expect(live != held_.end() || lost_task_ || reader.was_unservable ||
               !oracle_->Rejects(reader.rejected),
           "A9: a rejecting read waits for permission");
    Expect(lost_task_ || !reader.usable || reader.was_unservable ||
               reader.generation != oracle_->generation() || !oracle_->Usable(),
           "R1, R2: a read of a usable token waits");
    expect_timer(reader.deadline, "R7: no timer ends a read at its deadline");
    Expect(lost_task_ || live != held_.end() || reader.deadline <= now ||
               next <= now || reader.deadline >= next,
           "R7: a read waits for an attempt after its deadline");
  }
}

// Records the last step as the origin of the newly queued tasks. If no refresh
// is in flight, forgets what was known of the last refresh.
void World::Note() {
  reads_told_apart_ = false;
  int of_step = 0;
  for (const auto& pending : executor_.PendingSteps()) {
    if (pending.kind != Kind::kRun || pending.id <= last_noted_) continue;
    origins_[pending.id] = {step_, of_step++};
    last_noted_ = pending.id;
  }
  if (!destroyed() && token_->health().refreshing) return;
  joined_.clear();
  failed_ = queued_ = 0;
  told_ = Told::kNo;
  running_told_ = flight_told_ = false;
}

void World::Check() {
  CheckCalls();
  if (destroyed()) {
    CheckEnded();
    Expect(Queue().first_timer == BootTime::InfiniteFuture() || lost_timer_,
           "E1: a timer is left behind");
    return;
  }
  const LeaseOr lease = token_->TryGet();
  if (lease.ok()) oracle_->OnLease(*lease, /*late=*/false);
  Expect(lease.ok() || !oracle_->Usable(),
         "B4: a usable token is not handed out");
  const Health health = token_->health();
  oracle_->CheckHealth(health);
  oracle_->CheckStats(token_->stats());
  Expect(oracle_->Count(refreshable::EventKind::kAttemptDiscarded) == discards_,
         "F2: answers that came to nothing are not told one by one");
  const int64_t blocked = static_cast<int64_t>(blocked_.size());
  Expect(Waiting() <= health.waiters && health.waiters <= Waiting() + blocked,
         absl::StrCat("S2: ", health.waiters, " waiters, not ", Waiting()));
  CheckWaits(health);
}

std::string World::Fingerprint() const {
  const refreshable::Instant now = Now();
  std::string out;
  const auto add_length = [&](absl::Duration d) {
    absl::StrAppend(&out,
                    d == absl::InfiniteDuration()
                        ? "+"
                        : absl::StrCat(absl::ToInt64Nanoseconds(d)),
                    ",");
  };
  const auto add = [&](BootTime t) { add_length(t - BootTime()); };
  add_length(now.wall - absl::UnixEpoch());
  add(now.boot);
  for (const auto& step : executor_.PendingSteps()) {
    absl::StrAppend(&out, step.kind == Kind::kRun ? "R" : "T");
    if (step.kind == Kind::kRun) {
      const auto& [of, task] = origins_.at(step.id);
      absl::StrAppend(&out, of, ".", task, ",");
    }
    add(step.due);
  }
  for (const Call& call : held_) {
    absl::StrAppend(&out, "|", Live(call), call.forgotten,
                    call.epoch == oracle_->epoch(), call.context.attempt(),
                    call.context.rejected().value() > 0, ",");
    add(call.start.boot);
  }
  if (Unanswered() >= policy_.max_abandoned_calls) {
    absl::StrAppend(&out, "|", beyond_, ",");
    add(last_call_);
  }
  absl::StrAppend(&out, "|");
  if (Late()) {
    const BootTime due = Queue().first_timer;
    for (const BootTime at : {handled_at_, read_at_, ran_at_}) {
      add(at >= due ? at : BootTime::InfinitePast());
    }
  }
  absl::StrAppend(&out, "|");
  for (const Reader& reader : readers_) {
    if (!Waits(reader)) {
      if (!reads_told_apart_) continue;
      absl::StrAppend(&out, reader.cancelled, ",");
    } else {
      absl::StrAppend(&out, "r", reader.usable, reader.served, reader.may_fail,
                      reader.may_rejoin, reader.saw_loss, reader.joins,
                      reader.was_unservable, Retries(reader), ",",
                      reader.saw_failures, ",", reader.rejected.value(), ",");
      add(reader.deadline);
    }
  }
  absl::StrAppend(&out, "|");
  for (const BootTime deadline : blocked_) add(deadline);
  absl::StrAppend(&out, "|");
  for (const auto& [retries, origin] : joined_) {
    absl::StrAppend(&out, retries, ".", origin.first, ".", origin.second, ",");
  }
  absl::StrAppend(&out, "|", queued_, static_cast<int>(told_), running_told_,
                  flight_told_);
  absl::StrAppend(&out, "|", failed_, ",", takes_tasks_, takes_timers_,
                  lost_timer_, lost_task_, destroyed(),
                  inside_.has_value() ? inside_->name : "");
  if (destroyed()) return out;
  oracle_->AppendTo(out);
  const Health health = token_->health();
  absl::StrAppend(&out, "|", health.refreshing, health.waiters, ",",
                  health.failures, ",",
                  static_cast<int>(health.last_cause.code()), ",");
  add_length(health.next_attempt - now.wall);
  return out;
}

void World::CheckRecovers(bool reset) {
  at_end_ = true;
  executor_.set_refuse_runs(false);
  executor_.set_refuse_timers(false);
  takes_tasks_ = takes_timers_ = true;
  // Without Reset(), a read must start the refresh. If a timer was lost, a read
  // or another operation must make the Refreshable notice that timers are
  // accepted again.
  if (!destroyed() && (!reset || lost_timer_)) ReadNow();
  RunUntilIdle();
  for (const Reader& reader : readers_) {
    Expect(reader.ended > 0 || reader.cancelled || reader.deadline > Now().boot,
           "R7: a read outlasts its deadline");
  }
  while (!held_.empty()) AnswerCall(0, Succeed());
  RunUntilIdle();
  if (destroyed()) {
    AdvanceBy(absl::Hours(1));
    return Check();
  }
  // Two waits may be needed. If the last token expires during the first wait,
  // refreshing may become exhausted (B7), which delays the next attempt.
  for (int i = 0; i < 2 && !reset && !token_->health().fatal; ++i) {
    const absl::Duration wait = token_->health().next_attempt - Now().wall;
    const refreshable::RetryPolicy& retry = policy_.retry;
    const absl::Duration longest =
        std::max({retry.probe_interval, retry.max_backoff,
                  retry.max_retry_after, policy_.min_interval});
    Expect(wait <= longest, "B8: the next attempt is too far away");
    AdvanceBy(std::min(wait, longest));
  }
  if (reset || token_->health().fatal) Reset();
  const LeaseOr lease = token_->Get(absl::Minutes(1));
  if (!lease.ok()) {
    return oracle_->Fail(
        absl::StrCat("B8: stuck: after ", reset ? "Reset() and " : "",
                     "success a read gets ", lease.status().ToString()));
  }
  oracle_->OnLease(*lease, /*late=*/false);
  // A usable token now or a second later is enough. A token with little time
  // left may not be usable any more in a second. If the read was served an
  // expired token (B10), the new token may come only during that second.
  const bool usable = oracle_->Usable();
  AdvanceBy(absl::Seconds(1));  // Refused callbacks run now.
  Expect(usable || oracle_->Usable(), "B8: no usable token after success");
  CheckEnded();
  Check();
}

}  // namespace schedule
}  // namespace refreshable_testing
