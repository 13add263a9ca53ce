// SPDX-License-Identifier: Apache-2.0
//
// Refreshable: one credential, kept valid for every thread of a program.

#ifndef REFRESHABLE_REFRESHABLE_H_
#define REFRESHABLE_REFRESHABLE_H_

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "refreshable requires C++17 or later: compile with -std=c++17"
#endif

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
#include "refreshable/failure_class.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/internal/misuse.h"
#include "refreshable/internal/shell.h"
#include "refreshable/internal/state.h"
#include "refreshable/lease.h"
#include "refreshable/observer.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refresh_machine.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {

namespace internal {
template <typename Answer, typename Token>
class AsyncCall;
}  // namespace internal

// Holds one token and keeps it valid: reads hand out leases of it, a stale
// token is refreshed in the background, an expired one before the read returns;
// at most one refresh is in flight, whoever asked for it. Failures are retried
// by the policy's schedule, however many threads read meanwhile.
//
// Every published token has a generation, and generations only rise: an answer
// of the source that comes after its time is discarded.
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
// What to do with a server that answers 401: `ReadOptions::rejected`, or
// CallWithToken (call_with_token.h), which does it all.
//
// `Token` must be move-constructible, and destructible without throwing, and is
// read from many threads at the same time.
//
// Thread-safe, but for construction and destruction. The executor must outlive
// the Refreshable; leases and running calls of the source need neither. No user
// code (source, callback, observer, hook, a token's destructor) is ever run
// under a lock of this library.
//
// Destruction: reads that wait end with CANCELLED, callbacks among them run in
// the destroying thread before the destructor returns; a GetAsync that such a
// callback makes is dropped. It does not wait for the source, nor for user code
// that is already running on another thread. It may happen inside a callback,
// hook or observer of this very object, but not in a token's destructor. Calls
// must not be started concurrently with it.
//
// fork(): the child may go on to read, on a thread that is not inside this
// library, if the executor works there. A refresh that was running stays with
// the parent, and the child's first read starts its own; earlier failures still
// count. A child that was forked inside `Fetch`, a callback, a hook or an
// observer may only call exec or _exit. Seen through pthread_atfork, hence not
// if a child is made by other means.
//
// No function of this library may be called in a signal handler, and neither
// may fork() in a program that uses it.
//
// Running out of memory inside this library ends the program (std::terminate),
// except in `Create` and `Install`, which throw std::bad_alloc and have then
// changed nothing.
template <typename Token>
class Refreshable {
  static_assert(std::is_nothrow_destructible_v<Token>,
                "a token's destructor must not throw");
  static_assert(std::is_move_constructible_v<Token>,
                "a token must be move-constructible");

 public:
  // Later versions only append fields, so that the first ones may be given by
  // position: `{&executor, policy}`.
  struct Options {
    // Runs the refreshes and tells the time. Not owned. Required.
    Executor* executor = nullptr;
    RefreshPolicy policy = {};
    // Told every event. May be null.
    std::shared_ptr<Observer> observer = nullptr;
    // The functions below are called without a lock, on any thread, and
    // perhaps by several at once. A call of the source that has not answered
    // keeps them and the observer alive, so they should not own the source.

    // Run after each publication and before those wake who wait for it, in the
    // thread that completed the refresh or called Install; two may overlap, the
    // generation tells which is later. It may read the Refreshable. What it
    // throws is ignored. May be null.
    std::function<void(const Lease<Token>&)> on_token_changed = nullptr;
    // Whether two tokens are the same: a source that answers a rejection with
    // the very token that was rejected is no help. It is asked about each token
    // that a source returns and the one before it. If null, `operator==` is
    // used if Token has one (`TokenHasEquality`), else no two tokens are taken
    // to be the same. If it throws, the tokens are not the same.
    std::function<bool(const Token&, const Token&)> same_token = nullptr;
    // How a failure of the source is treated; also asked about late ones. Null:
    // `ClassifyFailure`. If it throws: permanent.
    std::function<FailureClass(const absl::Status&)> classify = nullptr;
    // Whether the error of a source that threw also holds the exception's text
    // (`what()`), which may hold a secret. Its type is named where the compiler
    // provides it.
    bool show_exception_text = false;
    // Seeds the jitter, for reproducible runs. If unset, a random seed is
    // drawn, and another one in the child of a fork(), which then refreshes at
    // moments of its own.
    std::optional<uint64_t> jitter_seed = std::nullopt;
  };

  struct ReadOptions {
    // How long the read may wait; zero or less: not at all, though a refresh
    // that is due is started.
    absl::Duration timeout = absl::InfiniteDuration();
    // Instead of `RetryPolicy::max_retries`, for a refresh that this read waits
    // for. It does not shorten any wait between attempts. Negative values are
    // treated as zero.
    std::optional<int> max_retries = std::nullopt;
    // A *rejected read*: a server answered 401 or 403 to a call with the token
    // of this generation, and the read is for a later one. A later token that
    // is usable is returned at once. Otherwise the read waits for the refresh
    // under way, or starts one (a single attempt) if it is time for one; the
    // rejected token stays in service for all other reads. The read never waits
    // for that time: it ends at once with UNAUTHENTICATED, and
    // `GetRefreshError` tells when the next attempt may start. The time between
    // such attempts grows from `RefreshPolicy::min_interval` to
    // `RefreshPolicy::max_rejection_backoff`, and begins anew once a token has
    // become stale that no server rejected. If the refresh fails, the read ends
    // with the cause's code; UNAUTHENTICATED if it brought the same token.
    // 0, or a generation not published yet: an ordinary read. If the rejected
    // token can no longer be served to anyone: likewise.
    Generation rejected = {};
  };

  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;

  // Fails with INVALID_ARGUMENT, naming the field and its value, if the source
  // or the executor is null or the policy contradicts itself. Asks for no token
  // yet.
  static absl::StatusOr<std::unique_ptr<Refreshable>> Create(
      std::shared_ptr<TokenSource<Token>> source, Options options) {
    if (source == nullptr) {
      return absl::InvalidArgumentError("Refreshable: source is null");
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
    config.observer = std::move(options.observer);
    config.classify =
        options.classify ? std::move(options.classify) : ClassifyFailure;
    config.show_exception_text = options.show_exception_text;
    return std::unique_ptr<Refreshable>(new Refreshable(std::make_shared<State>(
        std::move(config), std::move(source),
        std::move(options.on_token_changed), std::move(options.same_token))));
  }

  Refreshable(const Refreshable&) = delete;
  Refreshable& operator=(const Refreshable&) = delete;
  ~Refreshable() { state_->Close(); }

  // The current token. Fresh or stale, it is returned at once; a stale one also
  // starts a refresh in the background, unless one is under way, was tried a
  // moment ago, or the policy says otherwise. Without a usable token the call
  // joins the refresh that is in flight, or starts one, and blocks.
  //
  // Errors: DEADLINE_EXCEEDED, the timeout has passed while waiting (the
  // refresh goes on, and the next read profits). Where the refresh failed, the
  // code of its last cause, or FAILED_PRECONDITION once refreshing has given up
  // for good; `GetRefreshError` tells more, `IsFatal` whether to give up too.
  // Such an error comes at once, whatever the timeout, while the next attempt
  // is not permitted yet, or not before the deadline. UNAUTHENTICATED also, the
  // options reject the only token there is. UNAVAILABLE also, the executor
  // refused or dropped the refresh or has not run it for
  // `RefreshPolicy::attempt_timeout`, or the minimum interval between attempts
  // ends after the deadline. CANCELLED, the Refreshable was destroyed.
  // FAILED_PRECONDITION, the read would wait for itself: inside the source's
  // own `Fetch` or an observer of that attempt, or where a timer of this
  // Refreshable runs an observer or callback; or, on a ManualExecutor, for
  // nothing: nothing is pending and there is no timeout.
  //
  // Any other wait on the executor's timer thread (in a timer task of the
  // caller's own, in an observer of another Refreshable) is not noticed, and
  // holds up every timer: use TryGet or GetAsync there.
  //
  // On a thread of its own executor a read that would wait runs the pending
  // attempt itself; then its timeout is checked between attempts only.
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> Get(
      absl::Duration timeout = absl::InfiniteDuration()) {
    const internal::HazardRawHold hold = published_.TryLoad();
    if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return Held(hold);
    return Remade(AskAndGet(timeout));
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::StatusOr<Lease<Token>> Get(
      const ReadOptions& options) {
    if (ABSL_PREDICT_TRUE(options.rejected == Generation())) {
      const internal::HazardRawHold hold = published_.TryLoad();
      if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return Held(hold);
    }
    return Remade(AskAndGet(options));
  }

  // As Get, but never blocks: `callback` is run once with the outcome, by the
  // executor and never inside this call, unless the read is cancelled. If the
  // executor refuses or drops it, it runs on the thread that completed the
  // refresh or dropped it. If no refresh was needed, the executor is asked
  // again after a second. If it refuses the timer for that as well, it is asked
  // again by the next Get, GetAsync, Invalidate, Install or Reset of any
  // thread, which runs the callback itself if need be; if none comes, the
  // destructor runs it, with CANCELLED. The callback may use and destroy the
  // Refreshable; it must not throw. A null one ends the program.
  // UNAVAILABLE also, the executor refused the timer for the timeout.
  WaiterId GetAsync(absl::Duration timeout, Callback callback) {
    ReadOptions options;
    options.timeout = timeout;
    return GetAsync(options, std::move(callback));
  }
  WaiterId GetAsync(const ReadOptions& options, Callback callback) {
    if (callback == nullptr) {
      internal::DieOfMisuse("GetAsync: the callback is null");
    }
    const std::shared_ptr<State> state = state_;
    return state->ReadAsync(Request(state->Now(), options),
                            state->MakeAsyncRead(std::move(callback)));
  }

  // Cancels a GetAsync. True: its callback has not run and never will. The
  // refresh and other reads do not notice.
  bool Cancel(WaiterId id) { return state_->Cancel(id); }

  // The current token if it is usable, else UNAVAILABLE saying in which state
  // things are. Never waits and never starts a refresh. Takes a lock for a
  // moment, and asks both clocks: a token that expired while the wall clock
  // went wrong is not handed out, though no timer has run yet.
  absl::StatusOr<Lease<Token>> TryGet() {
    std::optional<Lease<Token>> lease;
    const absl::Status status =
        state_->TryRead([&] { lease = state_->Take(); });
    if (!status.ok()) return status;
    return *std::move(lease);
  }

  // Withdraws the token of this generation: no read is handed it again. For a
  // token that must not be used any more, because it has leaked or is known to
  // be revoked. If a server merely answered 401, use `ReadOptions::rejected`
  // instead: the mistake may be that one server's, and all others would lose a
  // good token.
  //
  // Returns whether this call withdrew it: false if the generation is not the
  // current one, or was withdrawn before. A refresh that is under way begins
  // anew, unless it was told of this generation's rejection already; otherwise
  // the next read starts one. If the source then returns the same token, the
  // refresh has failed; `Reset()` lets that token be published again, and
  // `Install()` replaces it.
  // A token withdrawn within `RefreshPolicy::young_token_age` of its
  // publication counts as a failed attempt: until the backoff has passed, reads
  // without a usable token fail at once, with UNAUTHENTICATED.
  bool Invalidate(Generation generation) {
    const std::shared_ptr<State> state = state_;
    return state->Invalidate(generation);
  }

  // Notes that a server rejected the token of this generation, without asking
  // for a later one; starts nothing. For a caller that does not try again: a
  // token that was rejected does not end the growth of the time between the
  // attempts that rejections start (`ReadOptions::rejected`). A rejected read
  // does this by itself.
  void ReportRejected(Generation generation) {
    const std::shared_ptr<State> state = state_;
    state->ReportRejected(generation);
  }

  // Publishes a token that was obtained otherwise. It replaces whatever is held
  // or being fetched, goes to all who wait, and clears every memory of
  // failures. Returns its generation, or INVALID_ARGUMENT if it has expired.
  // Throws what Token's move constructor throws; nothing has changed then.
  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    const std::shared_ptr<State> state = state_;
    return state->Install(std::move(credential));
  }

  // Forgets all failures: backoff, cooldown, exhaustion, a fatal error, and
  // calls of the source that were abandoned and have not returned; and all
  // rejections: a source may return the token that was invalidated. The next
  // attempt is due at once, but for the minimum interval.
  void Reset() {
    const std::shared_ptr<State> state = state_;
    state->Reset();
  }

  // The executor's clock.
  const Clock& clock() const { return state_->clock(); }

  // Cheap snapshots, for metrics and health checks.
  Stats stats() const { return state_->stats(); }
  Health health() const { return state_->health(); }

 private:
  using State = internal::State<Token>;

  template <typename Answer, typename OtherToken>
  friend class internal::AsyncCall;

  explicit Refreshable(std::shared_ptr<State> state)
      : published_(state->published()), state_(std::move(state)) {}

  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> AskAndGet(
      absl::Duration timeout) {
    ReadOptions options;
    options.timeout = timeout;
    return AskAndGet(options);
  }

  // The rest of Get, where the first look did not do.
  ABSL_ATTRIBUTE_NOINLINE absl::StatusOr<Lease<Token>> AskAndGet(
      const ReadOptions& options) {
    std::optional<Lease<Token>> lease = state_->Load();
    if (Answers(options, lease)) return *std::move(lease);
    const Instant now = state_->Now();
    lease = state_->Load(now.wall);
    if (Answers(options, lease)) return *std::move(lease);
    lease.reset();
    const std::shared_ptr<State> state = state_;  // See `state_`.
    const absl::Status status =
        state->Read(Request(now, options), [&] { lease = state->Take(); });
    if (!status.ok()) return status;
    return *std::move(lease);
  }

  // Whether `lease` is of a token that the read may be handed without asking.
  static bool Answers(const ReadOptions& options,
                      const std::optional<Lease<Token>>& lease) {
    return lease.has_value() && options.rejected < lease->snapshot().same_since;
  }

  static absl::StatusOr<Lease<Token>> Held(internal::HazardRawHold hold) {
    return Lease<Token>(internal::HazardHold(hold));
  }

  // What a call that is not inlined returns is in memory. What Get returns is
  // made from it, and so can do without, where no such call is made.
  static absl::StatusOr<Lease<Token>> Remade(
      absl::StatusOr<Lease<Token>>&& lease) {
    return absl::StatusOr<Lease<Token>>(std::move(lease));
  }

  static internal::ReadRequest Request(const Instant& now,
                                       const ReadOptions& options) {
    internal::ReadRequest request;
    request.deadline = now.since_boot + options.timeout;
    if (options.max_retries.has_value()) {
      request.max_retries = std::max(0, *options.max_retries);
    }
    request.rejected = options.rejected;
    return request;
  }

  // The state's: one step less for reads.
  const internal::Published<Token>& published_;
  // A call that waits, or that runs user code, holds a copy: this object may be
  // destroyed meanwhile.
  const std::shared_ptr<State> state_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_REFRESHABLE_H_
