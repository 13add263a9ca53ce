// SPDX-License-Identifier: Apache-2.0
//
// Refreshable: one credential, kept valid for every thread of a program.

#ifndef REFRESHABLE_REFRESHABLE_H_
#define REFRESHABLE_REFRESHABLE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/failure_class.h"
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/health.h"
#include "refreshable/internal/misuse.h"
#include "refreshable/internal/null_function.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/lease.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/observer.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/snapshot_cell.h"
#include "refreshable/shell/typed_shell.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {

namespace internal {
template <typename Answer, typename Token>
class AsyncCall;
}  // namespace internal

// Holds one token and keeps it valid. Reads hand out leases of the token. A
// stale token, which is old but usable, is refreshed in the background. By
// default, a read of an expired token waits for a refresh. At most one refresh
// is in flight, however many threads read. Failures are retried on the policy's
// schedule.
//
// Every published token has a generation, and generations only rise. An attempt
// that timed out may still bring a token. This late token is discarded if,
// after the timeout, a token was published or invalidated, or `Reset` was
// called.
//
//   refreshable::ThreadExecutor executor;
//   auto token = refreshable::Refreshable<std::string>::Create(
//       refreshable::BlockingSource<std::string>([] { return AskEndpoint(); }),
//       {&executor});
//   if (!token.ok()) return token.status();
//   absl::StatusOr<refreshable::Lease<std::string>> lease =
//       (*token)->Get(absl::Seconds(5));
//   if (!lease.ok()) return lease.status();
//   Send(request, lease->token());
//
// If a server answers 401, read again with `ReadOptions::rejected`, or use
// CallWithToken (call_with_token.h).
//
// `Token` must be move-constructible, and its destructor must not throw. Many
// threads read a token at the same time, and that must be safe.
//
// Thread-safe, except for construction and destruction. The executor must
// outlive the Refreshable. Leases and running calls of the source may outlive
// both. No user code, not even a token's destructor, is ever run under a lock
// of this library. The one exception is the executor's Clock (clock.h).
//
// Only `Get` waits for a refresh. But `Get`, `GetAsync`, `Invalidate`,
// `ReportRejected`, `Install` and `Reset` may call the observer, and `Install`
// calls `on_token_changed`. They return only after such a call has returned.
//
// Destruction: waiting reads end with CANCELLED. Callbacks of asynchronous
// reads run on the destroying thread before the destructor returns; a GetAsync
// made by such a callback is dropped. The destructor waits for threads that are
// inside a method of the executor on behalf of this object. It does not wait
// for the source, nor for user code on other threads. It may run inside
// `Fetch`, a callback, the observer or a function in `Options`, but not in a
// token's destructor. No call may be started concurrently with the destructor.
//
// fork(): the child can go on reading if the thread that called fork() was not
// inside this library, and if the executor works in the child. A running
// refresh stays with the parent; the child starts one when a read needs it.
// Earlier failures still count in the child. A child that was forked inside
// user code may only call exec or _exit. User code is `Fetch`, a callback, the
// observer or a function in `Options`. Children that are made without fork()
// are not supported.
//
// A signal handler may call neither this library nor fork().
//
// Running out of memory inside this library ends the program (std::terminate),
// except in three cases. `Create`, `Install` and `CallWithTokenAsync` may throw
// std::bad_alloc, and have then changed nothing. If there is no memory for a
// token that the source returned, the attempt fails. The library's executors
// refuse a task for which they have no memory.
template <typename Token>
class Refreshable {
  static_assert(std::is_nothrow_destructible_v<Token>,
                "a token's destructor must not throw");
  static_assert(std::is_move_constructible_v<Token>,
                "a token must be move-constructible");

 public:
  // Later versions only append fields, so fields may be given by position:
  // `{&executor, policy}`.
  struct Options {
    // Runs all tasks and timers, and tells the time. Not owned. Required.
    Executor* executor = nullptr;
    RefreshPolicy policy = {};
    // Receives every event. May be null.
    std::shared_ptr<Observer> observer = nullptr;
    // `on_token_changed`, `same_token` and `classify` are called without a
    // lock, on any thread, and perhaps on several threads at once. The
    // Refreshable's destructor destroys them and releases the observer. But
    // whatever is being called at that moment lives until the call has
    // returned.

    // Called after a token was published under a new generation, on the thread
    // on which the source answered or `Install` was called. Waiting readers are
    // woken after this function has returned, unless their deadlines pass while
    // it runs. Its calls may overlap; the token with the greater generation is
    // newer. The function may read the Refreshable. Its exceptions are ignored.
    // May be null.
    std::function<void(const Lease<Token>&)> on_token_changed = nullptr;
    // Returns whether the token published last and the one that the source has
    // just returned are the same. So the library notices if a rejected or
    // withdrawn token comes again. Not called if the Refreshable has already
    // released the token published last.
    //
    // If `same_token` is null, `operator==` is used. If Token has no
    // `operator==` (`TokenHasEquality`), or if the comparison throws, the
    // tokens are taken to be different.
    std::function<bool(const Token&, const Token&)> same_token = nullptr;
    // Decides how a failure of the source is treated. Also called for failures
    // that arrive after the attempt was abandoned. If null, `ClassifyFailure`
    // is used. If the function throws, the failure is permanent.
    std::function<FailureClass(const absl::Status&)> classify = nullptr;
    // Whether the error of a source that threw contains the exception's text
    // (`what()`), which may contain a secret.
    bool show_exception_text = false;
    // Seeds the jitter, for reproducible runs. If unset, a random seed is
    // drawn, and another one in the child of a fork().
    std::optional<uint64_t> jitter_seed = std::nullopt;
  };

  struct ReadOptions {
    // How long the read may wait. A read with a timeout of zero or less does
    // not wait, but still starts a refresh that is due.
    absl::Duration timeout = absl::InfiniteDuration();
    // Replaces `RetryPolicy::max_retries` for this read. If several reads wait
    // for one refresh, the largest of their values applies to the refresh. A
    // read with a smaller value fails after its own number of retries. Does not
    // change any wait between attempts. Negative values are treated as zero.
    std::optional<int> max_retries = std::nullopt;
    // If not 0, the generation of a token that a server rejected (401 or 403).
    // This makes the read a *rejecting read*, which asks for a later token. All
    // other reads still get the rejected token.
    //
    // A later token that can be served is returned at once. If there is none,
    // the read waits for the attempt that is queued or running. If no attempt
    // is in progress, but one is permitted now, the read starts it and waits.
    // Otherwise the read ends at once with UNAUTHENTICATED or, if refreshing
    // has given up (`IsFatal`), with FAILED_PRECONDITION. `GetRefreshError`
    // tells when the next attempt may start.
    //
    // If the attempt fails, the read ends with the code of the failure. If the
    // attempt brings the rejected token again, the read ends with
    // UNAUTHENTICATED. But if the source was not told of the rejection
    // (`FetchContext::rejected`), the read starts over in both cases.
    //
    // After a rejecting read has started an attempt, no rejecting read may
    // start another for a while. This pause grows with each such attempt, up to
    // `RefreshPolicy::max_rejection_backoff`. The pause is short again after a
    // token has become stale without having been rejected, and after `Reset`
    // and `Install`.
    //
    // The read is an ordinary read if it begins before this generation is
    // published, or when the rejected token can no longer be served to anyone.
    Generation rejected = {};
  };

  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;

  // Returns a Refreshable that has no token yet. Returns INVALID_ARGUMENT if
  // the source or the executor is null, or if the policy is invalid
  // (`Validate`).
  static absl::StatusOr<std::unique_ptr<Refreshable>> Create(
      std::shared_ptr<TokenSource<Token>> source, Options options) {
    if (source == nullptr) {
      return absl::InvalidArgumentError(
          "Refreshable: source is null, or made by BlockingSource of a "
          "function that is null or empty");
    }
    if (options.executor == nullptr) {
      return absl::InvalidArgumentError(
          "Refreshable: Options.executor is null");
    }
    const absl::Status valid = Validate(options.policy);
    if (!valid.ok()) return valid;
    internal::ShellConfig config;
    config.executor = options.executor;
    config.policy = options.policy;
    config.seed = options.jitter_seed;
    config.hooks.observer = std::move(options.observer);
    config.hooks.classify = std::move(options.classify);
    config.hooks.show_exception_text = options.show_exception_text;
    return std::unique_ptr<Refreshable>(
        new Refreshable(internal::RefPtr<TypedShell>(
            new TypedShell(std::move(config), std::move(source),
                           std::move(options.on_token_changed),
                           std::move(options.same_token)))));
  }

  Refreshable(const Refreshable&) = delete;
  Refreshable& operator=(const Refreshable&) = delete;
  ~Refreshable() { state_->Close(); }

  // Returns the current token, at once if it is fresh or stale. A read of a
  // stale token also starts a background refresh if the policy permits one now.
  // Without a usable token, the read joins the refresh in flight, or starts
  // one, and blocks. But while refreshes fail, an expired token that the policy
  // permits (`max_stale_on_error`) is returned at once.
  //
  // Errors:
  //
  //   DEADLINE_EXCEEDED: the timeout passed while the read waited
  //     (`IsReadTimeout`). The refresh goes on.
  //   The code of the last failed attempt: the refresh failed
  //     (`GetRefreshError`). While a refresh retries, a read waits for the
  //     retry. The read gets this error at once if the retry comes after its
  //     deadline or exceeds its `max_retries`. Once the refresh has failed,
  //     reads get this error at once, whatever their timeout, until the next
  //     attempt is permitted.
  //   UNAUTHENTICATED: the options reject the only token there is
  //     (`ReadOptions::rejected`), and no later token can be had now; or a
  //     token was invalidated soon after its publication (see `Invalidate`).
  //   UNAVAILABLE:
  //     - The executor refused or dropped the refresh, or did not start it
  //       within `RefreshPolicy::attempt_timeout`.
  //     - The minimum interval between attempts ends after the deadline.
  //     - The executor refused the timer for the end of that interval.
  //   FAILED_PRECONDITION:
  //     - Refreshing has given up (`IsFatal`, `OnExhausted::kFatal`).
  //     - The read would wait for itself. It was made on a thread that runs an
  //       attempt of this Refreshable, or in an observer or callback that a
  //       timer of this Refreshable runs. (On a ManualExecutor, a read inside a
  //       timer waits.)
  //     - On a ManualExecutor: nothing is pending that could end the wait, and
  //       the timeout is infinite.
  //   CANCELLED: the Refreshable was destroyed.
  //
  // Do not call Get in a timer task of your own, or in the observer of another
  // Refreshable; use TryGet or GetAsync there. A Get that blocks the executor's
  // timer thread delays every timer, and this is not detected.
  //
  // If a read on a thread of the Refreshable's executor would have to wait, it
  // runs the queued attempt itself. The read's timeout is then checked only
  // between attempts.
  //
  // On a ManualExecutor, a Get that waits runs pending steps. An exception that
  // escapes such a step leaves the Get.
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> Get(
      absl::Duration timeout = absl::InfiniteDuration()) {
    const internal::HazardRawHolder hold = cell_.TryLoad();
    if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return ToLease(hold);
    return Rewrap(GetSlow(timeout));
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> Get(
      const ReadOptions& options) {
    if (ABSL_PREDICT_TRUE(options.rejected == Generation())) {
      const internal::HazardRawHolder hold = cell_.TryLoad();
      if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return ToLease(hold);
    }
    return Rewrap(GetSlow(options));
  }

  // Like Get, but never blocks. The executor runs `callback` once with the
  // outcome of the read, and never inside this GetAsync. Returns an id for
  // `Cancel`. The callback may use and destroy the Refreshable; it must not
  // throw. A null or empty callback ends the program. Errors are those of Get,
  // and UNAVAILABLE if the executor refuses the timer for the timeout.
  //
  // If the executor refuses or drops the task that runs the callback, the
  // callback runs on the thread on which that happens. But if that happens
  // inside this GetAsync, the task is given to the executor again, at the
  // latest by a timer a second later.
  //
  // If the executor refuses that timer too, it is given the task again when the
  // source next answers, or by the next call of Get, GetAsync, Invalidate,
  // ReportRejected, Install or Reset. If the executor still refuses the task,
  // the callback runs inside that answer or call. If no answer or call comes,
  // the destructor runs the callback with CANCELLED.
  WaiterId GetAsync(absl::Duration timeout,
                    internal::FunctionArgument<Callback> callback) {
    ReadOptions options;
    options.timeout = timeout;
    return GetAsync(options, std::move(callback));
  }
  WaiterId GetAsync(const ReadOptions& options,
                    internal::FunctionArgument<Callback> callback) {
    if (callback.is_null()) {
      internal::DieOfMisuse("GetAsync: the callback is null");
    }
    const internal::RefPtr<TypedShell> state = state_;
    internal::ReadRequest request = Request(options);
    if (options.timeout < absl::InfiniteDuration()) {
      request.deadline = state->Now().boot + options.timeout;
    }
    // `clock()` ends the program if the executor has been destroyed.
    static_cast<void>(state->clock());
    internal::HazardHolder hold(cell_.TryLoad());
    if (hold.node() == nullptr) hold = cell_.Load();
    const bool served = Answers(options.rejected, hold);
    return state->ReadAsync(request, state->MakeAsyncRead(callback.Take()),
                            served);
  }

  // Cancels the read of a GetAsync. Returns true if this call cancelled the
  // read; its callback then never runs. Returns false if the callback has run
  // or is about to run, or if the read was cancelled before. The refresh goes
  // on.
  bool Cancel(WaiterId id) { return state_->Cancel(id); }

  // Returns the current token if it is usable, or if it has expired and is
  // being served nevertheless (`Lease::degraded`). Otherwise returns
  // UNAVAILABLE, with a message that names the state. Never waits for a refresh
  // and never starts one. A wrong wall clock does not make an expired token
  // usable. Takes a lock for a moment if no token is usable, or if the token is
  // about to expire.
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> TryGet() {
    const internal::HazardRawHolder hold =
        cell_.TryLoadUsable([this] { return BootClock(); });
    if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return ToLease(hold);
    return Rewrap(TryGetSlow());
  }

  // Withdraws the token of `generation`: no later read returns a lease of it.
  // Meant for a token that has leaked or is known to be revoked. If a server
  // merely answered 401, read with `ReadOptions::rejected` instead: the server
  // may be wrong, and all other calls would lose a good token.
  //
  // Returns true if this call withdrew the token; false if `generation` is not
  // the current generation, or was withdrawn before.
  //
  // A running attempt goes on if its source was told that `generation` was
  // rejected. Otherwise the attempt is abandoned. The refresh then makes a new
  // one, or may end if refreshing is exhausted (`OnExhausted`). If no refresh
  // is in flight, the next read or the timer of `RefreshPolicy::refresh_ahead`
  // starts one. A refresh fails if it brings the withdrawn token again, until
  // another token is published or `Reset` is called.
  //
  // If the token is withdrawn soon after its publication
  // (`RefreshPolicy::young_token_age`), that counts as a failure. If the
  // withdrawal leaves no refresh in flight, reads fail at once with
  // UNAUTHENTICATED until the next attempt is permitted. If this failure made
  // refreshing give up, they fail with a fatal error (`IsFatal`) instead.
  bool Invalidate(Generation generation) {
    const internal::RefPtr<TypedShell> state = state_;
    return state->Invalidate(generation);
  }

  // Records that a server rejected the token of `generation`, if that is the
  // current token. Does not start a refresh. A rejecting read makes this record
  // itself. Rejecting reads start attempts. The wait between these attempts
  // grows, up to a limit. It becomes short again when a token becomes stale
  // without such a record.
  void ReportRejected(Generation generation) {
    const internal::RefPtr<TypedShell> state = state_;
    state->ReportRejected(generation);
  }

  // Publishes a token obtained by other means, in place of the token that is
  // held or being fetched. All waiting reads get it, and all failures are
  // cleared. Returns the new token's generation, or INVALID_ARGUMENT if the
  // token has expired. If Token's move constructor throws, the exception
  // reaches the caller and nothing has changed.
  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    const internal::RefPtr<TypedShell> state = state_;
    return state->Install(std::move(credential));
  }

  // Forgets all failures, including exhaustion, a fatal error, and abandoned
  // calls of the source that have not been answered. Also forgets all
  // rejections, and which token was invalidated: the source may then return
  // that token. The next attempt is permitted `RefreshPolicy::min_interval`
  // after the start of the last one.
  void Reset() {
    const internal::RefPtr<TypedShell> state = state_;
    state->Reset();
  }

  // The executor's clock. Lives as long as the executor.
  const Clock& clock() const { return state_->clock(); }

  // Return the counters and the state at this moment, for metrics and health
  // checks. Each call takes a lock for a moment and waits for nothing else.
  Stats stats() const { return state_->stats(); }
  Health health() const { return state_->health(); }

 private:
  using TypedShell = internal::TypedShell<Token>;

  template <typename Answer, typename OtherToken>
  friend class internal::AsyncCall;

  explicit Refreshable(internal::RefPtr<TypedShell> state)
      : cell_(state->cell()), state_(std::move(state)) {}

  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> GetSlow(
      absl::Duration timeout) {
    ReadOptions options;
    options.timeout = timeout;
    return GetSlow(options);
  }

  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> GetSlow(
      const ReadOptions& options) {
    if (!cell_.HasNothing()) {
      internal::HazardHolder hold = cell_.Load();
      if (Answers(options.rejected, hold)) return Lease<Token>(std::move(hold));
      hold = cell_.Load(state_->Now().wall);
      if (Answers(options.rejected, hold)) return Lease<Token>(std::move(hold));
    }
    const internal::RefPtr<TypedShell> state =
        state_;  // Keeps the shell alive.
    return TypedShell::ToLease(state->Read(Request(options), options.timeout));
  }

  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> TryGetSlow() {
    internal::HazardHolder hold =
        cell_.LoadUsable([this] { return BootClock(); });
    if (hold.node() != nullptr) return Lease<Token>(std::move(hold));
    return TypedShell::ToLease(state_->TryRead());
  }

  CoarseBootClock BootClock() const { return clock().CoarseBoot(); }

  // Returns whether a read that rejects generation `rejected` may return the
  // token in `hold` without asking the machine. `rejected` is 0 for an ordinary
  // read.
  static bool Answers(Generation rejected, const internal::HazardHolder& hold) {
    return hold.node() != nullptr &&
           rejected < internal::SnapshotOf(hold).same_since();
  }

  static absl::StatusOr<Lease<Token>> ToLease(internal::HazardRawHolder hold) {
    return Lease<Token>(internal::HazardHolder(hold));
  }

  // GetSlow is not inlined, so its result is in memory. Because of this move,
  // the compiler can nevertheless keep the result of Get in registers on the
  // fast path.
  static absl::StatusOr<Lease<Token>> Rewrap(
      absl::StatusOr<Lease<Token>>&& lease) {
    return absl::StatusOr<Lease<Token>>(std::move(lease));
  }

  // Does not set the deadline.
  static internal::ReadRequest Request(const ReadOptions& options) {
    internal::ReadRequest request;
    if (options.max_retries.has_value()) {
      request.max_retries = std::max(0, *options.max_retries);
    }
    request.rejected = options.rejected;
    return request;
  }

  // The cell in `*state_`. A read through `state_` would load one more pointer.
  const internal::SnapshotCell& cell_;
  // A call that waits, or that uses the shell after running user code, holds a
  // copy of `state_`, because the Refreshable may be destroyed meanwhile.
  const internal::RefPtr<TypedShell> state_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_REFRESHABLE_H_
