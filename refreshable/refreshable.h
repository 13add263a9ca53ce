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
// stale token is refreshed in the background; an expired one is refreshed
// before the read returns. At most one refresh is in flight, and failures are
// retried on the policy's schedule, no matter how many threads are reading.
//
// Every published token has a generation, and generations only rise. If an
// answer of the source comes after its attempt was abandoned, it never replaces
// a newer token.
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
// CallWithToken (call_with_token.h), which makes the call, reads again and
// repeats the call.
//
// `Token` must be move-constructible, and its destructor must not throw. Tokens
// are read by many threads at the same time.
//
// Thread-safe, except for construction and destruction. The executor must
// outlive the Refreshable. Leases and running calls of the source may outlive
// both. No user code (the source, a callback, the observer, the hook
// `on_token_changed`, a token's destructor) is ever run under a lock of this
// library.
//
// Only `Get` waits for a refresh. But `Get`, `GetAsync`, `Invalidate`,
// `ReportRejected`, `Install` and `Reset` may call the observer, and then
// return only after it has returned.
//
// Destruction: waiting reads end with CANCELLED. Callbacks of asynchronous
// reads run on the destroying thread before the destructor returns; a GetAsync
// made by such a callback is dropped. The destructor does not wait for the
// source, nor for user code that another thread runs or is about to run. It may
// run inside a callback, hook or observer of this very object, but not in a
// token's destructor. No call may be started concurrently with it.
//
// fork(): the child may continue to read if it was forked on a thread that is
// not inside this library and if the executor works in the child. A refresh
// that was running stays with the parent; the child starts its own when a read
// needs one. Earlier failures still count. A child that was forked inside
// `Fetch`, a callback, a hook or an observer may only call exec or _exit. Forks
// are noticed through pthread_atfork; children made by other means are not
// supported.
//
// No function of this library may be called in a signal handler. A program that
// uses this library must not call fork() in a signal handler either.
//
// Running out of memory inside this library ends the program (std::terminate),
// except in `Create` and `Install` (and `CallWithTokenAsync`), which throw
// std::bad_alloc and have then changed nothing.
template <typename Token>
class Refreshable {
  static_assert(std::is_nothrow_destructible_v<Token>,
                "a token's destructor must not throw");
  static_assert(std::is_move_constructible_v<Token>,
                "a token must be move-constructible");

 public:
  // Later versions only append fields, so the first ones may be given by
  // position: `{&executor, policy}`.
  struct Options {
    // Runs the refreshes and tells the time. Not owned. Required.
    Executor* executor = nullptr;
    RefreshPolicy policy = {};
    // Receives every event. May be null.
    std::shared_ptr<Observer> observer = nullptr;
    // The functions below are called without a lock, on any thread, and
    // possibly on several threads at once. A call of the source that has not
    // answered keeps these functions and the observer alive. The functions
    // should not own the source: as long as the source holds the `done` of such
    // a call, the source and the functions would keep each other alive.

    // Called after each publication, on the thread that completed the refresh
    // or called `Install`. Waiting readers are woken after the call, unless
    // their deadlines pass meanwhile. Calls may overlap; compare generations to
    // tell which token is newer. The function may read the Refreshable.
    // Exceptions that it throws are ignored. May be null.
    std::function<void(const Lease<Token>&)> on_token_changed = nullptr;
    // Returns whether two tokens are the same. It is called with each token
    // that the source returns and the token before it. The Refreshable thus
    // notices a source that answers a rejection with the rejected token. If
    // null, `operator==` is used if Token has one (`TokenHasEquality`);
    // otherwise no two tokens are taken to be the same. If it throws, the
    // tokens are taken to be different.
    std::function<bool(const Token&, const Token&)> same_token = nullptr;
    // Decides how a failure of the source is treated. Also called for failures
    // that arrive after the attempt was abandoned. If null, `ClassifyFailure`
    // is used. If it throws, the failure is permanent.
    std::function<FailureClass(const absl::Status&)> classify = nullptr;
    // Whether the error of a source that threw contains the exception's text
    // (`what()`), which may contain a secret. The error names the exception's
    // type in either case, if the compiler provides it.
    bool show_exception_text = false;
    // Seeds the jitter, for reproducible runs. If unset, a random seed is
    // drawn, and another one in the child of a fork(), so that parent and child
    // do not refresh at the same moments.
    std::optional<uint64_t> jitter_seed = std::nullopt;
  };

  struct ReadOptions {
    // How long the read may wait. If zero or negative, it does not wait, but
    // still starts a refresh that is due.
    absl::Duration timeout = absl::InfiniteDuration();
    // Replaces `RetryPolicy::max_retries` for a refresh that this read waits
    // for. It does not shorten any wait between attempts. Negative values are
    // treated as zero.
    std::optional<int> max_retries = std::nullopt;
    // Makes this a *rejected read*: a server answered 401 or 403 to a call with
    // the token of this generation, and the read asks for a later one. The
    // rejected token stays in service for all other reads.
    //
    // A usable later token is returned at once. Otherwise the read waits for
    // the refresh in flight, or starts one (a single attempt) if one is
    // permitted now. If none is permitted yet, it does not wait: it ends at
    // once with UNAUTHENTICATED, and `GetRefreshError` tells when the next
    // attempt may start. If the refresh fails, the read ends with the code of
    // the failure. If the source returns the same token, the read ends with
    // UNAUTHENTICATED.
    //
    // The time between attempts that rejections start grows from
    // `RefreshPolicy::min_interval` to `RefreshPolicy::max_rejection_backoff`.
    // It shrinks back to the minimum once a token has become stale without
    // being rejected.
    //
    // The read is an ordinary one if, when it begins, this is 0, this
    // generation has not been published yet, or its token can no longer be
    // served to anyone.
    Generation rejected = {};
  };

  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;

  // Fails with INVALID_ARGUMENT, naming the field and its value, if the source
  // or the executor is null or the policy contradicts itself. Does not fetch a
  // token yet.
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
    return std::unique_ptr<Refreshable>(new Refreshable(
        std::make_shared<TypedShell>(std::move(config), std::move(source),
                                     std::move(options.on_token_changed),
                                     std::move(options.same_token))));
  }

  Refreshable(const Refreshable&) = delete;
  Refreshable& operator=(const Refreshable&) = delete;
  ~Refreshable() { state_->Close(); }

  // Returns the current token. A fresh or stale token is returned at once. If
  // it is stale, a refresh is also started in the background, unless one is in
  // flight, one was tried a moment ago (`min_interval`, `background_cooldown`),
  // or the policy says otherwise. Without a usable token the call joins the
  // refresh in flight, or starts one, and blocks.
  //
  // Errors:
  //
  //   DEADLINE_EXCEEDED: the timeout passed while the read waited
  //     (`IsReadTimeout`). The refresh goes on, and serves later reads.
  //   The code of the last cause: the refresh failed. `GetRefreshError` has the
  //     details. This error is returned at once, whatever the timeout, while
  //     the next attempt is not permitted yet, or if that attempt would start
  //     after the deadline.
  //   UNAUTHENTICATED: the options reject the only token there is
  //     (`ReadOptions::rejected`), and no later one can be had now.
  //   UNAVAILABLE: the executor refused or dropped the refresh, or did not
  //     start it within `RefreshPolicy::attempt_timeout`; or the minimum
  //     interval between attempts ends after the deadline.
  //   FAILED_PRECONDITION, for one of three reasons:
  //     - Refreshing has given up for good (`IsFatal`) until `Reset` or
  //       `Install` is called.
  //     - The read would wait for itself. It was made on a thread that is
  //       running an attempt for this Refreshable (inside `Fetch`, or inside
  //       the observer), or inside an observer or callback that a timer of this
  //       Refreshable runs.
  //     - On a ManualExecutor: nothing is pending that could end the wait, and
  //       the timeout is infinite.
  //   CANCELLED: the Refreshable was destroyed.
  //
  // Do not call Get in a timer task of your own, or in the observer of another
  // Refreshable: these may run on the executor's timer thread, and a Get that
  // blocks it delays every timer. This mistake is not detected. Use TryGet or
  // GetAsync there.
  //
  // On a thread of its own executor, a read that would wait runs the pending
  // attempt itself. The timeout of the read is then checked between attempts
  // only.
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

  // Like Get, but never blocks. Unless the read is cancelled, the executor runs
  // `callback` once with the outcome, never inside this call. The callback may
  // use and destroy the Refreshable; it must not throw. A null callback, or an
  // empty std::function, ends the program. Errors are those of Get, and
  // UNAVAILABLE if the executor refuses the timer for the timeout.
  //
  // If the executor refuses or drops the task that runs the callback, the
  // thread that completed the refresh or dropped the task runs the callback. If
  // no refresh was needed, the library asks the executor again after a second.
  // If the executor refuses the timer for that second too, the library asks
  // again at the next answer of the source, or at the next call of Get,
  // GetAsync, Invalidate, ReportRejected, Install or Reset. If the executor
  // still refuses, the thread of that answer or call runs the callback. If no
  // such answer or call comes, the destructor runs the callback with CANCELLED.
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
    const std::shared_ptr<TypedShell> state = state_;
    internal::ReadRequest request = Request(options);
    if (options.timeout < absl::InfiniteDuration()) {
      request.deadline = state->Now().boot + options.timeout;
    }
    // Ends the program if the executor, which owns the clock, was destroyed.
    static_cast<void>(state->clock());
    internal::HazardHolder hold(cell_.TryLoad());
    if (hold.node() == nullptr) hold = cell_.Load();
    const bool served = Answers(options.rejected, hold);
    return state->ReadAsync(request, state->MakeAsyncRead(callback.Take()),
                            served);
  }

  // Cancels a GetAsync. Returns true if its callback has not run and never
  // will. The refresh and other reads are not affected.
  bool Cancel(WaiterId id) { return state_->Cancel(id); }

  // Returns the current token if it is usable, otherwise UNAVAILABLE with a
  // message that names the state. Never waits for a refresh and never starts
  // one. Reads the boot clock as well as the wall clock: a token that has
  // expired is not returned even if the wall clock is wrong. Takes a lock for a
  // moment if there is no usable token, or if the token is about to expire.
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> TryGet() {
    const internal::HazardRawHolder hold =
        cell_.TryLoadUsable([this] { return BootClock(); });
    if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return ToLease(hold);
    return Rewrap(TryGetSlow());
  }

  // Withdraws the token of this generation: no later read returns it. Use this
  // for a token that nobody may use any longer, because it has leaked or is
  // known to be revoked. If a server merely answered 401, use
  // `ReadOptions::rejected` instead: the server may be wrong, and calls to all
  // other servers would lose a good token.
  //
  // Returns whether this call withdrew it: false if the generation is not the
  // current one, or was withdrawn before. A running attempt is abandoned and
  // the refresh makes a new one, unless that attempt was already told that this
  // generation was rejected. If no refresh is in flight, the next read starts
  // one. If the source then returns the same token, the refresh has failed;
  // `Reset()` lets that token be published again, and `Install()` replaces it.
  // A token withdrawn within `RefreshPolicy::young_token_age` of its
  // publication counts as a failed attempt: until the backoff has passed, reads
  // without a usable token fail at once, with UNAUTHENTICATED.
  bool Invalidate(Generation generation) {
    const std::shared_ptr<TypedShell> state = state_;
    return state->Invalidate(generation);
  }

  // Records that a server rejected the token of this generation. Does not start
  // a refresh. Meant for callers that do not read again; a rejected read
  // records the rejection by itself. A token that was rejected and then becomes
  // stale does not shorten the time between the attempts that rejections start
  // (`ReadOptions::rejected`).
  void ReportRejected(Generation generation) {
    const std::shared_ptr<TypedShell> state = state_;
    state->ReportRejected(generation);
  }

  // Publishes a token that was obtained by other means. It replaces the token
  // that is held or being fetched, is returned to all waiting reads, and clears
  // all failures. Returns its generation, or INVALID_ARGUMENT if it has
  // expired. If Token's move constructor throws, the exception reaches the
  // caller and nothing has changed.
  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    const std::shared_ptr<TypedShell> state = state_;
    return state->Install(std::move(credential));
  }

  // Forgets all failures: backoff, cooldown, exhaustion, a fatal error, and
  // abandoned calls of the source that have not returned. Also forgets all
  // rejections: a source may then return the token that was invalidated. The
  // next attempt is permitted as soon as the minimum interval has passed.
  void Reset() {
    const std::shared_ptr<TypedShell> state = state_;
    state->Reset();
  }

  // The executor's clock. Lives as long as the executor.
  const Clock& clock() const { return state_->clock(); }

  // Cheap snapshots, for metrics and health checks. Each takes a lock for a
  // moment and waits for nothing else.
  Stats stats() const { return state_->stats(); }
  Health health() const { return state_->health(); }

 private:
  using TypedShell = internal::TypedShell<Token>;

  template <typename Answer, typename OtherToken>
  friend class internal::AsyncCall;

  explicit Refreshable(std::shared_ptr<TypedShell> state)
      : cell_(state->cell()), state_(std::move(state)) {}

  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> GetSlow(
      absl::Duration timeout) {
    ReadOptions options;
    options.timeout = timeout;
    return GetSlow(options);
  }

  // The slow path of Get.
  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> GetSlow(
      const ReadOptions& options) {
    if (!cell_.HasNothing()) {
      internal::HazardHolder hold = cell_.Load();
      if (Answers(options.rejected, hold)) return Lease<Token>(std::move(hold));
      hold = cell_.Load(state_->Now().wall);
      if (Answers(options.rejected, hold)) return Lease<Token>(std::move(hold));
    }
    const std::shared_ptr<TypedShell> state = state_;  // Keeps the shell alive.
    return TypedShell::ToLease(state->Read(Request(options), options.timeout));
  }

  // The slow path of TryGet.
  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> TryGetSlow() {
    internal::HazardHolder hold =
        cell_.LoadUsable([this] { return BootClock(); });
    if (hold.node() != nullptr) return Lease<Token>(std::move(hold));
    return TypedShell::ToLease(state_->TryRead());
  }

  CoarseBootClock BootClock() const { return clock().CoarseBoot(); }

  // Returns whether a read that rejects the generation `rejected` (0 if none)
  // may return what `hold` holds without asking the machine. It may not if the
  // token held equals the rejected one.
  static bool Answers(Generation rejected, const internal::HazardHolder& hold) {
    return hold.node() != nullptr &&
           rejected < internal::SnapshotOf(hold).same_since;
  }

  static absl::StatusOr<Lease<Token>> ToLease(internal::HazardRawHolder hold) {
    return Lease<Token>(internal::HazardHolder(hold));
  }

  // Returns `lease`, moved into a fresh object. The result of a call that is
  // not inlined is in memory; because of the move, the compiler can keep the
  // result of Get itself in registers on the fast path.
  static absl::StatusOr<Lease<Token>> Rewrap(
      absl::StatusOr<Lease<Token>>&& lease) {
    return absl::StatusOr<Lease<Token>>(std::move(lease));
  }

  // Returns the request of a read, without its deadline.
  static internal::ReadRequest Request(const ReadOptions& options) {
    internal::ReadRequest request;
    if (options.max_retries.has_value()) {
      request.max_retries = std::max(0, *options.max_retries);
    }
    request.rejected = options.rejected;
    return request;
  }

  // Refers to the cell in `*state_`, because a read that went through `state_`
  // would load one more pointer.
  const internal::SnapshotCell& cell_;
  // A call that waits or runs user code holds a copy of this pointer, because
  // the Refreshable may be destroyed meanwhile.
  const std::shared_ptr<TypedShell> state_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_REFRESHABLE_H_
