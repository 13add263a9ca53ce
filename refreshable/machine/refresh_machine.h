// SPDX-License-Identifier: Apache-2.0
//
// RefreshMachine: every rule of refreshing, without clock, thread or lock.

#ifndef REFRESHABLE_MACHINE_REFRESH_MACHINE_H_
#define REFRESHABLE_MACHINE_REFRESH_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/internal/copied_ptr.h"
#include "refreshable/machine/dual_deadline.h"
#include "refreshable/machine/jitter.h"
#include "refreshable/machine/rejection_row.h"
#include "refreshable/machine/retry_schedule.h"
#include "refreshable/machine/token_lifetime.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

// Names one attempt. Unique within a machine.
enum class AttemptId : uint64_t { kNone = 0 };

struct Failure {
  absl::Status status;
  FailureClass kind = FailureClass::kPermanent;
  // Nullopt if the server asked for no wait.
  std::optional<absl::Duration> retry_after;
};

// The error of a read that gets no token.
struct ReadFailure {
  absl::Status cause;
  int failures = 0;  // The number of failures in a row.
  // When the next attempt may start. If `rejected` is set, this is when a
  // rejection may start it. If `fatal` is set, this is the infinite future.
  BootTime next_attempt_at;
  // `next_attempt_at` as wall time. Until that moment, failures with the same
  // `next_attempt_at` report the same wall time, even if the wall clock is
  // stepped.
  absl::Time next_attempt = absl::InfiniteFuture();
  bool fatal = false;
  // Whether the read rejected the token that is held.
  bool rejected = false;
};

// What the owner of a RefreshMachine has to do after an input.
struct Decisions {
  // Hand this attempt to the executor.
  AttemptId submit = AttemptId::kNone;
  // Set the cancellation flags of these calls of the source.
  absl::InlinedVector<AttemptId, 1> abandon;
  // Publish the token that came with the input. Its generation is
  // `RefreshMachine::generation()`.
  bool publish = false;
  // Publish the present token once more, marked as degraded (B10).
  bool republish_degraded = false;
  // Publish the present token once more, not degraded. Its new expiry is
  // `RefreshMachine::expires_at()`.
  bool republish_extended = false;
  // Publish that there is no token, but keep the present token to compare later
  // tokens with it (`same_as` of OnAttemptSuccess).
  bool withdraw = false;
  // Publish that there is no token, and release the present token.
  bool let_go = false;

  enum class Waiters { kKeep, kServe, kFail };
  // What happens to the *waiters*, the reads that wait for the refresh: they
  // keep waiting (kKeep), read again (kServe), or get `failure` (kFail).
  Waiters waiters = Waiters::kKeep;
  // If `waiters` is kKeep, the waiters whose deadline is before this moment get
  // `failure`.
  BootTime fail_deadlines_before = BootTime::InfinitePast();
  // If `waiters` is kKeep, the waiters that permit fewer retries than this get
  // `failure`.
  int fail_retries_below = 0;
  // If set, this replaces `waiters` for the waiters that reject the present
  // token.
  std::optional<Waiters> rejecting_waiters;
  ReadFailure failure;
  // Before this moment the caller may fail every read with `failure` without
  // calling OnRead. After any input other than OnRead, it may no longer do so.
  BootTime fails_until = BootTime::InfinitePast();

  absl::InlinedVector<Event, 4> events;
};

struct ReadRequest {
  BootTime deadline = BootTime::InfiniteFuture();
  // If set, replaces `RetryPolicy::max_retries`.
  std::optional<int> max_retries;
  // If not 0, a server rejected this generation, and the read asks for a later
  // token.
  Generation rejected;
};

// What an attempt is told when it starts.
struct AttemptStart {
  RefreshReason reason = RefreshReason::kFirst;
  int number = 1;  // 1 + the number of failed attempts of its refresh.
  // The invalidated or rejected generation; 0 if none.
  Generation rejected;
};

// The state of one credential: which token is held and until when, the one
// refresh in flight, the failures, and when the next attempt may start. An
// *input* is a method that takes the present moment and fills in `Decisions`,
// which include *events* for the observer. After an input, `check_at` and
// `wake_at` tell when the machine must be called again. The machine has no
// token, thread, lock, callback or clock: time is a value passed in.
// Thread-compatible.
//
// A read is *rejecting* if it rejects the published token and that token may
// still be served to other reads. Every other read is *ordinary*. A *flight* is
// one refresh, which may take several attempts. A flight is in the *background*
// until an ordinary read waits for it, and in the *foreground* from then on. An
// attempt is *submitted* to the executor, and *started* when the executor runs
// it; then it succeeds, fails or is abandoned. The phases of a flight:
//
//   kIdle    -> kQueued   an attempt is wanted and permitted
//   kIdle    -> kWaiting  a read wants an attempt, which is permitted later
//   kWaiting -> kQueued   the attempt is due
//   kQueued  -> kRunning  the executor runs the attempt
//   kQueued  -> kIdle     the executor lost the attempt, or did not run it in
//                         time
//   kRunning -> kWaiting  the attempt failed, and a retry is left
//   kRunning -> kIdle     the attempt succeeded, or failed for good
//
// If too many earlier calls of the source have not returned, a queued attempt
// fails without a call. The flight then changes to kWaiting or kIdle.
//
// If the token is invalidated during a flight, the first of these rules that
// applies decides:
//
// 1. If a running attempt was told that a server rejected this token, the
//    attempt goes on. Rules 2 and 3 abandon a running attempt.
// 2. This rule applies if no attempt is permitted now and one of these holds:
//    the token was young (A5), the flight was in kWaiting, refreshing is fatal.
//    The flight changes to kIdle if refreshing is exhausted, else to kWaiting.
// 3. The flight changes to kQueued. An attempt that is already queued stays.
//
// The flight also ends when a token is installed, when the token of an
// abandoned attempt is accepted, when the executor loses the timer in kWaiting,
// and in the child of a fork().
class RefreshMachine {
 public:
  // Makes a machine without a token. The seed determines the jitter. Requires:
  // the policy is not null, and `Validate(policy).ok()`.
  RefreshMachine(std::shared_ptr<const RefreshPolicy> policy, uint64_t seed);
  RefreshMachine(const RefreshPolicy& policy, uint64_t seed);

  // ---- Inputs ----

  enum class ReadAnswer {
    kServe,  // Return the published token (after carrying out the decisions).
    kWait,   // Join the waiters (`Decisions::waiters`).
    kFail,   // Fail with `Decisions::failure`.
  };
  // Called for a read if `check_at` has been reached or the read rejects the
  // published token.
  ReadAnswer OnRead(const Instant& now, const ReadRequest& request,
                    Decisions& out);

  // Called when a submitted attempt is about to run. Returns nullopt if the
  // source must not be called: the attempt is no longer queued, or it fails
  // because too many earlier calls have not returned (F6).
  std::optional<AttemptStart> OnAttemptStart(const Instant& now, AttemptId id,
                                             Decisions& out);

  // Called when a call of the source has returned a token. If the caller knows
  // that this token equals the previous token (held or withdrawn), `same_as`
  // must be the previous token's generation; otherwise nullopt.
  void OnAttemptSuccess(const Instant& now, AttemptId id, const Expiry& expiry,
                        std::optional<Generation> same_as, Decisions& out);

  // Called when a call of the source has failed.
  void OnAttemptFailure(const Instant& now, AttemptId id,
                        const Failure& failure, Decisions& out);

  // Called when the executor has refused or dropped a submitted attempt.
  void OnAttemptLost(const Instant& now, AttemptId id, Decisions& out);

  // Called when the moment `wake_at()` has been reached.
  void OnWake(const Instant& now, Decisions& out);

  // Called when the executor has refused or dropped the timer for OnWake.
  void OnWakeLost(const Instant& now, Decisions& out);

  // Withdraws the token of `generation` and returns true. Returns false, and
  // decides nothing, if that token is not held.
  bool OnInvalidate(const Instant& now, Generation generation, Decisions& out);

  // Called when a server has rejected `generation`. Does not start an attempt.
  void OnReportRejected(const Instant& now, Generation generation,
                        Decisions& out);

  // Publishes a token that no attempt brought, ends the flight, and returns
  // true. Returns false, and decides nothing, if the token has expired already.
  bool OnInstall(const Instant& now, const Expiry& expiry, Decisions& out);

  // Forgets the failures, the rejections, the waits after both, the invalidated
  // generation, and the abandoned calls that have not returned.
  void OnReset(const Instant& now, Decisions& out);

  // Called in the child of a fork(). Ends the flight without a failure, because
  // its attempts belong to the parent. If `seed` is set, draws all jitter anew,
  // except that of a wait that a server asked for.
  void OnFork(std::optional<uint64_t> seed = std::nullopt);

  // ---- What is known between inputs ----

  const RefreshPolicy& policy() const { return *policy_; }

  // The moment from which each read must call OnRead. Before that moment, a
  // read that does not reject the published token may return that token without
  // calling OnRead. Reads need to compare only the wall time, because the
  // timer for wake_at() takes care of the boot time.
  DualDeadline check_at(const Instant& now) const;

  // When to call OnWake; the infinite future if never.
  BootTime wake_at(const Instant& now) const;

  Freshness freshness(const Instant& now) const;
  // Whether ordinary reads may get the token. A *degraded* token is no longer
  // usable, but still served because refreshes fail (B10).
  bool servable(const Instant& now) const {
    return Usable(now) || Degraded(now);
  }
  // Whether the token may be returned as last published. A token that has
  // become degraded must first be published again.
  bool published_servable(const Instant& now) const {
    return Usable(now) || (degraded_published_ && Degraded(now));
  }
  // The moment until which `published_servable` stays true without an input;
  // the present moment if it is false.
  DualDeadline published_until(const Instant& now) const;
  // Whether `request` rejects the token last published.
  bool rejects(const ReadRequest& request) const {
    return row_.Covers(request.rejected);
  }
  // Whether a read with this request may get the token.
  bool serves(const Instant& now, const ReadRequest& request) const {
    return servable(now) && !rejects(request);
  }
  // The generation last published.
  Generation generation() const { return row_.last(); }
  // The generation since which all published tokens have had the same bytes.
  Generation same_since() const { return row_.same_since(); }
  // Whether the token last published was rejected or invalidated.
  // `RejectionRow::End` makes this false again.
  bool current_rejected() const { return row_.current_rejected(); }
  // The generation invalidated since the last publication or OnReset; 0 if
  // none.
  Generation invalidated() const { return invalidated_; }
  // The expiry of the token last published; infinite if it never expires.
  absl::Time expires_at() const { return life_.expiry().wall; }
  // The attempt that is queued; kNone if none.
  AttemptId queued() const {
    return phase_ == Phase::kQueued ? flight_->attempt : AttemptId::kNone;
  }
  bool refreshing() const { return phase_ != Phase::kIdle; }
  // Whether a refresh waits until its next attempt is due.
  bool waiting() const { return phase_ == Phase::kWaiting; }
  // The number of failures in a row.
  int failures() const { return schedule_.failures(); }
  // The cause of the latest of the `failures()`; OK if there is none.
  absl::Status last_cause() const { return schedule_.last_cause(); }
  // Whether there were too many failures in a row and no usable token is left
  // (B7).
  bool exhausted(const Instant& now) const;
  // Whether refreshing has given up (`OnExhausted::kFatal`). B7 says when this
  // becomes false again.
  bool fatal(const Instant& now) const {
    return exhausted(now) && policy().retry.on_exhausted == OnExhausted::kFatal;
  }
  // When the next attempt may start, if the cooldown of background attempts is
  // ignored. The infinite future if fatal.
  BootTime next_start(const Instant& now) const;
  // When a rejection may start the next attempt; the infinite future if fatal.
  BootTime next_start_by_rejection(const Instant& now) const;

 private:
  enum class Phase : uint8_t {
    kIdle,     // There is no flight.
    kWaiting,  // The next attempt is due at `flight_->due`.
    kQueued,   // `flight_->attempt` was submitted.
    kRunning,  // `flight_->attempt` has started.
  };
  struct Call {
    AttemptId id;
    // The machine's `epoch_` when the attempt started, or when an Invalidate
    // last let it go on (A2). Unless it equals `epoch_` when the answer comes,
    // the answer is discarded.
    uint64_t epoch;
    BootTime started_at;
    // The rejected generation that the attempt was told of; 0 if none.
    Generation told_rejected;
    // Whether a rejection started the attempt.
    bool by_rejection = false;
  };

  class Input;

  struct Flight {
    // Whether an ordinary read has ever waited for the flight.
    bool foreground = false;
    // Whether a rejection started the flight, and the flight is still in the
    // background.
    bool by_rejection = false;
    // Whether a rejecting read has ever waited for the flight.
    bool rejecting_read_waits = false;
    int budget = 0;    // How many retries a foreground flight may make.
    int attempts = 0;  // The number of failed attempts.
    // In kWaiting: when the next attempt is to be submitted.
    BootTime due = BootTime::InfiniteFuture();
    AttemptId attempt = AttemptId::kNone;
    // By this time the executor must have started `attempt`.
    BootTime queued_until = BootTime::InfiniteFuture();
    Call running{};
    // By this time `running` must have returned.
    BootTime attempt_deadline = BootTime::InfiniteFuture();
    // When the attempt before `running` started.
    BootTime previous_start = BootTime::InfinitePast();
    // The rejected generation that attempts of the flight are told of; 0 if
    // none.
    Generation told_rejected;
  };

  // The calls that were abandoned and have not returned.
  struct Abandoned {
    absl::InlinedVector<Call, 2> calls;
    // How many calls were made although `max_abandoned_calls` calls had not
    // returned (F6). Any answer sets this to 0.
    int beyond = 0;
    // When the source was last called. Valid only while `calls` is not empty.
    BootTime last_call;
  };

  // When the next attempt may start, as MakeFailure (`next`) and
  // MakeRejectingReadFailure (`next_rejected`) last reported it.
  struct Reported {
    DualDeadline next;
    DualDeadline next_rejected;
  };

  // What a machine has to remember only if something has gone wrong.
  struct Trouble {
    Abandoned abandoned;
    Reported reported;
    // The status of the last failed attempt that a rejection started. OK if a
    // token has come since then, or OnReset was called.
    absl::Status rejection_cause;
    // No timer starts a flight before this time: an executor that refuses
    // attempts must not be asked without pause.
    BootTime lost_until = BootTime::InfinitePast();
  };

  bool Usable(const Instant& now) const { return held_ && life_.Usable(now); }
  bool Degraded(const Instant& now) const;
  absl::Duration RowBackoff(int attempts);
  BootTime call_again_at() const;

  void Begin(const Instant& now);
  void FreeUnused(const Instant& now);
  // Creates `*trouble_` if there is none.
  Trouble& trouble();
  void ForgetAbandoned();
  size_t abandoned() const {
    return trouble_ != nullptr ? trouble_->abandoned.calls.size() : 0;
  }
  absl::Status rejection_cause() const {
    return trouble_ != nullptr ? trouble_->rejection_cause : absl::OkStatus();
  }
  BootTime lost_until() const {
    return trouble_ != nullptr ? trouble_->lost_until
                               : BootTime::InfinitePast();
  }
  void PromoteIfUnservable(const Instant& now);
  void Advance(const Instant& now, Decisions& out);
  ReadAnswer OnRejectingRead(const Instant& now, const ReadRequest& request,
                             Decisions& out);
  void NoteRejection(Generation generation, Decisions& out);
  void StartFlight(const Instant& now, bool foreground, int budget,
                   Decisions& out);
  void MaybeStartBackground(const Instant& now, Decisions& out);
  void Submit(const Instant& now, Decisions& out);
  void LoseQueued(const Instant& now, const absl::Status& cause,
                  Decisions& out);
  void AbandonRunning(Decisions& out);
  bool TakeCall(AttemptId id, Call& call, bool& current);
  void EnterBackoff(const Instant& now, Decisions& out);
  void FailAttempt(const Instant& now, const Failure& failure, Decisions& out);
  void FailAttemptByRejection(const Instant& now, const Failure& failure,
                              Decisions& out);
  void EndFlight(const Instant& now, const absl::Status& cause, Decisions& out);
  void Publish(const Instant& now, const LifetimeLeft& left, bool from_source,
               bool same_token, Decisions& out);
  void KeepUnchanged(const Instant& now, const LifetimeLeft& left,
                     Decisions& out);
  void OnAnswer(EventKind kind, Decisions& out);
  void NoteChanges(const Instant& now, Decisions& out);
  static absl::Time ReportAsWall(const Instant& now, BootTime at,
                                 DualDeadline& reported);
  ReadFailure MakeFailure(const Instant& now, const absl::Status& cause);
  ReadFailure MakeRejectingReadFailure(const Instant& now,
                                       const absl::Status& cause);
  Event MakeEvent(EventKind kind) const;

  // Data that an idle machine does not need is behind pointers, because a
  // program may have very many machines.

  const std::shared_ptr<const RefreshPolicy> policy_;  // Not null.
  Jitter jitter_;

  // `epoch_` rises with every publication and invalidation.
  uint64_t epoch_ = 0;
  TokenLifetime life_;
  Generation invalidated_;
  bool held_ = false;
  bool degraded_published_ = false;
  bool let_go_ = false;  // Whether `Decisions::let_go` was set for the token.

  // What was last reported to the observer.
  bool told_exhausted_ = false;
  Freshness told_freshness_ = Freshness::kExpired;

  Phase phase_ = Phase::kIdle;
  uint64_t last_attempt_ = 0;
  // Not null during a flight. Null after the input that ends the flight.
  CopiedPtr<Flight> flight_;
  // Null until there is something to record. FreeUnused frees it, but never
  // after the executor has lost an attempt.
  CopiedPtr<Trouble> trouble_;

  RejectionRow row_;

  RetrySchedule schedule_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_REFRESH_MACHINE_H_
