// SPDX-License-Identifier: Apache-2.0
// long: all rules of a flight are in one file, as in docs/contract.md.

#include "refreshable/machine/refresh_machine.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable {
namespace internal {
namespace {

// Returns, on each clock, the earlier of `edge` and `at`. Although `at` is a
// boot time, it limits the wall time too, because reads look at the wall clock.
// So they notice that `at` has come even if a suspend delays the timer.
DualDeadline Earlier(DualDeadline edge, const Instant& now, BootTime at) {
  edge.boot = std::min(edge.boot, at);
  edge.wall = std::min(edge.wall, now.wall + (at - now.boot));
  return edge;
}

absl::Status ExpiredTokenError(absl::Duration ago) {
  constexpr absl::string_view kMessage =
      "the token source returned a token that has expired";
  if (ago == absl::InfiniteDuration()) return absl::UnavailableError(kMessage);
  const absl::Duration seconds = absl::Trunc(ago, absl::Seconds(1));
  return absl::UnavailableError(absl::StrCat(
      kMessage, " (",
      seconds == absl::ZeroDuration() ? "less than 1s"
                                      : absl::FormatDuration(seconds),
      " ago)"));
}

}  // namespace

RefreshMachine::RefreshMachine(std::shared_ptr<const RefreshPolicy> policy,
                               uint64_t seed)
    : policy_(std::move(policy)), jitter_(seed) {}

RefreshMachine::RefreshMachine(const RefreshPolicy& policy, uint64_t seed)
    : RefreshMachine(std::make_shared<const RefreshPolicy>(policy), seed) {}

// Calls Begin at the start of an input, and FreeUnused at its end.
class RefreshMachine::Input {
 public:
  Input(RefreshMachine& machine, const Instant& now)
      : machine_(machine), now_(now) {
    machine.Begin(now);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input() { machine_.FreeUnused(now_); }

 private:
  RefreshMachine& machine_;
  const Instant& now_;
};

// ---- Inputs ----

RefreshMachine::ReadAnswer RefreshMachine::OnRead(const Instant& now,
                                                  const ReadRequest& request,
                                                  Decisions& out) {
  const Input input(*this, now);
  Advance(now, out);
  if (servable(now)) {
    if (rejects(request)) return OnRejectingRead(now, request, out);
    MaybeStartBackground(now, out);
    if (!Usable(now) && !degraded_published_) {
      degraded_published_ = true;
      out.republish_degraded = true;
      out.events.push_back(MakeEvent(EventKind::kDegraded));
    }
    NoteChanges(now, out);
    return ReadAnswer::kServe;
  }
  NoteChanges(now, out);
  const int budget = request.max_retries.value_or(policy().retry.max_retries);
  // When the next attempt is due; the infinite past if an attempt is queued or
  // running.
  BootTime due = BootTime::InfinitePast();
  // Whether the read fails at once, whatever its deadline is.
  bool spent = false;
  if (phase_ == Phase::kIdle) {
    due = next_start(now);
    if (failures() > 0 && now.boot < due) spent = true;
    if (schedule_.DelayedByRejection(now.boot)) spent = true;
  } else if (phase_ == Phase::kWaiting) {
    due = flight_->due;
    spent = failures() > 0 && budget < flight_->attempts;
  }
  if (spent || (now.boot < due && request.deadline < due)) {
    // If Advance has just ended a flight, `failure` is set already.
    if (out.waiters != Decisions::Waiters::kFail) {
      out.failure = MakeFailure(now, last_cause());
      // `fails_until` stays unset if a step of the wall clock may make the
      // token usable again.
      if (phase_ == Phase::kIdle && failures() > 0 && (!held_ || let_go_)) {
        out.fails_until = out.failure.next_attempt_at;
      }
    }
    return ReadAnswer::kFail;
  }
  if (phase_ == Phase::kIdle) {
    StartFlight(now, /*foreground=*/true, budget, out);
  } else {
    flight_->foreground = true;
    flight_->budget = std::max(flight_->budget, budget);
  }
  return ReadAnswer::kWait;
}

// The read waits if an attempt is queued or running, or may start now.
// Otherwise the read fails at once.
RefreshMachine::ReadAnswer RefreshMachine::OnRejectingRead(
    const Instant& now, const ReadRequest& request, Decisions& out) {
  NoteRejection(request.rejected, out);
  NoteChanges(now, out);
  if (phase_ == Phase::kIdle && now.boot >= next_start_by_rejection(now)) {
    StartFlight(now, /*foreground=*/false, /*budget=*/0, out);
    flight_->by_rejection = true;
  }
  if (phase_ == Phase::kIdle || phase_ == Phase::kWaiting) {
    // If Advance has just set `failure` for reads that waited, this read gets
    // that error too.
    const bool ordinary_reads_failed =
        out.waiters == Decisions::Waiters::kFail ||
        out.fail_deadlines_before > BootTime::InfinitePast();
    const bool rejecting_reads_failed =
        out.rejecting_waiters.value_or(out.waiters) ==
        Decisions::Waiters::kFail;
    if ((ordinary_reads_failed && flight_->foreground) ||
        (rejecting_reads_failed && flight_->rejecting_read_waits)) {
      return ReadAnswer::kFail;
    }
    const absl::Status cause = rejection_cause();
    out.failure = MakeRejectingReadFailure(
        now,
        absl::UnauthenticatedError(
            cause.ok() ? "the token was rejected, and it is too early to fetch "
                         "another"
                       : absl::StrCat("the token was rejected, and fetching "
                                      "another failed: ",
                                      cause.message())));
    return ReadAnswer::kFail;
  }
  if (phase_ == Phase::kQueued) flight_->told_rejected = generation();
  flight_->rejecting_read_waits = true;
  // The budget matters if PromoteIfUnservable makes this a foreground flight.
  flight_->budget =
      std::max(flight_->budget,
               request.max_retries.value_or(policy().retry.max_retries));
  return ReadAnswer::kWait;
}

std::optional<AttemptStart> RefreshMachine::OnAttemptStart(const Instant& now,
                                                           AttemptId id,
                                                           Decisions& out) {
  const Input input(*this, now);
  if (phase_ != Phase::kQueued || id != flight_->attempt) return std::nullopt;
  if (flight_->by_rejection) {
    row_.OnStart(RowBackoff(row_.attempts() + 1));
  }
  flight_->previous_start = schedule_.OnStart(now.boot);
  if (abandoned() >= static_cast<size_t>(policy().max_abandoned_calls)) {
    if (now.boot < call_again_at()) {
      FailAttempt(now,
                  {absl::UnavailableError(absl::StrCat(
                       "the token source was not called: ", abandoned(),
                       " earlier calls have been abandoned and have not "
                       "returned")),
                   FailureClass::kTransient, std::nullopt},
                  out);
      NoteChanges(now, out);
      return std::nullopt;
    }
    ++trouble_->abandoned.beyond;
  }
  if (abandoned() > 0) trouble_->abandoned.last_call = now.boot;
  phase_ = Phase::kRunning;
  flight_->running =
      Call{id, epoch_, now.boot, flight_->told_rejected, flight_->by_rejection};
  flight_->attempt_deadline = now.boot + policy().attempt_timeout;
  AttemptStart start;
  start.number = flight_->attempts + 1;
  start.rejected =
      invalidated_ != Generation() ? invalidated_ : flight_->told_rejected;
  start.reason = start.rejected != Generation() ? RefreshReason::kRejected
                 : exhausted(now)               ? RefreshReason::kProbe
                 : Usable(now)                  ? RefreshReason::kStale
                 : generation() != Generation() ? RefreshReason::kExpired
                                                : RefreshReason::kFirst;
  Event event = MakeEvent(EventKind::kAttemptStarted);
  event.reason = start.reason;
  event.attempt = start.number;
  out.events.push_back(std::move(event));
  NoteChanges(now, out);
  return start;
}

// Called when the call of attempt `id` has returned. Sets `call` to the record
// of that call, and removes the record from the abandoned calls. Sets `current`
// to whether `id` is the running attempt. Returns false if the call is not
// known.
bool RefreshMachine::TakeCall(AttemptId id, Call& call, bool& current) {
  current = phase_ == Phase::kRunning && flight_->running.id == id;
  if (current) {
    if (trouble_ != nullptr) trouble_->abandoned.beyond = 0;
    call = flight_->running;
    return true;
  }
  if (trouble_ == nullptr) return false;
  auto& calls = trouble_->abandoned.calls;
  for (auto it = calls.begin(); it != calls.end(); ++it) {
    if (it->id != id) continue;
    trouble_->abandoned.beyond = 0;
    call = *it;
    calls.erase(it);
    return true;
  }
  return false;
}

void RefreshMachine::OnAttemptSuccess(const Instant& now, AttemptId id,
                                      const Expiry& expiry,
                                      std::optional<Generation> same_as,
                                      Decisions& out) {
  const Input input(*this, now);
  Call call{};
  bool current = false;
  const bool known = TakeCall(id, call, current);
  const absl::Duration since_start = now.boot - call.started_at;
  const absl::Duration lifetime = expiry.is_relative()
                                      ? expiry.lifetime() - since_start
                                      : expiry.time() - now.wall;
  const LifetimeLeft left = {lifetime, expiry.refresh_in() - since_start};
  Failure failure;
  if (lifetime <= absl::ZeroDuration()) {
    failure = {ExpiredTokenError(-lifetime), FailureClass::kTransient,
               std::nullopt};
  } else if (same_as.has_value() && invalidated_ != Generation() &&
             *same_as == invalidated_) {
    failure = {absl::FailedPreconditionError(
                   "the token source returned the token that was invalidated; "
                   "Reset() would accept it, Install() replace it"),
               FailureClass::kPermanent, std::nullopt};
  }
  if (known && call.epoch == epoch_ && failure.status.ok()) {
    if (current) phase_ = Phase::kIdle;
    const bool same = held_ && same_as == generation();
    if (same && call.told_rejected != Generation() && !let_go_) {
      KeepUnchanged(now, left, out);
    } else {
      Publish(now, left, /*from_source=*/true, same, out);
    }
  } else if (current) {
    FailAttempt(now, failure, out);
  } else {
    out.events.push_back(MakeEvent(EventKind::kAttemptDiscarded));
  }
  NoteChanges(now, out);
}

void RefreshMachine::OnAttemptFailure(const Instant& now, AttemptId id,
                                      const Failure& failure, Decisions& out) {
  const Input input(*this, now);
  Call call{};
  bool current = false;
  TakeCall(id, call, current);
  if (current) {
    FailAttempt(now, failure, out);
  } else {
    Event event = MakeEvent(EventKind::kAttemptDiscarded);
    event.status = failure.status;
    out.events.push_back(std::move(event));
  }
  NoteChanges(now, out);
}

void RefreshMachine::OnAttemptLost(const Instant& now, AttemptId id,
                                   Decisions& out) {
  const Input input(*this, now);
  if (phase_ != Phase::kQueued || id != flight_->attempt) return;
  LoseQueued(
      now,
      absl::UnavailableError("the executor refused or dropped the refresh"),
      out);
  NoteChanges(now, out);
}

void RefreshMachine::OnWake(const Instant& now, Decisions& out) {
  const Input input(*this, now);
  Advance(now, out);
  NoteChanges(now, out);
}

void RefreshMachine::OnWakeLost(const Instant& now, Decisions& out) {
  const Input input(*this, now);
  Advance(now, out);
  if (phase_ == Phase::kWaiting) EndFlight(now, last_cause(), out);
  NoteChanges(now, out);
}

bool RefreshMachine::OnInvalidate(const Instant& now, Generation generation,
                                  Decisions& out) {
  const Input input(*this, now);
  if (!held_ || generation != row_.last()) return false;
  Advance(now, out);
  held_ = false;
  invalidated_ = generation;
  row_.Note(generation);
  PromoteIfUnservable(now);
  ++epoch_;
  // The running attempt goes on if it was told that a server rejected the token
  // (A2).
  const bool kept =
      phase_ == Phase::kRunning && flight_->running.told_rejected == generation;
  if (kept) flight_->running.epoch = epoch_;
  out.withdraw = true;
  out.events.push_back(MakeEvent(EventKind::kTokenInvalidated));
  const bool young = life_.Young(now);
  schedule_.OnInvalidate(policy(), young, kept, jitter_);
  if (phase_ != Phase::kIdle && !kept) {
    const bool running = phase_ == Phase::kRunning;
    const bool waiting = phase_ == Phase::kWaiting;
    if (running) AbandonRunning(out);
    if (now.boot < next_start(now) && (young || waiting || fatal(now))) {
      exhausted(now) ? EndFlight(now, last_cause(), out)
                     : EnterBackoff(now, out);
    } else if (running || waiting) {
      Submit(now, out);
    }  // Otherwise an attempt is queued already, and stays.
  }
  Advance(now, out);
  NoteChanges(now, out);
  return true;
}

void RefreshMachine::OnReportRejected(const Instant& now, Generation generation,
                                      Decisions& out) {
  const Input input(*this, now);
  NoteRejection(generation, out);
}

bool RefreshMachine::OnInstall(const Instant& now, const Expiry& expiry,
                               Decisions& out) {
  const Input input(*this, now);
  const absl::Duration lifetime =
      expiry.is_relative() ? expiry.lifetime() : expiry.time() - now.wall;
  if (lifetime <= absl::ZeroDuration()) return false;
  row_.End();
  Publish(now, {lifetime, expiry.refresh_in()}, /*from_source=*/false,
          /*same_token=*/false, out);
  schedule_.OnInstall();
  NoteChanges(now, out);
  return true;
}

void RefreshMachine::OnReset(const Instant& now, Decisions& out) {
  const Input input(*this, now);
  invalidated_ = Generation();
  row_.End();
  if (trouble_ != nullptr) trouble_->rejection_cause = absl::OkStatus();
  ForgetAbandoned();
  schedule_.OnReset();
  told_exhausted_ = false;
  if (phase_ == Phase::kWaiting) flight_->due = next_start(now);
  Advance(now, out);
  NoteChanges(now, out);
}

void RefreshMachine::OnFork(std::optional<uint64_t> seed) {
  const bool running = phase_ == Phase::kRunning;
  schedule_.OnFork(running ? std::optional<BootTime>(flight_->previous_start)
                           : std::nullopt);
  if (running && flight_->running.by_rejection) row_.OnFork();
  phase_ = Phase::kIdle;
  flight_ = nullptr;
  ForgetAbandoned();
  if (!seed.has_value()) return;
  jitter_ = Jitter(*seed);
  life_.DrawAgain(jitter_);
  schedule_.DrawAgain(policy(), jitter_);
  if (row_.attempts() > 0) row_.SetWait(RowBackoff(row_.attempts()));
}

// ---- What is known between inputs ----

DualDeadline RefreshMachine::check_at(const Instant& now) const {
  if (!servable(now)) return DualDeadline::At(now);
  if (!Usable(now)) {
    if (!degraded_published_) return DualDeadline::At(now);
    return phase_ == Phase::kIdle
               ? Earlier(life_.end(policy()), now, next_start(now))
               : life_.end(policy());
  }
  if (!policy().background_refresh) return life_.usable_until();
  if (!life_.Stale(now)) return life_.stale_at();
  if (phase_ != Phase::kIdle) return life_.usable_until();
  return Earlier(life_.usable_until(), now,
                 std::max(schedule_.cooldown_until(), next_start(now)));
}

DualDeadline RefreshMachine::published_until(const Instant& now) const {
  if (Usable(now)) return life_.usable_until();
  return published_servable(now) ? life_.end(policy()) : DualDeadline::At(now);
}

BootTime RefreshMachine::wake_at(const Instant& now) const {
  BootTime at = BootTime::InfiniteFuture();
  if (phase_ == Phase::kQueued) at = flight_->queued_until;
  if (phase_ == Phase::kRunning) at = flight_->attempt_deadline;
  if (phase_ == Phase::kWaiting) at = flight_->due;
  if (held_ && !let_go_) at = std::min(at, life_.end(policy()).boot);
  const DualDeadline check = check_at(now);
  if (!check.Reached(now)) at = std::min(at, check.boot);
  if (policy().refresh_ahead && phase_ == Phase::kIdle &&
      generation() != Generation()) {
    BootTime due = std::max(next_start(now), lost_until());
    if (Usable(now)) due = std::max(due, schedule_.cooldown_until());
    if (!Usable(now) || life_.Stale(now)) at = std::min(at, due);
  }
  return at;
}

Freshness RefreshMachine::freshness(const Instant& now) const {
  if (!Usable(now)) return Freshness::kExpired;
  return life_.Stale(now) ? Freshness::kStale : Freshness::kFresh;
}

bool RefreshMachine::exhausted(const Instant& now) const {
  return schedule_.Exhausted(policy()) && !Usable(now);
}

BootTime RefreshMachine::next_start(const Instant& now) const {
  return schedule_.NextStart(policy(), Usable(now));
}

// Returns when the source may be called although `max_abandoned_calls` calls
// have not returned (F6). Requires: `abandoned()` > 0.
BootTime RefreshMachine::call_again_at() const {
  const Abandoned& abandoned = trouble_->abandoned;
  return abandoned.last_call +
         policy().retry.probe_interval * std::exp2(abandoned.beyond);
}

BootTime RefreshMachine::next_start_by_rejection(const Instant& now) const {
  return std::max(next_start(now), row_.NextStart(schedule_.last_start()));
}

bool RefreshMachine::Degraded(const Instant& now) const {
  return held_ && failures() > 0 && life_.UsableOnError(policy(), now);
}

// ---- Transitions ----

// Ends the row (rejection_row.h) if the token has become stale without a
// rejection (A13).
void RefreshMachine::Begin(const Instant& now) {
  if (life_.Stale(now) && !row_.current_rejected()) row_.End();
  PromoteIfUnservable(now);
}

void RefreshMachine::FreeUnused(const Instant& now) {
  if (phase_ == Phase::kIdle) flight_ = nullptr;
  if (trouble_ == nullptr || abandoned() > 0) return;
  trouble_->abandoned.beyond = 0;
  const auto over = [&now](BootTime t) {
    return t <= now.boot || t == BootTime::InfiniteFuture();
  };
  if (over(trouble_->reported.next.boot) &&
      over(trouble_->reported.next_rejected.boot) &&
      trouble_->rejection_cause.ok() &&
      trouble_->lost_until == BootTime::InfinitePast()) {
    trouble_ = nullptr;
  }
}

RefreshMachine::Trouble& RefreshMachine::trouble() {
  if (trouble_ == nullptr) trouble_ = std::make_unique<Trouble>();
  return *trouble_;
}

void RefreshMachine::ForgetAbandoned() {
  if (trouble_ == nullptr) return;
  trouble_->abandoned.calls.clear();
  trouble_->abandoned.beyond = 0;
}

// Makes the flight a foreground flight if a rejecting read has waited for it
// and the token is not servable (A10).
void RefreshMachine::PromoteIfUnservable(const Instant& now) {
  if (phase_ == Phase::kIdle || !flight_->rejecting_read_waits || servable(now))
    return;
  flight_->foreground = true;
  flight_->by_rejection = false;
}

// Notes that a server rejected `generation`. Tells the observer if the token
// last published counts as rejected now and did not before.
void RefreshMachine::NoteRejection(Generation generation, Decisions& out) {
  if (!row_.Note(generation)) return;
  out.events.push_back(MakeEvent(EventKind::kTokenRejected));
}

// Does what is due now.
void RefreshMachine::Advance(const Instant& now, Decisions& out) {
  // Only BootTime counts here: the wall clock may step back and make the token
  // usable again.
  if (held_ && !let_go_ && now.boot >= life_.end(policy()).boot) {
    let_go_ = true;
    out.let_go = true;
  }
  if (phase_ == Phase::kQueued && now.boot >= flight_->queued_until) {
    LoseQueued(now,
               absl::UnavailableError(absl::StrCat(
                   "the executor has not run the refresh for ",
                   absl::FormatDuration(policy().attempt_timeout))),
               out);
  }
  if (phase_ == Phase::kRunning && now.boot >= flight_->attempt_deadline) {
    AbandonRunning(out);
    FailAttempt(now,
                {absl::DeadlineExceededError(absl::StrCat(
                     "the token source did not answer within ",
                     absl::FormatDuration(policy().attempt_timeout))),
                 FailureClass::kTransient, std::nullopt},
                out);
  }
  if (phase_ == Phase::kWaiting && now.boot >= flight_->due) Submit(now, out);
  if (policy().refresh_ahead && generation() != Generation() &&
      now.boot >= lost_until()) {
    MaybeStartBackground(now, out);
  }
}

void RefreshMachine::StartFlight(const Instant& now, bool foreground,
                                 int budget, Decisions& out) {
  flight_ = std::make_unique<Flight>();
  flight_->foreground = foreground;
  flight_->budget = budget;
  if (now.boot < next_start(now)) {
    EnterBackoff(now, out);
  } else {
    Submit(now, out);
  }
}

void RefreshMachine::MaybeStartBackground(const Instant& now, Decisions& out) {
  if (phase_ != Phase::kIdle || now.boot < next_start(now)) return;
  if (Usable(now)) {
    if (!policy().background_refresh || !life_.Stale(now)) return;
    if (now.boot < schedule_.cooldown_until()) return;
  }
  StartFlight(now, /*foreground=*/false, /*budget=*/0, out);
}

void RefreshMachine::Submit(const Instant& now, Decisions& out) {
  phase_ = Phase::kQueued;
  flight_->queued_until = now.boot + policy().attempt_timeout;
  flight_->attempt = AttemptId{++last_attempt_};
  out.submit = flight_->attempt;
}

void RefreshMachine::EnterBackoff(const Instant& now, Decisions& out) {
  phase_ = Phase::kWaiting;
  flight_->due = next_start(now);
  out.fail_deadlines_before = flight_->due;
  out.fail_retries_below = flight_->attempts;
  if (out.waiters == Decisions::Waiters::kFail) return;  // `failure` is set.
  out.failure = MakeFailure(now, last_cause());
}

// Ends the flight: the executor has lost the queued attempt, or has not run it
// in time.
void RefreshMachine::LoseQueued(const Instant& now, const absl::Status& cause,
                                Decisions& out) {
  trouble().lost_until = now.boot + policy().retry.initial_backoff;
  EndFlight(now, cause, out);
  Event event = MakeEvent(EventKind::kAttemptAbandoned);
  event.status = out.failure.cause;
  out.events.push_back(std::move(event));
}

// Abandons the running call. The caller must change `phase_`.
void RefreshMachine::AbandonRunning(Decisions& out) {
  out.abandon.push_back(flight_->running.id);
  Abandoned& abandoned = trouble().abandoned;
  if (abandoned.calls.empty())
    abandoned.last_call = flight_->running.started_at;
  abandoned.calls.push_back(flight_->running);
  out.events.push_back(MakeEvent(EventKind::kAttemptAbandoned));
}

void RefreshMachine::FailAttempt(const Instant& now, const Failure& failure,
                                 Decisions& out) {
  ++flight_->attempts;
  if (flight_->by_rejection) {
    FailAttemptByRejection(now, failure, out);
    return;
  }
  schedule_.OnFailure(policy(), now.boot, failure.status, failure.retry_after,
                      jitter_);
  Event failed = MakeEvent(EventKind::kAttemptFailed);
  failed.status = failure.status;
  failed.attempt = flight_->attempts;
  out.events.push_back(std::move(failed));

  BootTime resume = next_start(now);
  if (!flight_->foreground && Usable(now)) {
    schedule_.BeginCooldown(policy(), now.boot, life_.usable_until().Left(now));
    resume = std::max(resume, schedule_.cooldown_until());
  }
  if (resume < BootTime::InfiniteFuture()) {
    Event backoff = MakeEvent(EventKind::kBackoff);
    backoff.delay = resume - now.boot;
    out.events.push_back(std::move(backoff));
  }
  if (Degraded(now)) {
    EndFlight(now, failure.status, out);
    out.waiters = Decisions::Waiters::kServe;
  } else if (flight_->foreground && !exhausted(now) &&
             failure.kind != FailureClass::kPermanent &&
             flight_->attempts <= flight_->budget) {
    EnterBackoff(now, out);
  } else {
    EndFlight(now, failure.status, out);
  }
  // Rejecting reads fail if the attempt was told of the rejection. Otherwise
  // they read again (A8).
  if (flight_->rejecting_read_waits && servable(now)) {
    out.rejecting_waiters = flight_->told_rejected != Generation()
                                ? Decisions::Waiters::kFail
                                : Decisions::Waiters::kServe;
  }
}

// The failure is not counted, because the token is still served. But a wait
// that the server asks for delays every attempt (A10).
void RefreshMachine::FailAttemptByRejection(const Instant& now,
                                            const Failure& failure,
                                            Decisions& out) {
  Event failed = MakeEvent(EventKind::kAttemptFailed);
  failed.status = failure.status;
  failed.attempt = flight_->attempts;
  out.events.push_back(std::move(failed));
  trouble().rejection_cause = failure.status;
  const std::optional<absl::Duration> delay = schedule_.OnRejectionFailure(
      policy(), now.boot, failure.retry_after, jitter_);
  if (delay.has_value()) {
    Event backoff = MakeEvent(EventKind::kBackoff);
    backoff.delay = *delay;
    out.events.push_back(std::move(backoff));
  }
  EndFlight(now, failure.status, out);
}

void RefreshMachine::EndFlight(const Instant& now, const absl::Status& cause,
                               Decisions& out) {
  phase_ = Phase::kIdle;
  out.waiters = Decisions::Waiters::kFail;
  out.failure = flight_->by_rejection ? MakeRejectingReadFailure(now, cause)
                                      : MakeFailure(now, cause);
}

// Publishes a token, and ends the flight. `from_source` is false if the token
// was installed. `same_token` says whether the token is known to equal the
// token held so far.
void RefreshMachine::Publish(const Instant& now, const LifetimeLeft& left,
                             bool from_source, bool same_token,
                             Decisions& out) {
  if (phase_ == Phase::kRunning) AbandonRunning(out);
  phase_ = Phase::kIdle;
  ++epoch_;
  held_ = true;
  degraded_published_ = false;
  let_go_ = false;
  invalidated_ = Generation();
  row_.OnPublish(generation().Next(), same_token);
  life_ = TokenLifetime(policy(), now, left, jitter_);
  if (!from_source) life_.SetInstalled();
  schedule_.OnPublish();
  out.publish = true;
  out.waiters = Decisions::Waiters::kServe;
  OnAnswer(EventKind::kTokenPublished, out);
}

// Called when an attempt that was told of a rejection has returned the rejected
// token again (A11). The token gets the new expiry if that is later, or if the
// token was no longer usable.
void RefreshMachine::KeepUnchanged(const Instant& now, const LifetimeLeft& left,
                                   Decisions& out) {
  if (phase_ == Phase::kRunning) AbandonRunning(out);
  phase_ = Phase::kIdle;
  if (!Usable(now) || now.wall + left.lifetime > life_.expiry().wall) {
    life_.Extend(policy(), now, left, jitter_);
    degraded_published_ = false;
    out.republish_extended = true;
  }
  out.waiters = Decisions::Waiters::kServe;
  out.rejecting_waiters = Decisions::Waiters::kFail;
  OnAnswer(EventKind::kTokenUnchanged, out);
  out.failure = MakeRejectingReadFailure(
      now, absl::UnauthenticatedError(
               "the token source returned the token that was rejected"));
}

// Called when a token has come. Clears the failures and tells the observer.
void RefreshMachine::OnAnswer(EventKind kind, Decisions& out) {
  schedule_.OnAnswer();
  if (trouble_ != nullptr) trouble_->rejection_cause = absl::OkStatus();
  out.events.push_back(MakeEvent(kind));
  if (told_exhausted_) {
    told_exhausted_ = false;
    out.events.push_back(MakeEvent(EventKind::kHealed));
  }
}

// Draws the wait after attempt number `attempts` of the row (rejection_row.h).
absl::Duration RefreshMachine::RowBackoff(int attempts) {
  return Backoff(
      policy(), attempts,
      policy().max_rejection_backoff.value_or(policy().retry.max_backoff),
      jitter_);
}

// Tells the observer if the freshness has changed or refreshing has become
// exhausted.
void RefreshMachine::NoteChanges(const Instant& now, Decisions& out) {
  const Freshness present = freshness(now);
  if (present != told_freshness_) {
    told_freshness_ = present;
    out.events.push_back(MakeEvent(EventKind::kStateChanged));
  }
  if (!told_exhausted_ && exhausted(now)) {
    told_exhausted_ = true;
    Event event = MakeEvent(EventKind::kExhausted);
    event.status = last_cause();
    out.events.push_back(std::move(event));
  }
}

// Returns `at` as wall time, or the present if `at` has passed. The result
// stays the same until `at` passes or changes, even if the wall clock is set.
// `reported` holds the last `at` and the last result.
absl::Time RefreshMachine::ReportAsWall(const Instant& now, BootTime at,
                                        DualDeadline& reported) {
  if (at != reported.boot || at <= now.boot) {
    reported = {now.wall + std::max(absl::ZeroDuration(), at - now.boot), at};
  }
  return reported.wall;
}

ReadFailure RefreshMachine::MakeFailure(const Instant& now,
                                        const absl::Status& cause) {
  ReadFailure failure;
  failure.cause = cause;
  if (cause.ok() && schedule_.DelayedByRejection(now.boot)) {
    failure.cause = rejection_cause();
  } else if (cause.ok()) {
    failure.cause = absl::UnavailableError(
        "the minimum interval between two attempts has not passed");
  }
  failure.failures = failures();
  failure.next_attempt_at = next_start(now);
  failure.next_attempt =
      ReportAsWall(now, failure.next_attempt_at, trouble().reported.next);
  failure.fatal = fatal(now);
  return failure;
}

ReadFailure RefreshMachine::MakeRejectingReadFailure(
    const Instant& now, const absl::Status& cause) {
  ReadFailure failure;
  failure.cause = cause;
  failure.failures = failures();
  failure.next_attempt_at = next_start_by_rejection(now);
  failure.next_attempt = ReportAsWall(now, failure.next_attempt_at,
                                      trouble().reported.next_rejected);
  failure.fatal = fatal(now);
  failure.rejected = true;
  return failure;
}

Event RefreshMachine::MakeEvent(EventKind kind) const {
  Event event;
  event.kind = kind;
  event.generation = generation();
  event.freshness = told_freshness_;
  event.failures = failures();
  return event;
}

}  // namespace internal
}  // namespace refreshable
