// SPDX-License-Identifier: Apache-2.0
// long: every rule that a step can break is stated here, once.

#include "refreshable/machine/checked_machine_test_util.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"

namespace refreshable {
namespace internal {
namespace {

using Answer = RefreshMachine::ReadAnswer;
using Input = MachineInput;
using Waiters = Decisions::Waiters;

const BootTime kBoot = BootTime() + absl::Seconds(1000);
constexpr absl::Time kWall = absl::FromUnixSeconds(1'700'000'000);

// Rounding up changes no comparison, because inputs come at whole milliseconds
// only.
Ms CeilToMs(absl::Duration duration) {
  return ToMs(absl::Ceil(duration, absl::Milliseconds(1)));
}

// Returns kLongAgo if `t` is in the infinite past.
Ms SinceStart(BootTime t) {
  const Ms ms = CeilToMs(t - kBoot);
  return ms < kLongAgo / 2 ? kLongAgo : ms;
}

// Returns 0 if `read` rejects no generation.
uint64_t RejectedBy(const Input& read, const ReferenceModel& f) {
  if (read.rejects == -1) return 0;
  if (read.rejects == -2) return f.generation + 1;
  return f.generation - std::min<uint64_t>(read.rejects, f.generation);
}

absl::Status StatusOf(FailureClass kind) {
  switch (kind) {
    case FailureClass::kTransient:
      return absl::UnavailableError("down");
    case FailureClass::kThrottled:
      return absl::ResourceExhaustedError("busy");
    case FailureClass::kPermanent:
      break;
  }
  return absl::UnknownError("no");
}

}  // namespace

const char* ClauseName(Clause clause) {
  constexpr const char* kNames[kClauses] = {
      "R1", "R2", "R3", "R4",  "R6",  "R7",  "R9",  "R12",  //
      "F1", "F2", "F3", "F4",  "F5",  "F6",  "F7",  "F9",  "B1", "B2", "B3",
      "B4", "B5", "B6", "B7",  "B8",  "B9",  "B10", "A1",  "A2", "A3", "A5",
      "A7", "A8", "A9", "A10", "A11", "A12", "A13", "E2",  "E4", "S1"};
  return kNames[static_cast<int>(clause)];
}

std::string ToString(const MachineInput& input) {
  constexpr const char* kNames[] = {
      "time", "wall step", "read",       "start",  "succeed", "fail",  "lost",
      "wake", "wake lost", "invalidate", "report", "install", "reset", "fork"};
  return absl::StrCat(
      kNames[input.kind], " {",
      input.id == AttemptId::kNone
          ? ""
          : absl::StrCat("attempt ", static_cast<uint64_t>(input.id), ", "),
      input.ms == kNever ? "never" : absl::StrCat(input.ms, " ms"), ", ",
      input.number, input.relative ? ", relative" : "",
      input.same_as ? ", same" : "",
      input.rejects == -1 ? "" : absl::StrCat(", rejects ", input.rejects),
      input.refresh_in == kNever
          ? ""
          : absl::StrCat(", refresh in ", input.refresh_in, " ms"),
      "}");
}

// One input and its outcome. `acted` is what OnInvalidate or OnInstall
// returned.
struct CheckedMachine::Step {
  Input input;
  Decisions out;
  std::optional<Answer> answer;
  std::optional<AttemptStart> start;
  bool acted = false;
};

// Compares one step with the contract. `was_` is the model before the step,
// `is_` the model after it. Requirements that are not checked at once are noted
// in the fields at the end of this class.
class CheckedMachine::StepChecker {
 public:
  StepChecker(const ReferenceModel& was, const Step& step,
              const RefreshMachine& machine, ClauseCounts* counts)
      : was_(was),
        input_(step.input),
        step_(step),
        out_(step.out),
        machine_(machine),
        counts_(counts),
        is_(was),
        flight_{was.flight, Clause::kS1} {}

  // Returns the model after the step.
  ReferenceModel Observe() {
    ObserveInput();
    for (const Event& event : out_.events) ObserveEvent(event);
    ObserveFlight();
    if (!out_.failure.cause.ok() && !out_.failure.rejected) ObserveTold();
    return is_;
  }

  // Returns an empty string, or the first clause that the step breaks. Observe
  // must have been called.
  std::string Verdict(const Instant& now) {
    switch (input_.kind) {
      case Input::kTime:
      case Input::kWallStep:
        break;
      case Input::kRead:
        JudgeRead();
        break;
      case Input::kStart:
        JudgeStart();
        break;
      case Input::kSucceed:
      case Input::kFail:
        JudgeEnd();
        break;
      case Input::kLost:
        JudgeLost();
        break;
      case Input::kWake:
        JudgeWake();
        break;
      case Input::kWakeLost:
        if (was_.flight == ReferenceModel::kWaiting) EndFlight(Clause::kE2);
        ExpectChanges();
        break;
      case Input::kInvalidate:
        JudgeInvalidate();
        break;
      case Input::kReport:
        JudgeReport();
        break;
      case Input::kInstall:
        JudgeInstall();
        break;
      case Input::kReset:
        JudgeReset();
        break;
      case Input::kFork:
        flight_ = {ReferenceModel::kNone, Clause::kE4};
        break;
    }
    Compare();
    CompareEvents();
    CompareState(now);
    return broken_;
  }

 private:
  // What is required, and the clause that requires it.
  template <typename T>
  struct Due {
    T value;
    Clause clause;
  };

  // Counts a check of `clause`. The first check that does not hold makes the
  // verdict.
  void Rule(Clause clause, bool holds, const char* what) {
    if (counts_ != nullptr) ++(*counts_)[static_cast<int>(clause)];
    if (!holds && broken_.empty()) {
      broken_ = absl::StrCat(ClauseName(clause), ": ", what);
    }
  }
  template <typename T>
  void Rule(const Due<T>& due, const T& found, const char* what) {
    Rule(due.clause, due.value == found, what);
  }

  // ---- What was observed ----

  size_t Bound() const { return is_.rules->policy.max_abandoned_calls; }
  bool InputIsOfRunning() const {
    return (input_.kind == Input::kSucceed || input_.kind == Input::kFail) &&
           was_.running.has_value() && was_.running->id == input_.id;
  }

  void ObserveInput() {
    if (input_.kind == Input::kSucceed || input_.kind == Input::kFail) {
      if (InputIsOfRunning()) {
        is_.running.reset();
        is_.beyond = 0;
      } else {
        for (auto it = is_.abandoned.begin(); it != is_.abandoned.end(); ++it) {
          if (it->id != input_.id) continue;
          call_ = *it;
          is_.abandoned.erase(it);
          is_.beyond = 0;
          break;
        }
      }
    }
    if (InputIsOfRunning()) call_ = was_.running;
    if (input_.kind == Input::kReset || input_.kind == Input::kInstall) {
      if (input_.kind == Input::kReset || input_.ms > 0)
        is_.row = is_.noted = 0;
    }
    if (input_.kind == Input::kReset) {
      is_.invalidated = 0;
      is_.row_asked_until = kLongAgo;
      is_.row_cause = absl::StatusCode::kOk;
      is_.failures = is_.failures_before = 0;
      is_.excused = is_.excused_before = 0;
      is_.cause = absl::StatusCode::kOk;
      is_.told_exhausted = false;
      is_.asked_until.reset();
      is_.cooldown_until = kLongAgo;
    }
    if (input_.kind == Input::kReset || input_.kind == Input::kFork) {
      is_.abandoned.clear();
      is_.beyond = 0;
    }
    if (input_.kind == Input::kFork) {
      is_.running.reset();
      is_.exempt = true;
      // In the child of a fork(), the parent's running attempt counts as not
      // started.
      if (was_.flight == ReferenceModel::kRunning) {
        is_.last_start = was_.previous_start;
        if (was_.running->in_row && is_.row > 0) --is_.row;
      }
    }
    // An attempt counts as started even if it fails without calling the source
    // (F6).
    if (input_.kind == Input::kStart &&
        was_.flight == ReferenceModel::kQueued && was_.queued == input_.id) {
      is_.previous_start = was_.last_start;
      is_.last_start = is_.t;
      is_.exempt = false;
      if (was_.by_rejection) ++is_.row;
    }
  }

  void ObserveEvent(const Event& event) {
    switch (event.kind) {
      case EventKind::kAttemptStarted:
        is_.running = ReferenceModel::Call{
            input_.id, is_.t, true, was_.told_rejected, was_.by_rejection};
        is_.last_call = is_.t;
        if (is_.abandoned.size() >= Bound()) ++is_.beyond;
        break;
      case EventKind::kAttemptFailed:
        if (was_.by_rejection) {
          is_.row_cause = event.status.code();
          if (input_.kind == Input::kFail && input_.ms > 0) {
            is_.row_asked_until =
                is_.t + std::min(input_.ms, is_.rules->max_retry_after);
          }
          break;
        }
        ++is_.failures;
        is_.cause = event.status.code();
        is_.last_end = is_.t;
        is_.backoff_until = is_.last_start + is_.rules->Wait(is_.failures);
        is_.asked_until.reset();
        if (input_.kind == Input::kFail && input_.ms > 0) ObserveWish();
        if (!was_.foreground && is_.Usable()) {
          const Ms cooldown = is_.Cooldown();
          is_.cooldown_until = cooldown == kNever ? kNever : is_.t + cooldown;
        }
        break;
      case EventKind::kAttemptAbandoned:
        if (is_.running.has_value()) {
          is_.abandoned.push_back(*is_.running);
          is_.running.reset();
        } else {
          is_.lost_until = is_.t + is_.rules->initial_backoff;
        }
        break;
      case EventKind::kTokenPublished:
        for (ReferenceModel::Call& call : is_.abandoned) call.current = false;
        ++is_.generation;
        if (!BringsTheTokenHeld()) is_.same_since = is_.generation;
        ObserveEdges();
        is_.issued = is_.born;
        is_.issued_life = is_.life;
        is_.from_source = input_.kind == Input::kSucceed;
        is_.withdrawn = is_.degraded = is_.let_go = false;
        is_.invalidated = 0;
        is_.failures_before = is_.failures;
        is_.excused_before = is_.excused;
        ObserveAnswer();
        if (input_.kind == Input::kInstall) is_.exempt = true;
        break;
      case EventKind::kTokenInvalidated:
        if (is_.running.has_value()) is_.running->current = KeepsAttempt();
        for (ReferenceModel::Call& call : is_.abandoned) call.current = false;
        is_.withdrawn = true;
        is_.invalidated = is_.noted = is_.generation;
        is_.PromoteIfUnservable();
        is_.exempt = !KeepsAttempt();
        if (is_.Young()) {
          is_.failures += is_.failures_before + 1;
          is_.excused += is_.excused_before;
          is_.cause = absl::StatusCode::kUnauthenticated;
          is_.backoff_until = is_.last_start + is_.rules->Wait(is_.failures);
          if (is_.asked_until.value_or(kNever) < is_.backoff_until) {
            is_.asked_until.reset();
          }
        }
        break;
      case EventKind::kStateChanged:
        is_.told_state = event.freshness;
        break;
      case EventKind::kExhausted:
      case EventKind::kHealed:
        is_.told_exhausted = event.kind == EventKind::kExhausted;
        break;
      case EventKind::kDegraded:
        is_.degraded = true;
        break;
      case EventKind::kTokenRejected:
        is_.noted = RejectedGeneration();
        break;
      case EventKind::kTokenUnchanged:
        if (out_.republish_extended) {
          ObserveEdges();
          is_.degraded = false;
        }
        ObserveAnswer();
        break;
      case EventKind::kAttemptDiscarded:
      case EventKind::kBackoff:
        break;
    }
  }

  void ObserveEdges() {
    is_.born = is_.t;
    is_.born_wall_step = is_.wall_step;
    is_.life = Life();
    is_.hint = Hint();
  }
  // B2: records the wait that the server asked for.
  void ObserveWish() {
    const Ms longest = is_.rules->max_retry_after;
    is_.asked_until = input_.ms <= longest
                          ? is_.t + input_.ms
                          : std::max(is_.t + longest, is_.backoff_until);
    const bool shortened =
        is_.backoff_until >
        std::max(*is_.asked_until, is_.t + is_.rules->min_interval);
    if (shortened) ++is_.excused;
  }

  // B9: all errors name one wall time for the next attempt. That time is
  // computed anew only when the attempt is due or rescheduled.
  void ObserveTold() {
    const Ms next = is_.NotBefore();
    if (next == is_.told_next && next > is_.t) return;
    is_.told_next = next;
    is_.told_next_wall =
        next == kNever ? kNever : std::max(next, is_.t) + is_.wall_step;
  }
  // Called when a token came from the source or was installed.
  void ObserveAnswer() {
    is_.failures = is_.excused = 0;
    is_.cause = is_.row_cause = absl::StatusCode::kOk;
    is_.asked_until.reset();
    is_.cooldown_until = is_.row_asked_until = kLongAgo;
  }

  void ObserveFlight() {
    is_.queued = machine_.queued();
    is_.flight = !machine_.refreshing()           ? ReferenceModel::kNone
                 : machine_.waiting()             ? ReferenceModel::kWaiting
                 : is_.queued != AttemptId::kNone ? ReferenceModel::kQueued
                                                  : ReferenceModel::kRunning;
    if (out_.let_go) is_.let_go = true;
    if (out_.submit != AttemptId::kNone) {
      is_.last_submitted = out_.submit;
      is_.submitted = is_.t;
    }
    if (was_.flight == ReferenceModel::kNone ||
        out_.waiters != Waiters::kKeep || input_.kind == Input::kFork) {
      is_.foreground = is_.by_rejection = is_.rejecting_read_waits = false;
      is_.budget = is_.failed = 0;
      is_.told_rejected = 0;
    } else {
      for (const Event& event : out_.events) {
        if (event.kind == EventKind::kAttemptFailed) ++is_.failed;
      }
    }
    if (step_.answer == Answer::kWait) {
      is_.budget = std::max(is_.budget, Budget());
      if (!IsRejecting()) {
        is_.foreground = true;
      } else {
        is_.rejecting_read_waits = true;
        if (was_.flight == ReferenceModel::kNone) is_.by_rejection = true;
        if (is_.flight == ReferenceModel::kQueued)
          is_.told_rejected = is_.generation;
      }
    }
    if (is_.flight != ReferenceModel::kWaiting) {
      is_.due = kNever;
    } else if (was_.flight != ReferenceModel::kWaiting ||
               input_.kind == Input::kReset || out_.withdraw) {
      is_.due = is_.NotBefore();
    }
  }

  // ---- What is required ----

  // Returns 0 if the read or the report rejects no generation.
  uint64_t RejectedGeneration() const {
    if (input_.kind == Input::kReport) {
      return was_.generation - static_cast<uint64_t>(input_.number);
    }
    return RejectedBy(input_, was_);
  }
  // Whether a read rejects the present token while that token may still be
  // served to other reads.
  bool IsRejecting() const {
    return input_.kind == Input::kRead && is_.Covers(RejectedGeneration()) &&
           (is_.Usable() || is_.Grace());
  }
  bool BringsTheTokenHeld() const {
    return input_.kind == Input::kSucceed && input_.same_as && was_.Held();
  }
  // A2: an invalidation does not abandon an attempt that was told that the
  // token was rejected.
  bool KeepsAttempt() const {
    return was_.flight == ReferenceModel::kRunning &&
           was_.running->told_rejected == was_.generation;
  }
  int Budget() const {
    return input_.number >= 0 ? input_.number
                              : is_.rules->policy.retry.max_retries;
  }
  // F3: the time from now until the token expires.
  Ms Life() const {
    return input_.relative && call_.has_value() && input_.ms < kNever
               ? input_.ms - (is_.t - call_->started)
               : input_.ms;
  }

  // F4: the time from now until the token should be replaced; kNever if there
  // is no positive hint.
  Ms Hint() const {
    if (input_.refresh_in <= 0 || input_.refresh_in == kNever) return kNever;
    return call_.has_value() ? input_.refresh_in - (is_.t - call_->started)
                             : input_.refresh_in;
  }

  void ExpectChanges() {
    if (is_.State() != was_.told_state)
      events_.push_back(EventKind::kStateChanged);
    if (is_.Exhausted() &&
        !(was_.told_exhausted && input_.kind != Input::kReset)) {
      events_.push_back(EventKind::kExhausted);
    }
  }
  void ExpectAbandoned(Clause clause) {
    abandoned_ = {{was_.running->id}, clause};
    events_.push_back(EventKind::kAttemptAbandoned);
  }
  void EndFlight(Clause clause) {
    flight_ = {ReferenceModel::kNone, clause};
    waiters_ = {Waiters::kFail, clause};
    told_failure_ = true;
  }
  void BeginWait(Clause clause) {
    flight_ = {ReferenceModel::kWaiting, clause};
    told_failure_ = told_wait_ = true;
  }
  // A10: a rejection started the failed attempt.
  void ExpectRejectedAttemptFailed() {
    events_.push_back(EventKind::kAttemptFailed);
    Rule(Clause::kA10,
         is_.failures == was_.failures && is_.cause == was_.cause &&
             is_.cooldown_until == was_.cooldown_until,
         "an attempt of a rejection counts nowhere");
    if (input_.kind == Input::kFail && input_.ms > 0) {
      events_.push_back(EventKind::kBackoff);
    }
    for (const Event& event : out_.events) {
      Rule(Clause::kA10,
           event.kind != EventKind::kBackoff ||
               ToMs(event.delay) == is_.row_asked_until - is_.t,
           "what the server asked for binds everybody");
    }
    EndFlight(Clause::kA10);
    ExpectRejectedFailure(is_.row_cause);
  }
  void ExpectRejectedFailure(absl::StatusCode code) {
    told_failure_ = true;
    rejected_code_ = code;
  }
  void ExpectFailed(FailureClass kind) {
    if (was_.by_rejection) return ExpectRejectedAttemptFailed();
    ExpectOrdinaryFailed(kind);
    if (was_.rejecting_read_waits && (is_.Usable() || is_.Grace())) {
      // A8: if the attempt was told of the rejection, rejecting reads fail.
      // Otherwise these reads are made again.
      rejecting_waiters_ = {
          was_.told_rejected > 0 ? Waiters::kFail : Waiters::kServe,
          Clause::kA8};
    }
  }
  void ExpectOrdinaryFailed(FailureClass kind) {
    events_.push_back(EventKind::kAttemptFailed);
    Rule(Clause::kB6, is_.failures == was_.failures + 1,
         "one failed attempt, one failure more");
    Rule(Clause::kB4, is_.Usable() == was_.Usable(),
         "a failure took the token");
    Ms resume = is_.NotBefore();
    if (!was_.foreground && is_.Usable()) {
      resume = std::max(resume, is_.cooldown_until);
    }
    if (resume < kNever) events_.push_back(EventKind::kBackoff);
    for (const Event& event : out_.events) {
      if (event.kind == EventKind::kBackoff) {
        Rule(Clause::kB3, CeilToMs(event.delay) == resume - is_.t,
             "the backoff that observers are told");
      }
      if (event.kind == EventKind::kAttemptFailed) {
        Rule(Clause::kS1,
             event.attempt == was_.failed + 1 && event.failures == is_.failures,
             "the numbers of a failed attempt");
      }
    }
    if (is_.Grace()) {
      EndFlight(Clause::kB10);
      waiters_.value = Waiters::kServe;
    } else if (!was_.foreground) {
      EndFlight(Clause::kB3);
    } else if (is_.Exhausted()) {
      EndFlight(Clause::kB7);
    } else if (kind == FailureClass::kPermanent) {
      EndFlight(Clause::kB2);
    } else if (was_.failed >= was_.budget) {
      EndFlight(Clause::kB1);
    } else {
      BeginWait(Clause::kB1);
    }
  }

  void JudgeRead() {
    ExpectAnswer();
    Rule(Clause::kR9,
         step_.answer != Answer::kServe || is_.generation != is_.invalidated,
         "a withdrawn token was served");
    if (input_.rejects != -1) {
      Rule(Clause::kA7,
           step_.answer != Answer::kServe || !is_.Covers(RejectedGeneration()),
           "a read was served what it rejected");
    }
  }
  void ExpectRejectedAnswer() {
    if (!was_.CurrentRejected()) events_.push_back(EventKind::kTokenRejected);
    ExpectChanges();
    bool fails = was_.flight == ReferenceModel::kWaiting;
    if (was_.flight == ReferenceModel::kNone) {
      fails = is_.t < was_.RejectedNotBefore();
      if (!fails) flight_ = {ReferenceModel::kQueued, Clause::kA9};
    }
    if (fails) ExpectRejectedFailure(absl::StatusCode::kUnauthenticated);
    Rule(was_.flight == ReferenceModel::kNone ? Clause::kA9 : Clause::kA8,
         step_.answer == (fails ? Answer::kFail : Answer::kWait),
         "a rejecting read: join, start an attempt if permitted, or fail");
  }
  void ExpectAnswer() {
    if (IsRejecting()) return ExpectRejectedAnswer();
    if (is_.Usable() || is_.Grace()) {
      const Clause clause = !is_.Usable() ? Clause::kB10
                            : is_.Stale() ? Clause::kR2
                                          : Clause::kR1;
      Rule(clause, step_.answer == Answer::kServe, "the token is to be served");
      const bool wanted =
          !is_.Usable() || (is_.rules->policy.background_refresh &&
                            is_.Stale() && is_.t >= was_.cooldown_until);
      if (was_.flight == ReferenceModel::kNone && wanted &&
          is_.t >= was_.NotBefore()) {
        flight_ = {ReferenceModel::kQueued, clause};
      }
      if (!is_.Usable() && !was_.degraded) {
        republish_ = {true, Clause::kB10};
        events_.push_back(EventKind::kDegraded);
      }
      ExpectChanges();
      return;
    }
    ExpectChanges();
    Clause clause = Clause::kR3;
    bool fails = false;
    const Ms deadline = input_.ms == kNever ? kNever : is_.t + input_.ms;
    if (was_.flight == ReferenceModel::kWaiting) {
      clause = Clause::kR7;
      fails =
          (was_.failures > 0 && Budget() < was_.failed) || deadline < was_.due;
    } else if (was_.flight == ReferenceModel::kNone) {
      const bool early = is_.t < was_.NotBefore();
      if (is_.t < was_.row_asked_until) {
        clause = Clause::kA10;
        fails = true;
      } else if (was_.failures > 0) {
        clause = was_.Exhausted() ? Clause::kB7 : Clause::kB5;
        fails = early;
      } else {
        fails = early && deadline < was_.NotBefore();
      }
      if (!fails) {
        flight_ = {ReferenceModel::kQueued, clause};
        if (early) BeginWait(Clause::kF4);
      }
    }
    if (fails) told_failure_ = true;
    Rule(clause, step_.answer == (fails ? Answer::kFail : Answer::kWait),
         "no usable token: wait for the next attempt, or fail at once");
  }

  void JudgeStart() {
    if (was_.flight != ReferenceModel::kQueued || was_.queued != input_.id) {
      Rule(Clause::kF1, !step_.start.has_value(),
           "a superseded attempt calls the source");
      return;
    }
    Rule(Clause::kF6, step_.start.has_value() == was_.MayCall(),
         "the source is called unless too many calls are outstanding");
    if (!was_.MayCall()) {
      ExpectFailed(FailureClass::kTransient);
      Rule(Clause::kF6, FailureCause() == absl::StatusCode::kUnavailable,
           "why the source was not called");
    } else if (step_.start.has_value()) {
      flight_ = {ReferenceModel::kRunning, Clause::kF1};
      events_.push_back(EventKind::kAttemptStarted);
      const uint64_t told =
          was_.invalidated > 0 ? was_.invalidated : was_.told_rejected;
      const RefreshReason reason = told > 0          ? RefreshReason::kRejected
                                   : is_.Usable()    ? RefreshReason::kStale
                                   : is_.Exhausted() ? RefreshReason::kProbe
                                   : was_.generation > 0
                                       ? RefreshReason::kExpired
                                       : RefreshReason::kFirst;
      Rule(Clause::kA3,
           step_.start->rejected == Generation(told) &&
               step_.start->reason == reason,
           "the reason, and what was rejected");
      Rule(Clause::kF1, step_.start->number == was_.failed + 1,
           "the number of the attempt in its flight");
      for (const Event& event : out_.events) {
        if (event.kind != EventKind::kAttemptStarted) continue;
        Rule(Clause::kS1,
             event.reason == reason && event.attempt == was_.failed + 1,
             "what observers are told of a start");
      }
    }
    ExpectChanges();
  }

  void JudgeEnd() {
    const bool brings = input_.kind == Input::kSucceed;
    const bool same = brings && input_.same_as && was_.invalidated > 0;
    if (brings && call_.has_value() && call_->current && Life() > 0 &&
        BringsTheTokenHeld() && call_->told_rejected > 0 && !was_.let_go) {
      ExpectUnchanged();
    } else if (brings && call_.has_value() && call_->current && Life() > 0 &&
               !same) {
      Rule(input_.relative ? Clause::kF3 : Clause::kF2, out_.publish,
           "a token is to be published");
      ExpectPublished(InputIsOfRunning() ? Clause::kF2 : Clause::kF6);
    } else if (!InputIsOfRunning()) {
      // F2, F6: an answer that publishes nothing is discarded if its call is
      // not the running call.
      events_.push_back(EventKind::kAttemptDiscarded);
    } else if (brings) {
      ExpectFailed(Life() <= 0 ? FailureClass::kTransient
                               : FailureClass::kPermanent);
      Rule(Clause::kF5,
           FailureCause() == (Life() <= 0
                                  ? absl::StatusCode::kUnavailable
                                  : absl::StatusCode::kFailedPrecondition),
           "why the token is of no use");
    } else {
      const auto kind = static_cast<FailureClass>(input_.number);
      ExpectFailed(kind);
      Rule(Clause::kB2, FailureCause() == StatusOf(kind).code(),
           "the cause is kept");
    }
    ExpectChanges();
  }
  absl::StatusCode FailureCause() const {
    return was_.by_rejection ? is_.row_cause : is_.cause;
  }
  // A11: the answer brings the rejected token again.
  void ExpectUnchanged() {
    if (was_.running.has_value() && !InputIsOfRunning()) {
      ExpectAbandoned(Clause::kF6);
    }
    const Ms life = Life();
    const bool later =
        was_.life < kNever &&
        (life == kNever || is_.t + is_.wall_step + life >
                               was_.born + was_.born_wall_step + was_.life);
    extended_ = {later || !was_.Usable(), Clause::kA11};
    flight_ = {ReferenceModel::kNone, Clause::kA11};
    waiters_ = {Waiters::kServe, Clause::kA11};
    rejecting_waiters_ = {Waiters::kFail, Clause::kA11};
    ExpectRejectedFailure(absl::StatusCode::kUnauthenticated);
    Rule(Clause::kA11, is_.Usable() && is_.failures == 0,
         "the token is served on, and no failure counts");
    events_.push_back(EventKind::kTokenUnchanged);
    if (was_.told_exhausted) events_.push_back(EventKind::kHealed);
  }
  void ExpectPublished(Clause clause) {
    if (was_.running.has_value() && !InputIsOfRunning())
      ExpectAbandoned(clause);
    publish_ = {true, clause};
    flight_ = {ReferenceModel::kNone, clause};
    waiters_ = {Waiters::kServe, clause};
    events_.push_back(EventKind::kTokenPublished);
    if (was_.told_exhausted) events_.push_back(EventKind::kHealed);
  }

  void JudgeLost() {
    if (was_.flight != ReferenceModel::kQueued || was_.queued != input_.id)
      return;
    ExpectLost();
    ExpectChanges();
  }
  // E2: the executor did not run the queued attempt.
  void ExpectLost() {
    EndFlight(Clause::kE2);
    told_lost_ = true;
    if (was_.by_rejection) {
      Rule(Clause::kA13, is_.row == was_.row, "a lost attempt does not count");
      ExpectRejectedFailure(absl::StatusCode::kUnavailable);
    }
    events_.push_back(EventKind::kAttemptAbandoned);
    Rule(Clause::kE2,
         out_.failure.cause.code() == absl::StatusCode::kUnavailable,
         "the executor is to blame");
    for (const Event& event : out_.events) {
      Rule(Clause::kE2,
           event.kind != EventKind::kAttemptAbandoned ||
               event.status == out_.failure.cause,
           "observers are told why");
    }
  }

  void JudgeWake() {
    if (was_.Overdue()) {
      if (was_.flight == ReferenceModel::kRunning) {
        ExpectAbandoned(Clause::kF6);
        ExpectFailed(FailureClass::kTransient);
        Rule(Clause::kF6, FailureCause() == absl::StatusCode::kDeadlineExceeded,
             "the cause is that the attempt took too long");
        if (flight_.value == ReferenceModel::kWaiting &&
            is_.t >= is_.NotBefore()) {
          flight_ = {ReferenceModel::kQueued, Clause::kF6};
        }
      } else if (was_.flight == ReferenceModel::kWaiting) {
        flight_ = {ReferenceModel::kQueued, Clause::kB1};
      } else if (was_.flight == ReferenceModel::kQueued) {
        ExpectLost();
      }
      if (flight_.value == ReferenceModel::kNone && is_.AheadPermitted()) {
        flight_ = {ReferenceModel::kQueued, Clause::kF7};
      }
    }
    ExpectChanges();
  }

  void JudgeInvalidate() {
    const bool acts = was_.Held() && input_.number == 0;
    Rule(Clause::kA1, step_.acted == acts, "only the current generation, once");
    if (!acts) return;
    withdraw_ = {true, Clause::kA1};
    events_.push_back(EventKind::kTokenInvalidated);
    Rule(Clause::kA5,
         is_.failures ==
             was_.failures + (was_.Young() ? was_.failures_before + 1 : 0),
         "a rejected young token undoes the reset of the failure count");
    const bool early = is_.t < is_.NotBefore();
    const bool barred = early && (was_.Young() || is_.Fatal());
    const Clause clause = was_.Young() ? Clause::kA5 : Clause::kA2;
    if (KeepsAttempt()) {
      flight_ = {ReferenceModel::kRunning, Clause::kA2};
      ExpectChanges();
      return;
    }
    if (was_.flight == ReferenceModel::kRunning) ExpectAbandoned(Clause::kA2);
    if (was_.flight == ReferenceModel::kNone) {
      if (is_.AheadPermitted())
        flight_ = {ReferenceModel::kQueued, Clause::kF7};
    } else if (barred || (early && was_.flight == ReferenceModel::kWaiting)) {
      if (is_.Exhausted()) {
        EndFlight(Clause::kB7);
      } else {
        BeginWait(clause);
      }
    } else {
      flight_ = {ReferenceModel::kQueued, clause};
      kept_ = was_.flight == ReferenceModel::kQueued;
    }
    ExpectChanges();
  }

  void JudgeReport() {
    const bool news =
        was_.Covers(RejectedGeneration()) && !was_.CurrentRejected();
    if (news) events_.push_back(EventKind::kTokenRejected);
    Rule(Clause::kA12, out_.submit == AttemptId::kNone, "it starts nothing");
  }

  void JudgeInstall() {
    Rule(Clause::kF9, step_.acted == (input_.ms > 0), "unless it has expired");
    if (input_.ms <= 0) return;
    ExpectPublished(Clause::kF9);
    ExpectChanges();
  }

  void JudgeReset() {
    if (was_.flight == ReferenceModel::kNone && is_.AheadPermitted()) {
      flight_ = {ReferenceModel::kQueued, Clause::kF7};
    }
    if (was_.flight == ReferenceModel::kWaiting && is_.t >= is_.NotBefore()) {
      flight_ = {ReferenceModel::kQueued, Clause::kB8};
    }
    ExpectChanges();
  }

  // ---- The comparison ----

  void Compare() {
    Rule(flight_, is_.flight, "the flight after the step");
    Rule(waiters_, out_.waiters, "what becomes of the waiters");
    Rule(publish_, out_.publish, "whether the token is published");
    Rule(republish_, out_.republish_degraded, "whether it is served degraded");
    Rule(withdraw_, out_.withdraw, "whether the token is withdrawn");
    Rule(extended_, out_.republish_extended, "whether its life is extended");
    Rule(rejecting_waiters_, out_.rejecting_waiters,
         "what becomes of those who rejected the token");
    Rule(abandoned_, out_.abandon, "which call is abandoned");
    const bool looks =
        input_.kind == Input::kRead || input_.kind == Input::kWake ||
        input_.kind == Input::kWakeLost || input_.kind == Input::kReset ||
        (input_.kind == Input::kInvalidate && step_.acted);
    Rule(Clause::kR12, out_.let_go == (looks && was_.LetGoDue()),
         "a token that can never be served again is let go");
    // F1: whether the step has queued a new attempt, which it must submit.
    const bool fresh =
        is_.flight == ReferenceModel::kQueued &&
        (was_.flight != ReferenceModel::kQueued || is_.queued != was_.queued);
    Rule(Clause::kF1, (out_.submit != AttemptId::kNone) == fresh,
         "one attempt is submitted when one is due");
    Rule(Clause::kF1,
         !fresh ||
             (out_.submit == is_.queued && out_.submit > was_.last_submitted),
         "it is a new one");
    Rule(Clause::kF1,
         is_.running.has_value() == (is_.flight == ReferenceModel::kRunning),
         "an attempt runs next to the flight");
    if (kept_)
      Rule(Clause::kA2, !fresh, "a queued attempt serves as the new one");
    // R7: which waiters fail without waiting for the next attempt.
    Rule(Clause::kR7,
         SinceStart(out_.fail_deadlines_before) ==
             (told_wait_ ? is_.NotBefore() : kLongAgo),
         "whose deadline lies before the next attempt");
    Rule(Clause::kR7, out_.fail_retries_below == (told_wait_ ? is_.failed : 0),
         "whose retries are spent");
    if (told_failure_) CompareFailure();
  }
  void CompareFailure() {
    const ReadFailure& failure = out_.failure;
    if (rejected_code_.has_value()) {
      Rule(Clause::kA9,
           failure.rejected && failure.cause.code() == *rejected_code_ &&
               SinceStart(failure.next_attempt_at) == is_.RejectedNotBefore(),
           "a rejecting read is told why, and when the next attempt may start");
      Rule(Clause::kB7, failure.fatal == is_.Fatal(),
           "an error says if it is fatal");
      return;
    }
    Rule(Clause::kA9, !failure.rejected, "the read did not reject the token");
    const absl::StatusCode cause =
        told_lost_                           ? absl::StatusCode::kUnavailable
        : is_.cause != absl::StatusCode::kOk ? is_.cause
        : is_.t < is_.row_asked_until        ? is_.row_cause
                                             : absl::StatusCode::kUnavailable;
    Rule(Clause::kB9,
         failure.cause.code() == cause && failure.failures == is_.failures &&
             SinceStart(failure.next_attempt_at) == is_.NotBefore(),
         "an error names the cause, the failures and the next attempt");
    Rule(Clause::kB9,
         CeilToMs(failure.next_attempt - kWall) == is_.told_next_wall,
         "every read is told the same time of the next attempt");
    Rule(Clause::kB7, failure.fatal == is_.Fatal(),
         "an error says if it is fatal");
  }
  void CompareEvents() {
    std::vector<EventKind> kinds;
    for (const Event& event : out_.events) {
      kinds.push_back(event.kind);
      if (event.kind == EventKind::kStateChanged) {
        Rule(Clause::kS1, event.freshness == is_.State(), "the new state");
      }
      // kAttemptAbandoned is sent before the step publishes a token, so it may
      // name the previous generation.
      if (event.kind != EventKind::kAttemptAbandoned) {
        Rule(Clause::kS1, event.generation == Generation(is_.generation),
             "the generation of an event");
      }
    }
    Rule(Clause::kS1, kinds == events_, "the events, in order");
  }

  void CompareState(const Instant& now) {
    const ReferenceModel& f = is_;
    Rule(Clause::kF2, machine_.generation() == Generation(f.generation),
         "the generation");
    Rule(Clause::kA3, machine_.invalidated() == Generation(f.invalidated),
         "the withdrawn generation");
    Rule(Clause::kA11, machine_.same_since() == Generation(f.same_since),
         "since when the bytes have been the same");
    Rule(Clause::kA13, machine_.current_rejected() == f.CurrentRejected(),
         "whether the token counts as rejected");
    Rule(Clause::kA13,
         SinceStart(machine_.next_start_by_rejection(now)) ==
             f.RejectedNotBefore(),
         "when a rejection may start an attempt");
    if (f.generation > 0) {
      Rule(Clause::kF3,
           machine_.expires_at() ==
               (f.life == kNever
                    ? absl::InfiniteFuture()
                    : kWall + FromMs(f.born + f.born_wall_step + f.life)),
           "when the token expires");
    }
    Rule(f.wall_step != f.born_wall_step ? Clause::kR6 : Clause::kR4,
         machine_.freshness(now) == f.State(), "fresh, stale or expired");
    Rule(Clause::kB10, machine_.servable(now) == (f.Usable() || f.Grace()),
         "whether the token may be served");
    Rule(Clause::kB10,
         machine_.published_servable(now) ==
                 (f.Usable() || (f.degraded && f.Grace())) &&
             machine_.published_servable(now) !=
                 machine_.published_until(now).Reached(now),
         "whether what is published may be served");
    Rule(Clause::kB6, machine_.failures() == f.failures, "failures in a row");
    Rule(Clause::kB9, machine_.last_cause().code() == f.cause,
         "the last cause");
    Rule(Clause::kB7, machine_.exhausted(now) == f.Exhausted(), "exhausted");
    Rule(Clause::kB7, machine_.fatal(now) == f.Fatal(), "fatal");
    Rule(Clause::kB1, SinceStart(machine_.next_start(now)) == f.NotBefore(),
         "the next permitted start");
    const DualDeadline edge = machine_.check_at(now);
    const ReferenceModel::Check check = f.CheckAt();
    Rule(Clause::kR2, SinceStart(edge.boot) == check.boot,
         "when a read has to ask");
    Rule(Clause::kR6, CeilToMs(edge.wall - kWall) == check.wall,
         "when a read has to ask, by the wall clock");
    Rule(Clause::kF6, SinceStart(machine_.wake_at(now)) == f.WakeAt(),
         "when a timer has to fire");
  }

  const ReferenceModel& was_;
  const Input& input_;
  const Step& step_;
  const Decisions& out_;
  const RefreshMachine& machine_;
  ClauseCounts* counts_;
  ReferenceModel is_;
  // The call that the input answers.
  std::optional<ReferenceModel::Call> call_;
  std::string broken_;

  // What the contract requires of the step.
  Due<ReferenceModel::Flight> flight_;
  Due<Waiters> waiters_ = {Waiters::kKeep, Clause::kS1};
  Due<bool> publish_ = {false, Clause::kS1};
  Due<bool> republish_ = {false, Clause::kS1};
  Due<bool> withdraw_ = {false, Clause::kS1};
  Due<bool> extended_ = {false, Clause::kA11};
  Due<std::optional<Waiters>> rejecting_waiters_ = {std::nullopt, Clause::kA8};
  Due<absl::InlinedVector<AttemptId, 1>> abandoned_ = {{}, Clause::kS1};
  std::vector<EventKind> events_;
  // Whether `Decisions::fail_deadlines_before` and `fail_retries_below` must be
  // set.
  bool told_wait_ = false;
  // Whether `Decisions::failure` must be set.
  bool told_failure_ = false;
  // Whether `Decisions::failure` must blame the executor (E2).
  bool told_lost_ = false;
  // The code that `Decisions::failure` must have if its `rejected` must be
  // true; nullopt if `rejected` must be false.
  std::optional<absl::StatusCode> rejected_code_;
  bool kept_ = false;  // Whether the queued attempt must be kept.
};

CheckedMachine::CheckedMachine(const ModelPolicy* rules, ClauseCounts* counts)
    : counts_(counts), machine_(rules->policy, /*seed=*/1) {
  facts_.rules = rules;
}

Instant CheckedMachine::Now() const {
  return {kWall + FromMs(facts_.t + facts_.wall_step),
          kBoot + FromMs(facts_.t)};
}

void CheckedMachine::Perform(const MachineInput& input, Step& step) {
  step.input = input;
  const Instant now = Now();
  Decisions& out = step.out;
  switch (input.kind) {
    case Input::kTime:
    case Input::kWallStep:
      break;
    case Input::kRead:
      step.answer = machine_.OnRead(
          now,
          {input.ms == kNever ? BootTime::InfiniteFuture()
                              : now.boot + FromMs(input.ms),
           input.number < 0 ? std::nullopt : std::make_optional(input.number),
           Generation(RejectedBy(input, facts_))},
          out);
      break;
    case Input::kStart:
      step.start = machine_.OnAttemptStart(now, input.id, out);
      break;
    case Input::kSucceed: {
      std::optional<Generation> same_as;
      if (input.same_as) {
        same_as = Generation(facts_.invalidated > 0
                                 ? facts_.invalidated
                                 : std::max<uint64_t>(facts_.generation, 1));
      }
      const absl::Duration life = FromMs(input.ms);
      machine_.OnAttemptSuccess(
          now, input.id,
          (input.relative ? Expiry::In(life) : Expiry::At(now.wall + life))
              .WithRefreshIn(FromMs(input.refresh_in)),
          same_as, out);
      break;
    }
    case Input::kFail: {
      const auto kind = static_cast<FailureClass>(input.number);
      std::optional<absl::Duration> retry_after;
      if (input.ms >= 0) retry_after = FromMs(input.ms);
      machine_.OnAttemptFailure(now, input.id,
                                {StatusOf(kind), kind, retry_after}, out);
      break;
    }
    case Input::kLost:
      machine_.OnAttemptLost(now, input.id, out);
      break;
    case Input::kWake:
      machine_.OnWake(now, out);
      break;
    case Input::kWakeLost:
      machine_.OnWakeLost(now, out);
      break;
    case Input::kInvalidate:
      step.acted = machine_.OnInvalidate(
          now, Generation(facts_.generation - input.number), out);
      break;
    case Input::kReport:
      machine_.OnReportRejected(
          now, Generation(facts_.generation - input.number), out);
      break;
    case Input::kInstall:
      step.acted = machine_.OnInstall(
          now,
          (input.relative ? Expiry::In(FromMs(input.ms))
                          : Expiry::At(now.wall + FromMs(input.ms)))
              .WithRefreshIn(FromMs(input.refresh_in)),
          out);
      break;
    case Input::kReset:
      machine_.OnReset(now, out);
      break;
    case Input::kFork:
      machine_.OnFork();
      break;
  }
}

// Checks that reads before `out.fails_until` get the failure in `out` and cause
// nothing, even if the wall clock is set. Returns an empty string, or what is
// broken.
std::string CheckedMachine::CheckFailsUntil(const Decisions& out) const {
  const BootTime until =
      std::min(out.fails_until, Now().boot + absl::Hours(1'000'000));
  const absl::Duration longest = until - Now().boot - absl::Nanoseconds(1);
  if (longest < absl::ZeroDuration()) return "";
  for (const absl::Duration passed : {absl::ZeroDuration(), longest}) {
    for (const int hours : {-1, 0, 1}) {
      const Instant then = {Now().wall + passed + absl::Hours(hours),
                            Now().boot + passed};
      for (const int retries : {0, 100}) {
        RefreshMachine later(machine_);
        Decisions rest;
        const auto answer = later.OnRead(
            then, {BootTime::InfiniteFuture(), retries, Generation()}, rest);
        if (answer != RefreshMachine::ReadAnswer::kFail ||
            rest.failure.cause != out.failure.cause ||
            rest.failure.failures != out.failure.failures ||
            rest.failure.next_attempt_at != out.failure.next_attempt_at ||
            rest.failure.next_attempt != out.failure.next_attempt ||
            rest.failure.fatal != out.failure.fatal || rest.failure.rejected ||
            rest.submit != AttemptId::kNone || rest.let_go ||
            rest.waiters != Waiters::kKeep || !rest.events.empty()) {
          return "B5: a read gets another outcome before `fails_until`";
        }
      }
    }
  }
  return "";
}

std::string CheckedMachine::ApplyOne(const MachineInput& input, Step& step) {
  Perform(input, step);
  if (std::string broken = CheckFailsUntil(step.out); !broken.empty()) {
    return broken;
  }
  ReferenceModel was = facts_;
  if (input.kind != Input::kTime && input.kind != Input::kWallStep &&
      input.kind != Input::kFork) {
    was.PassTime();
  }
  StepChecker judge(was, step, machine_, counts_);
  const ReferenceModel is = judge.Observe();
  std::string broken = judge.Verdict(Now());
  facts_ = is;
  return broken;
}

// Applies a wake and then `input`, and checks that `input` alone would have the
// same effect. Called if a timer is due but has not fired.
std::string CheckedMachine::ApplyLate(const MachineInput& input) {
  CheckedMachine late(*this);
  Step whole, wake, rest;
  late.Perform(input, whole);
  std::string broken = ApplyOne(MachineInput(), wake);
  if (broken.empty()) broken = ApplyOne(input, rest);
  // A reset is not compared, because it may have another effect alone. It then
  // clears the failures before it counts the failure of an overdue attempt. A
  // reset after the wake clears that failure too.
  if (!broken.empty() || input.kind == Input::kReset) return broken;
  // `a` is what the wake decided, `b` what `input` decided after the wake, and
  // `c` what `input` alone decided.
  const auto same = [](auto a, auto b, auto c, auto neutral) {
    return c == (b == neutral ? a : b);
  };
  absl::InlinedVector<AttemptId, 1> abandoned = wake.out.abandon;
  abandoned.insert(abandoned.end(), rest.out.abandon.begin(),
                   rest.out.abandon.end());
  const Instant now = Now();
  const RefreshMachine& a = machine_;
  const RefreshMachine& b = late.machine_;
  if (whole.answer != rest.answer || whole.acted != rest.acted ||
      abandoned != whole.out.abandon ||
      !same(wake.out.submit, rest.out.submit, whole.out.submit,
            AttemptId::kNone) ||
      !same(wake.out.waiters, rest.out.waiters, whole.out.waiters,
            Waiters::kKeep) ||
      whole.out.withdraw != rest.out.withdraw ||
      whole.out.republish_degraded != rest.out.republish_degraded ||
      !same(wake.out.rejecting_waiters, rest.out.rejecting_waiters,
            whole.out.rejecting_waiters, std::optional<Waiters>()) ||
      a.next_start_by_rejection(now) != b.next_start_by_rejection(now) ||
      a.current_rejected() != b.current_rejected() ||
      a.queued() != b.queued() || a.waiting() != b.waiting() ||
      a.refreshing() != b.refreshing() || a.failures() != b.failures() ||
      a.invalidated() != b.invalidated() ||
      a.next_start(now) != b.next_start(now) ||
      a.wake_at(now) != b.wake_at(now) ||
      a.published_servable(now) != b.published_servable(now)) {
    return "F6: a step that comes after a timer's moment is not a wake and "
           "then the step";
  }
  return "";
}

std::string CheckedMachine::Apply(const MachineInput& input) {
  switch (input.kind) {
    case Input::kTime:
      facts_.t += input.ms;
      break;
    case Input::kWallStep:
      facts_.wall_step += input.ms;
      break;
    case Input::kRead:
    case Input::kWakeLost:
    case Input::kReset:
    case Input::kInvalidate:
      if (facts_.Overdue() && (input.kind != Input::kInvalidate ||
                               (facts_.Held() && input.number == 0))) {
        return ApplyLate(input);
      }
      break;
    default:
      break;
  }
  Step step;
  return ApplyOne(input, step);
}

std::string CheckedMachine::CheckRecovers() const {
  CheckedMachine way(*this);
  way.counts_ = nullptr;
  const auto apply = [&way](const MachineInput& input) {
    return way.Apply(input);
  };
  std::string broken;
  for (int tries = 0; tries < 4 && broken.empty(); ++tries) {
    broken = apply({Input::kTime, {}, 1'000'000});
    if (broken.empty() && way.facts_.Fatal()) broken = apply({Input::kReset});
    if (broken.empty()) broken = apply({Input::kRead, {}, kNever, -1});
    if (way.facts_.Usable()) break;
    if (broken.empty()) broken = apply({Input::kStart, way.facts_.queued});
    if (broken.empty() && way.facts_.running.has_value()) {
      broken = apply({Input::kSucceed, way.facts_.running->id, 100'000});
    }
  }
  if (!broken.empty()) return absl::StrCat("while it recovers, ", broken);
  if (counts_ != nullptr) ++(*counts_)[static_cast<int>(Clause::kB8)];
  return way.facts_.Usable() ? "" : "B8: it does not recover";
}

}  // namespace internal
}  // namespace refreshable
