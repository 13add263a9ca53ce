// SPDX-License-Identifier: Apache-2.0
//
// Refreshable: one credential, kept valid for every thread of a program.

#ifndef REFRESHABLE_REFRESHABLE_H_
#define REFRESHABLE_REFRESHABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
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
//   if (Send(request, lease->token()) == 401) {
//     (*token)->Invalidate(lease->generation());
//   }
//
// `Token` must be move-constructible and destructible without throwing, and is
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
template <typename Token>
class Refreshable {
  static_assert(std::is_nothrow_destructible_v<Token>,
                "a token's destructor must not throw");
  static_assert(std::is_move_constructible_v<Token>,
                "a token must be move-constructible");

 public:
  struct Options {
    // Runs the refreshes and tells the time. Not owned. Required.
    Executor* executor = nullptr;
    RefreshPolicy policy = {};
    // Told every event. May be null.
    std::shared_ptr<Observer> observer = nullptr;
    // The functions below are called without a lock, on any thread, and
    // perhaps by several at once.

    // Run after each publication and before those wake who wait for it, in the
    // thread that completed the refresh or called Install; two may overlap, the
    // generation tells which is later. It may read the Refreshable. What it
    // throws is ignored. May be null.
    std::function<void(const Lease<Token>&)> on_token_changed = nullptr;
    // Whether two tokens are the same: a source that answers a rejection with
    // the very token that was rejected has failed. Null: `operator==` where
    // Token has one, else no two tokens are taken to be the same. If it throws:
    // not the same.
    std::function<bool(const Token&, const Token&)> same_token = nullptr;
    // How a failure of the source is treated; also asked about late ones. Null:
    // `ClassifyFailure`. If it throws: permanent.
    std::function<FailureClass(const absl::Status&)> classify = nullptr;
    // Whether the error of a source that threw also holds the exception's text
    // (`what()`), which may hold a secret. Its type is named where the compiler
    // provides it.
    bool show_exception_text = false;
    // Seeds the jitter, for reproducible runs. Unset: a random seed.
    std::optional<uint64_t> jitter_seed = std::nullopt;
  };

  struct ReadOptions {
    // How long the read may wait; zero or less: not at all, though a refresh
    // that is due is started.
    absl::Duration timeout = absl::InfiniteDuration();
    // Instead of `RetryPolicy::max_retries`, for a refresh that this read waits
    // for. It does not shorten any wait between attempts. Less than zero: as
    // zero.
    std::optional<int> max_retries = std::nullopt;
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
    config.seed = options.jitter_seed.has_value() ? *options.jitter_seed
                                                  : std::random_device()();
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
  // is not permitted yet, or not before the deadline. UNAVAILABLE also, the
  // executor refused or dropped the refresh, or the minimum interval between
  // attempts ends after the deadline. CANCELLED, the Refreshable was destroyed.
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
    const internal::HazardRawHold hold = published_.TryLoad();
    if (ABSL_PREDICT_TRUE(hold.node != nullptr)) return Held(hold);
    return Remade(AskAndGet(options));
  }

  // As Get, but never blocks: `callback` is run once with the outcome, by the
  // executor and never inside this call, unless the read is cancelled. If the
  // executor refuses or drops it, it is run by the thread that completed the
  // refresh or dropped it, or, where no refresh was needed, by whatever happens
  // next to the Refreshable (a timer within a second). The callback may use and
  // destroy the Refreshable; it must not be null and must not throw.
  // UNAVAILABLE also, the executor refused the timer for the timeout.
  WaiterId GetAsync(absl::Duration timeout, Callback callback) {
    ReadOptions options;
    options.timeout = timeout;
    return GetAsync(options, std::move(callback));
  }
  WaiterId GetAsync(const ReadOptions& options, Callback callback) {
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

  // Says that a server rejected the token of this generation (401, 403). No
  // read is handed that token again. Returns whether this call withdrew it:
  // false if the generation is not the current one, or was withdrawn before, so
  // that any number of rejected threads cause one refresh. A refresh that is
  // under way begins anew; otherwise the next read starts one.
  // A token rejected within `RefreshPolicy::young_token_age` of its publication
  // counts as a failed attempt: until the backoff has passed, reads without a
  // usable token fail at once, with UNAUTHENTICATED.
  bool Invalidate(Generation generation) {
    const std::shared_ptr<State> state = state_;
    return state->Invalidate(generation);
  }

  // Publishes a token that was obtained otherwise. It replaces whatever is held
  // or being fetched, goes to all who wait, and clears every memory of
  // failures. Returns its generation, or INVALID_ARGUMENT if it has expired.
  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    const std::shared_ptr<State> state = state_;
    return state->Install(std::move(credential));
  }

  // Forgets all failures: backoff, cooldown, exhaustion, a fatal error. The
  // next attempt is due at once, but for the minimum interval.
  void Reset() {
    const std::shared_ptr<State> state = state_;
    state->Reset();
  }

  // Cheap snapshots, for metrics and health checks.
  Stats stats() const { return state_->stats(); }
  Health health() const { return state_->health(); }

 private:
  using State = internal::State<Token>;

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
    if (lease.has_value()) return *std::move(lease);
    const Instant now = state_->Now();
    lease = state_->Load(now.wall);
    if (lease.has_value()) return *std::move(lease);
    const std::shared_ptr<State> state = state_;  // See `state_`.
    const absl::Status status =
        state->Read(Request(now, options), [&] { lease = state->Take(); });
    if (!status.ok()) return status;
    return *std::move(lease);
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
    request.max_retries = options.max_retries;
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
