// SPDX-License-Identifier: Apache-2.0
//
// CallWithToken: calls a server with a token. If the server rejects the token,
// reads a later token and calls the server once more.

#ifndef REFRESHABLE_CALL_WITH_TOKEN_H_
#define REFRESHABLE_CALL_WITH_TOKEN_H_

#include <algorithm>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/internal/misuse.h"
#include "refreshable/internal/null_function.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/lease.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/refreshable.h"
#include "refreshable/shell/typed_shell.h"
#include "refreshable/shell/waiters.h"

namespace refreshable {

namespace internal {

template <typename T>
struct AsStatusOr {
  using type = absl::StatusOr<T>;
};
template <typename T>
struct AsStatusOr<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};
template <>
struct AsStatusOr<absl::Status> {
  using type = absl::Status;
};

// std::type_identity of C++20.
template <typename T>
struct TypeIdentity {
  using type = T;
};
// The compiler does not deduce T from the argument of a NotDeduced<T>
// parameter. So a caller may pass a lambda that converts to T.
template <typename T>
using NotDeduced = typename TypeIdentity<T>::type;

template <typename Call, typename Token>
decltype(auto) CallWithTimeLeft(Call& call, const Lease<Token>& lease,
                                absl::Duration left) {
  if constexpr (std::is_invocable_v<Call&, const Lease<Token>&,
                                    absl::Duration>) {
    return call(lease, left);
  } else {
    return call(lease);
  }
}

// `Call`'s decayed return type, or void if `Call` cannot be called with a
// lease.
template <typename Call, typename Token, typename = void>
struct CallResult {
  using type = void;
};
template <typename Call, typename Token>
struct CallResult<
    Call, Token,
    std::enable_if_t<
        std::is_invocable_v<Call&, const Lease<Token>&, absl::Duration> ||
        std::is_invocable_v<Call&, const Lease<Token>&>>> {
  using type = std::decay_t<decltype(CallWithTimeLeft(
      std::declval<Call&>(), std::declval<const Lease<Token>&>(),
      absl::Duration()))>;
};

template <typename IsRejected, typename Answer, typename = void>
struct TellsRejected : std::false_type {};
template <typename IsRejected, typename Answer>
struct TellsRejected<
    IsRejected, Answer,
    std::void_t<decltype(static_cast<bool>(std::declval<IsRejected&>()(
        std::declval<const Answer&>())))>> : std::true_type {};

// CallWithToken's signature uses this struct. So the compiler prints the
// messages below before any error in the body of CallWithToken.
template <typename Call, typename IsRejected, typename Token>
struct CallFunctions {
  using Result = typename CallResult<Call, Token>::type;
  static constexpr bool kAnswers = !std::is_void_v<Result>;
  static_assert(kAnswers,
                "CallWithToken: call must take const Lease<Token>& (and "
                "perhaps an absl::Duration) and must not return void");
  static_assert(!kAnswers || TellsRejected<IsRejected, Result>::value,
                "CallWithToken: is_rejected must take const Answer&, where "
                "Answer is what call returns, and return bool");
  // The type that `call` returns, decayed; a placeholder if that is void.
  using Answer = std::conditional_t<kAnswers, Result, absl::Status>;
};

// The `call` argument of CallWithTokenAsync: a function of (lease, done) or of
// (lease, left, done). `left` is the time until the deadline.
template <typename Answer, typename Token>
class AsyncCallFunction {
 public:
  using Done = absl::AnyInvocable<void(Answer)>;
  template <typename Call>
  static constexpr bool kTakesTimeLeft =
      std::is_invocable_v<Call&, Lease<Token>, absl::Duration, Done>;

  template <typename Call,
            std::enable_if_t<kTakesTimeLeft<std::decay_t<Call>> ||
                                 std::is_invocable_v<std::decay_t<Call>&,
                                                     Lease<Token>, Done>,
                             int> = 0>
  AsyncCallFunction(Call&& call)  // NOLINT(google-explicit-constructor)
  {
    if (IsNullFunction(call)) return;
    takes_time_left_ = kTakesTimeLeft<std::decay_t<Call>>;
    call_ = [call = std::decay_t<Call>(std::forward<Call>(call))](
                Lease<Token> lease, absl::Duration left, Done done) mutable {
      if constexpr (kTakesTimeLeft<std::decay_t<Call>>) {
        call(std::move(lease), left, std::move(done));
      } else {
        call(std::move(lease), std::move(done));
      }
    };
  }

  bool is_null() const { return call_ == nullptr; }
  // If false, operator() ignores `left`.
  bool takes_time_left() const { return takes_time_left_; }
  void operator()(Lease<Token> lease, absl::Duration left, Done done) {
    call_(std::move(lease), left, std::move(done));
  }

 private:
  bool takes_time_left_ = false;
  absl::AnyInvocable<void(Lease<Token>, absl::Duration, Done)> call_;
};

// The `callback` argument of CallWithTokenAsync: a function of (outcome) or of
// (outcome, refresh_status).
template <typename Outcome>
class AsyncCallCallback {
 public:
  template <typename Callback>
  static constexpr bool kTakesStatus =
      std::is_invocable_v<Callback&, Outcome, absl::Status>;

  template <typename Callback,
            std::enable_if_t<
                kTakesStatus<std::decay_t<Callback>> ||
                    std::is_invocable_v<std::decay_t<Callback>&, Outcome>,
                int> = 0>
  AsyncCallCallback(Callback&& callback)  // NOLINT(google-explicit-constructor)
  {
    if (IsNullFunction(callback)) return;
    callback_ = [callback =
                     std::decay_t<Callback>(std::forward<Callback>(callback))](
                    Outcome outcome, absl::Status refresh_status) mutable {
      if constexpr (kTakesStatus<std::decay_t<Callback>>) {
        callback(std::move(outcome), std::move(refresh_status));
      } else {
        callback(std::move(outcome));
      }
    };
  }

  bool pending() const { return callback_ != nullptr; }
  // Requires: pending().
  void operator()(Outcome outcome, absl::Status refresh_status) {
    auto callback = std::exchange(callback_, nullptr);
    callback(std::move(outcome), std::move(refresh_status));
  }

 private:
  absl::AnyInvocable<void(Outcome, absl::Status)> callback_;
};

}  // namespace internal

// The return type of CallWithToken if `call` returns Answer:
// `StatusOr<Answer>`, or Answer itself if Answer is a Status or StatusOr.
template <typename Answer>
using AnswerOrStatus = typename internal::AsStatusOr<Answer>::type;

// Reads a token and calls `call(const Lease<Token>&)` with it. If
// `is_rejected(const Answer&)` returns true for the answer, reads a later token
// (`ReadOptions::rejected`) and calls `call` once more. All other reads still
// get the rejected token. Returns the last call's answer, even if it is a
// rejection. If the second token is rejected, `ReportRejected` is called for
// it.
//
// There is no second call if no time is left, or if the second read gets no
// later token. If the first read gets no token, its error is returned and
// `call` is not called. No other error of this library is returned.
//
// If `refresh_status` is not null, it is set to the second read's status, or to
// OK if no second read was made.
//
// `options.timeout` counts from the start and covers both reads and both calls.
// The timeout does not interrupt a call. `call` may take a second parameter, an
// `absl::Duration`: the time that is left, zero or more. With no time left, the
// second read does not wait, but still starts a refresh that is permitted.
//
// Blocks while a read or `call` blocks. The Refreshable must exist until
// CallWithToken returns, so `call` and `is_rejected` must not destroy it.
// `call` may be called twice, so what it sends must be safe to repeat.
// Exceptions of `call` and `is_rejected` reach the caller. If `call` or
// `is_rejected` is a null pointer or an empty std::function, the program ends
// with a message.
template <typename Token, typename Call, typename IsRejected,
          typename Answer =
              typename internal::CallFunctions<Call, IsRejected, Token>::Answer>
AnswerOrStatus<Answer> CallWithToken(
    Refreshable<Token>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options, Call call,
    IsRejected is_rejected, absl::Status* refresh_status = nullptr) {
  if (internal::IsNullFunction(call)) {
    internal::DieOfMisuse("CallWithToken: call is null");
  }
  if (internal::IsNullFunction(is_rejected)) {
    internal::DieOfMisuse("CallWithToken: is_rejected is null");
  }
  const Clock& clock = refreshable.clock();
  const BootTime deadline = clock.Now().boot + options.timeout;
  const auto left = [&] {
    return std::max(deadline - clock.Now().boot, absl::ZeroDuration());
  };
  if (refresh_status != nullptr) *refresh_status = absl::OkStatus();
  absl::StatusOr<Lease<Token>> lease = refreshable.Get(options);
  if (!lease.ok()) return lease.status();
  Answer answer =
      internal::CallWithTimeLeft(call, std::as_const(*lease), left());
  if (!is_rejected(std::as_const(answer))) return answer;
  auto rejected_options = options;
  rejected_options.timeout = left();
  rejected_options.rejected = lease->generation();
  lease = refreshable.Get(rejected_options);
  if (refresh_status != nullptr) *refresh_status = lease.status();
  if (!lease.ok() || left() == absl::ZeroDuration()) return answer;
  Answer second =
      internal::CallWithTimeLeft(call, std::as_const(*lease), left());
  if (is_rejected(std::as_const(second))) {
    refreshable.ReportRejected(lease->generation());
  }
  return second;
}

// Like CallWithToken, but never blocks. `call(Lease<Token>, done)` starts the
// call to the server and returns. `call` runs where a callback of `GetAsync`
// would run. Your code passes the answer to `done(Answer)` on any thread;
// further calls of `done` are ignored. `is_rejected` runs inside `done`. If
// `done` is called before `call` has returned, the two calls of `call` may
// overlap. `call` may also take the time that is left: `call(Lease<Token>,
// absl::Duration, done)`.
//
//   CallWithTokenAsync<Response>(
//       *token, {absl::Seconds(5)},
//       [http](Lease<std::string> lease,
//              absl::AnyInvocable<void(Response)> done) {
//         http->Send(RequestWith(lease.token()), std::move(done));
//       },
//       [](const Response& response) { return response.status == 401; },
//       [](absl::StatusOr<Response> response) { ... });
//
// `callback` is called exactly once, with what CallWithToken would return. If
// the last step was a call, `callback` runs on the thread that called `done`.
// If it was a read, `callback` runs where a callback of `GetAsync` would run.
// `callback` may take a second parameter, an `absl::Status`: CallWithToken's
// `refresh_status`. `callback` must not throw.
//
// `callback` gets an INTERNAL error if `done` is destroyed without having been
// called, or if `call` or `is_rejected` throws. `callback` then runs on the
// thread that destroyed `done` or threw. But if a thread is still inside
// `call`, `callback` runs on that thread after `call` has ended.
//
// An exception of `is_rejected` leaves `done`. An exception of `call` leaves
// the executor's task that runs `call`; a ThreadExecutor then ends the program.
// If no task of the executor runs `call`, the exception ends the program.
//
// If `call` moves `done` elsewhere and then throws, there is no INTERNAL error,
// and `done` can still be called.
//
// If `call`, `is_rejected` or `callback` is null or an empty std::function, the
// program ends with a message. Throws std::bad_alloc if there is no memory to
// begin; `callback` is then not called. If memory runs out later, the program
// ends.
//
// The Refreshable need only live until this function returns. If the
// Refreshable is destroyed later, `callback` gets:
//
//   - During the first read: CANCELLED.
//   - During the first call or the second read: the first answer.
//   - During the second call: the second answer.
//
// `done` must not be called while the executor is being destroyed.
template <typename Answer, typename Token>
void CallWithTokenAsync(
    Refreshable<Token>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options,
    internal::NotDeduced<internal::AsyncCallFunction<Answer, Token>> call,
    internal::FunctionArgument<absl::AnyInvocable<bool(const Answer&)>>
        is_rejected,
    internal::AsyncCallCallback<AnswerOrStatus<Answer>> callback);

namespace internal {

// One CallWithTokenAsync in progress. Both of its reads have this object as
// their AsyncRead (waiters.h). During a read, the shell owns this object.
// During a call, the call's `done` owns it.
template <typename Answer, typename Token>
class AsyncCall final
    : public AsyncRead,
      public std::enable_shared_from_this<AsyncCall<Answer, Token>> {
 public:
  using Outcome = AnswerOrStatus<Answer>;
  using Done = absl::AnyInvocable<void(Answer)>;
  using Call = AsyncCallFunction<Answer, Token>;
  using IsRejected = absl::AnyInvocable<bool(const Answer&)>;
  using Callback = AsyncCallCallback<Outcome>;

  AsyncCall(Refreshable<Token>& refreshable,
            const typename Refreshable<Token>::ReadOptions& options, Call call,
            IsRejected is_rejected, Callback callback)
      : state_(refreshable.state_),
        call_(std::move(call)),
        is_rejected_(std::move(is_rejected)),
        callback_(std::move(callback)) {
    request_.deadline = refreshable.clock().Now().boot + options.timeout;
    if (options.max_retries.has_value()) {
      request_.max_retries = std::max(0, *options.max_retries);
    }
    request_.rejected = options.rejected;
  }
  ~AsyncCall() override {
    if (!callback_.pending()) return;
    if (rejected_answer_.has_value()) {
      callback_(*std::move(rejected_answer_),
                absl::CancelledError("the Refreshable was destroyed"));
    } else {
      callback_(absl::InternalError(
                    "the call with the token ended without an answer"),
                absl::OkStatus());
    }
  }

  void Start(Refreshable<Token>& refreshable) noexcept {
    // Keeps the shell alive: `callback` may destroy this object and the
    // Refreshable before ReadAsync returns.
    const RefPtr<TypedShell<Token>> state = state_;
    state->ReadAsync(
        request_, this->shared_from_this(),
        refreshable.Answers(request_.rejected, refreshable.cell_.Load()));
  }

 private:
  // The function inside the `Done` of one call to the server. When it is first
  // called, it passes the answer to `Next`. After that it does nothing. It is
  // as small as a std::shared_ptr, so the `Done` allocates no memory for it.
  template <void (AsyncCall::*Next)(Answer)>
  class TakesAnswer {
   public:
    explicit TakesAnswer(std::shared_ptr<AsyncCall> call)
        : call_(std::move(call)) {}
    void operator()(Answer answer) {
      const std::shared_ptr<AsyncCall> call = std::move(call_);
      if (call != nullptr) (call.get()->*Next)(std::move(answer));
    }

   private:
    std::shared_ptr<AsyncCall> call_;
  };

  void Deliver(absl::StatusOr<HazardHolder> outcome) override {
    absl::StatusOr<Lease<Token>> lease =
        TypedShell<Token>::ToLease(std::move(outcome));
    rejected_answer_.has_value() ? OnSecondLease(std::move(lease))
                                 : OnFirstLease(std::move(lease));
  }

  absl::Duration Left() const {
    const std::optional<Instant> now = state_->NowUnlessClosed();
    if (!now.has_value()) return absl::ZeroDuration();
    return std::max(request_.deadline - now->boot, absl::ZeroDuration());
  }

  void OnFirstLease(absl::StatusOr<Lease<Token>> lease) {
    if (!lease.ok()) return callback_(lease.status(), absl::OkStatus());
    generation_ = lease->generation();
    const absl::Duration left =
        call_.takes_time_left() ? Left() : absl::ZeroDuration();
    call_(*std::move(lease), left,
          TakesAnswer<&AsyncCall::OnFirstAnswer>(this->shared_from_this()));
  }

  void OnFirstAnswer(Answer answer) {
    if (!is_rejected_(std::as_const(answer))) {
      return callback_(std::move(answer), absl::OkStatus());
    }
    rejected_answer_.emplace(std::move(answer));
    request_.rejected = generation_;
    ReadLater();
  }

  // Begins the second read. If the Refreshable has been destroyed, no read
  // begins, and this object's destructor calls `callback`.
  void ReadLater() noexcept {
    state_->ReadAsync(request_, this->shared_from_this(), /*served=*/false);
  }

  void OnSecondLease(absl::StatusOr<Lease<Token>> lease) {
    Answer first = *std::exchange(rejected_answer_, std::nullopt);
    const absl::Duration left = Left();
    if (!lease.ok() || left == absl::ZeroDuration()) {
      return callback_(std::move(first), lease.status());
    }
    generation_ = lease->generation();
    call_(*std::move(lease), left,
          TakesAnswer<&AsyncCall::OnSecondAnswer>(this->shared_from_this()));
  }

  void OnSecondAnswer(Answer answer) {
    if (is_rejected_(std::as_const(answer))) {
      state_->ReportRejected(generation_);
    }
    callback_(std::move(answer), absl::OkStatus());
  }

  // This object owns the shell, and the shell owns this object while a read
  // waits. `Shell::Close` breaks that cycle of references. In the child of a
  // fork(), the shell leaks the parent's waiting reads, so they keep the shell
  // alive for good.
  const RefPtr<TypedShell<Token>> state_;
  ReadRequest request_;
  Generation generation_;  // The generation that `call_` was last given.
  Call call_;
  IsRejected is_rejected_;
  Callback callback_;
  // The rejected first answer, while a later token is being read.
  std::optional<Answer> rejected_answer_;
};

}  // namespace internal

template <typename Answer, typename Token>
void CallWithTokenAsync(
    Refreshable<Token>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options,
    internal::NotDeduced<internal::AsyncCallFunction<Answer, Token>> call,
    internal::FunctionArgument<absl::AnyInvocable<bool(const Answer&)>>
        is_rejected,
    internal::AsyncCallCallback<AnswerOrStatus<Answer>> callback) {
  if (call.is_null()) {
    internal::DieOfMisuse("CallWithTokenAsync: call is null");
  }
  if (is_rejected.is_null()) {
    internal::DieOfMisuse("CallWithTokenAsync: is_rejected is null");
  }
  if (!callback.pending()) {
    internal::DieOfMisuse("CallWithTokenAsync: callback is null");
  }
  std::make_shared<internal::AsyncCall<Answer, Token>>(
      refreshable, options, std::move(call), is_rejected.Take(),
      std::move(callback))
      ->Start(refreshable);
}

}  // namespace refreshable

#endif  // REFRESHABLE_CALL_WITH_TOKEN_H_
