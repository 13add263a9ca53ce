// SPDX-License-Identifier: Apache-2.0
//
// RefreshMachine: every rule of when a token is refreshed, as pure values.

#ifndef REFRESHABLE_REFRESH_MACHINE_H_
#define REFRESHABLE_REFRESH_MACHINE_H_

#include <cstdint>
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
#include "refreshable/policy.h"
#include "refreshable/rejection_row.h"

namespace refreshable {
namespace internal {

// Names one attempt, for the life of its machine.
enum class AttemptId : uint64_t { kNone = 0 };

// The end of an attempt that brought no token.
struct Failure {
  absl::Status status;
  FailureClass kind = FailureClass::kPermanent;
  // What the server asked for, if it did.
  std::optional<absl::Duration> retry_after;
};

// What a read without a usable token is told.
struct ReadFailure {
  absl::Status cause;
  int failures = 0;
  // Since boot; infinite if nothing will be attempted.
  absl::Duration next_attempt_at;
  // The same by the wall clock, as it was when that time last changed: every
  // read is told the same, whatever becomes of the clock.
  absl::Time next_attempt = absl::InfiniteFuture();
  bool fatal = false;
  // The read rejected the token that is held; others may still be served it.
  bool rejected = false;
};

// A moment on either clock, whichever comes first.
struct Edge {
  absl::Time wall = absl::InfiniteFuture();
  absl::Duration since_boot = absl::InfiniteDuration();

  bool Reached(const Instant& now) const {
    return now.wall >= wall || now.since_boot >= since_boot;
  }
};

// What the holder of the machine has to do after an event. Each field says one
// thing; what is not set asks for nothing.
struct Decisions {
  // Hand this attempt to the executor.
  AttemptId submit = AttemptId::kNone;
  // Tell these calls of the source that they are no longer waited for.
  absl::InlinedVector<AttemptId, 1> abandon;
  // Publish the token that came with the event, under `generation()`.
  bool publish = false;
  // Publish the present token once more, marked degraded.
  bool republish_degraded = false;
  // Publish the present token once more, with its new `expires_at()`.
  bool republish_extended = false;
  // Publish nothing in place of the present token.
  bool withdraw = false;
  // The same, and forget the present token: it can never be served again.
  bool let_go = false;

  enum class Waiters { kKeep, kServe, kFail };
  // All who wait for the refresh: they stay, may read again, or get `failure`.
  Waiters waiters = Waiters::kKeep;
  // With kKeep: those who must not wait for the next attempt get `failure` all
  // the same, be it that their deadline lies before this (since boot) ...
  absl::Duration fail_deadlines_before = -absl::InfiniteDuration();
  // ... or that they asked for fewer retries than this.
  int fail_retries_below = 0;
  // If set, this and not `waiters` is what becomes of those whose request
  // `rejects` the present token.
  std::optional<Waiters> rejected_waiters;
  ReadFailure failure;

  absl::InlinedVector<Event, 4> events;
};

// One read that the published token could not answer.
struct ReadRequest {
  // Since boot.
  absl::Duration deadline = absl::InfiniteDuration();
  // Instead of `RetryPolicy::max_retries`.
  std::optional<int> max_retries;
  // A server rejected this generation: the read is for a later one. 0: none.
  Generation rejected;
};

// What an attempt is told when it starts.
struct AttemptStart {
  RefreshReason reason = RefreshReason::kFirst;
  int number = 1;  // Within its refresh.
  Generation rejected;
};

// The state of one credential: what is held and until when, the one refresh in
// flight, failures and when the next attempt may start. Events go in with the
// present moment, decisions come out; then `check_at` and `wake_at` say when to
// come back. No token, thread, lock, callback or clock: time is a value passed
// in. Thread-compatible.
//
// A *flight* is one refresh from its first attempt to its end; it is in the
// *foreground* once somebody waits for it. An attempt is submitted, then
// started, then succeeds or fails, or is abandoned.
class RefreshMachine {
 public:
  // Requires: Validate(policy).ok(). The seed drives the jitter, nothing else.
  RefreshMachine(const RefreshPolicy& policy, uint64_t seed);

  // ---- Events ----

  enum class ReadAnswer {
    kServe,  // The token that is published (perhaps by these decisions).
    kWait,   // Join the waiters; `Decisions::waiters` will speak of it.
    kFail,   // Nothing to wait for: `Decisions::failure`.
  };
  ReadAnswer OnRead(const Instant& now, const ReadRequest& request,
                    Decisions& out);

  // Called when a submitted attempt is about to run. Returns nullopt if the
  // source must not be called: the attempt was superseded, was not started in
  // time, or too many calls have not returned (the attempt has then failed).
  std::optional<AttemptStart> OnAttemptStart(const Instant& now, AttemptId id,
                                             Decisions& out);

  // A call of the source brought a token. `same_as` is the generation that it
  // equals, if any: the one held, or the one withdrawn and not replaced. The
  // token is published iff `out.publish`.
  void OnAttemptSuccess(const Instant& now, AttemptId id, const Expiry& expiry,
                        std::optional<Generation> same_as, Decisions& out);

  void OnAttemptFailure(const Instant& now, AttemptId id,
                        const Failure& failure, Decisions& out);

  // The executor refused a submitted attempt, or dropped it.
  void OnAttemptLost(const Instant& now, AttemptId id, Decisions& out);

  // `wake_at()` has come.
  void OnWake(const Instant& now, Decisions& out);

  // The executor refused a timer, or dropped it: nobody will call OnWake.
  void OnWakeLost(const Instant& now, Decisions& out);

  // False: `generation` is not the one held, nothing changes.
  bool OnInvalidate(const Instant& now, Generation generation, Decisions& out);

  // A server rejected `generation`. Starts nothing.
  void OnReportRejected(const Instant& now, Generation generation,
                        Decisions& out);

  // False: the token has expired already, nothing changes.
  bool OnInstall(const Instant& now, const Expiry& expiry, Decisions& out);

  void OnReset(const Instant& now, Decisions& out);

  // This is a forked process: whatever was submitted or called before belongs
  // to the other one. The flight ends, counting as no failure. If `seed` is
  // set, jitter is drawn anew: where a token or a wait of the parent's is in
  // effect, too.
  void OnFork(std::optional<uint64_t> seed = std::nullopt);

  // ---- What is known between events ----

  // The first moment at which a read must come to OnRead again; until then the
  // published token may be handed out. The wall part needs no timer if each
  // read looks at the wall clock; the since-boot part is included in wake_at().
  Edge check_at(const Instant& now) const;

  // When to call OnWake, since boot; infinite: never.
  absl::Duration wake_at(const Instant& now) const;

  Freshness freshness(const Instant& now) const;
  // The token may be handed out: it is fresh, stale, or served degraded.
  bool servable(const Instant& now) const {
    return Usable(now) || Degraded(now);
  }
  // What is published now may be handed out as it is.
  bool published_servable(const Instant& now) const {
    return Usable(now) || (degraded_published_ && Degraded(now));
  }
  // Whether `request` must not be answered with the token last published.
  bool rejects(const ReadRequest& request) const {
    return row_.Covers(request.rejected);
  }
  // A read with this request would be handed a token at once.
  bool serves(const Instant& now, const ReadRequest& request) const {
    return servable(now) && !rejects(request);
  }
  // The one last published.
  Generation generation() const { return generation_; }
  // The earliest generation since which the token's bytes have been the same.
  Generation same_since() const { return row_.same_since(); }
  // A server rejected the token last published.
  bool current_rejected() const { return row_.current_rejected(); }
  // The one that was invalidated and not replaced yet, if any.
  Generation rejected() const { return rejected_; }
  // Of the token last published; infinite if it never expires.
  absl::Time expires_at() const { return expiry_.wall; }
  // The attempt that was submitted and has not started, if any.
  AttemptId queued() const {
    return phase_ == Phase::kQueued ? attempt_ : AttemptId::kNone;
  }
  bool refreshing() const { return phase_ != Phase::kIdle; }
  // Between two attempts of a refresh: only OnWake leads on.
  bool waiting() const { return phase_ == Phase::kWaiting; }
  int failures() const { return failures_; }
  const absl::Status& last_cause() const { return last_cause_; }
  bool exhausted(const Instant& now) const;
  bool fatal(const Instant& now) const {
    return exhausted(now) && policy_.retry.on_exhausted == OnExhausted::kFatal;
  }
  // The next permitted start of an attempt, since boot; infinite if fatal.
  absl::Duration next_start(const Instant& now) const;
  // The same for an attempt that a rejection asks for.
  absl::Duration next_rejected_start(const Instant& now) const;

 private:
  enum class Phase {
    kIdle,     // No flight.
    kWaiting,  // Between attempts; the next is due at `due_`.
    kQueued,   // `attempt_` was submitted.
    kRunning,  // `attempt_` has started.
  };
  struct Call {
    AttemptId id;
    uint64_t epoch;
    absl::Duration started_at;
    Generation told;            // That this generation was rejected, or 0.
    bool by_rejection = false;  // It is an attempt of the row.
  };

  bool Usable(const Instant& now) const {
    return held_ && !usable_until_.Reached(now);
  }
  bool Degraded(const Instant& now) const;
  absl::Duration Backoff(int failures, absl::Duration max);
  absl::Duration RowBackoff(int attempts);
  void DrawWaits();
  absl::Duration Cooldown(const Instant& now) const;
  absl::Duration call_again_at() const;
  double Uniform();
  absl::Duration let_go_at() const;

  void Begin(const Instant& now);
  void PromoteIfUnservable(const Instant& now);
  void Advance(const Instant& now, Decisions& out);
  ReadAnswer OnRejectedRead(const Instant& now, const ReadRequest& request,
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
  void Wait(const Instant& now, Decisions& out);
  void FailAttempt(const Instant& now, const Failure& failure, Decisions& out);
  void FailRejectedAttempt(const Instant& now, const Failure& failure,
                           Decisions& out);
  void EndFlight(const Instant& now, const absl::Status& cause, Decisions& out);
  void Publish(const Instant& now, absl::Duration lifetime, bool from_source,
               bool same_token, Decisions& out);
  void KeepUnchanged(const Instant& now, absl::Duration lifetime,
                     Decisions& out);
  void SetEdges(const Instant& now, absl::Duration lifetime);
  void OnAnswer(EventKind kind, Decisions& out);
  void NoteChanges(const Instant& now, Decisions& out);
  static absl::Time Told(const Instant& now, absl::Duration at, Edge& told);
  ReadFailure MakeFailure(const Instant& now, const absl::Status& cause);
  ReadFailure MakeRejectedFailure(const Instant& now,
                                  const absl::Status& cause);
  Event MakeEvent(EventKind kind) const;

  const RefreshPolicy policy_;
  uint64_t random_;

  // The token. `epoch_` rises with every publication and invalidation: a call
  // that was started under another epoch is of no use any more.
  Generation generation_;
  uint64_t epoch_ = 0;
  bool held_ = false;
  bool degraded_published_ = false;
  bool let_go_ = false;  // `Decisions::let_go` was said of it.
  Edge stale_at_;
  // How much earlier than the window's start `stale_at_` is, and may be.
  absl::Duration stale_jitter_;
  absl::Duration max_stale_jitter_;
  Edge usable_until_;
  Edge expiry_;
  absl::Duration young_until_ = -absl::InfiniteDuration();
  int failures_before_ = 0;  // This publication.
  int excused_before_ = 0;   // The same for `excused_`.
  Generation rejected_;

  // The flight.
  Phase phase_ = Phase::kIdle;
  bool foreground_ = false;
  int budget_ = 0;    // Retries.
  int attempts_ = 0;  // That have failed, in this flight.
  absl::Duration due_ = absl::InfiniteDuration();
  AttemptId attempt_ = AttemptId::kNone;
  uint64_t last_attempt_ = 0;
  // The executor must have started `attempt_` by then.
  absl::Duration queued_until_ = absl::InfiniteDuration();
  Call running_{};
  absl::Duration attempt_deadline_ = absl::InfiniteDuration();
  // Calls that are no longer waited for and have not returned, how many calls
  // were made while those were too many, none having returned since, and when
  // the last call was made.
  absl::InlinedVector<Call, 2> abandoned_;
  int calls_beyond_ = 0;
  absl::Duration last_call_ = -absl::InfiniteDuration();

  // Rejections. The flight was started by one; a read that rejected the token
  // waits for it; its next or present attempt is told that this was rejected.
  RejectionRow row_;
  bool by_rejection_ = false;
  bool rejected_waits_ = false;
  Generation told_;
  // The failure of the row's last attempt, OK if it did not fail, and until
  // when the server asked to be left alone then.
  absl::Status rejection_cause_;
  absl::Duration rejection_retry_after_ = -absl::InfiniteDuration();

  // Failures, and when the next attempt may start (since boot).
  int failures_ = 0;
  // How many of `failures_` do not count towards exhaustion, because the server
  // asked for a shorter wait than the computed one.
  int excused_ = 0;
  absl::Status last_cause_;
  absl::Duration last_start_ = -absl::InfiniteDuration();
  absl::Duration start_before_ = -absl::InfiniteDuration();
  absl::Duration last_end_ = -absl::InfiniteDuration();
  absl::Duration backoff_until_ = -absl::InfiniteDuration();
  // The time between the starts of the last attempt and of a probe.
  absl::Duration probe_wait_;
  std::optional<absl::Duration> retry_after_until_;
  absl::Duration cooldown_until_ = -absl::InfiniteDuration();
  bool interval_exempt_ = false;
  // After an attempt that the executor lost no timer asks for another before
  // this, lest timer and refusal chase each other. Reads may.
  absl::Duration lost_until_ = -absl::InfiniteDuration();

  // The next attempt's time, as reads were told last.
  Edge told_next_;
  Edge told_next_rejected_;  // Reads that rejected the token.
  // What observers were told last.
  Freshness told_freshness_ = Freshness::kExpired;
  bool told_exhausted_ = false;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REFRESH_MACHINE_H_
