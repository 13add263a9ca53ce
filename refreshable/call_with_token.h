// SPDX-License-Identifier: Apache-2.0
//
// Calls a server with a token, and once more with a new one if the server
// rejects the first.

#ifndef REFRESHABLE_CALL_WITH_TOKEN_H_
#define REFRESHABLE_CALL_WITH_TOKEN_H_

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "refreshable/generation.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"

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

// Takes no part in template argument deduction, so that a lambda converts.
template <typename T>
struct Identity {
  using type = T;
};
template <typename T>
using NotDeduced = typename Identity<T>::type;

}  // namespace internal

// What CallWithToken returns where the call returns Answer: `StatusOr<Answer>`,
// or Answer itself if that is a Status or StatusOr.
template <typename Answer>
using AnswerOrStatus = typename internal::AsStatusOr<Answer>::type;

// Reads a token and calls `call(const Lease<Token>&)` with it. If
// `is_rejected(const Answer&)`, invalidates the token and calls once more with
// a new one, whose answer is returned whatever it says. If no new token is to
// be had (the refresh fails, brings the same token, or is not permitted yet,
// because the rejected token was issued a moment ago), the caller gets the
// first answer. An error of this library is returned only if there was no token
// for the first call.
//
// Blocks as `Get(options)` does, each of the two reads for at most
// `options.timeout`, and as `call` does. `call` is made at most twice: the
// request must bear being sent again. What `call` or `is_rejected` throws
// reaches the caller.
template <typename Token, typename Call, typename IsRejected,
          typename Answer =
              std::decay_t<std::invoke_result_t<Call&, const Lease<Token>&>>>
AnswerOrStatus<Answer> CallWithToken(
    Refreshable<Token>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options, Call call,
    IsRejected is_rejected) {
  absl::StatusOr<Lease<Token>> lease = refreshable.Get(options);
  if (!lease.ok()) return lease.status();
  Answer answer = call(std::as_const(*lease));
  if (!is_rejected(std::as_const(answer))) return answer;
  const Generation rejected = lease->generation();
  refreshable.Invalidate(rejected);
  lease = refreshable.Get(options);
  if (!lease.ok() || lease->generation() == rejected) return answer;
  return call(std::as_const(*lease));
}

// The same without a thread that waits: `call(Lease<Token>, done)` starts the
// call and returns; `done(Answer)` takes its answer, on any thread, once: later
// calls of it are ignored. Where `call` itself calls `done`, it may be entered
// a second time, on another thread, before it has returned.
//
//   CallWithTokenAsync<Response>(
//       token, {absl::Seconds(5)},
//       [http](Lease<std::string> lease,
//              absl::AnyInvocable<void(Response)> done) {
//         http->Send(RequestWith(lease.token()), std::move(done));
//       },
//       [](const Response& response) { return response.status == 401; },
//       [](absl::StatusOr<Response> response) { ... });
//
// `callback` gets what CallWithToken would return, exactly once: on the thread
// that called `done`, or, where no token was had, as a `GetAsync` callback. If
// `call` destroys `done` without having called it, or throws, or `is_rejected`
// throws, `callback` gets an INTERNAL error, in the thread that did so, and
// what was thrown goes on. `callback` itself must not throw.
//
// No argument may be null. What `Create` returns is a unique_ptr: convert it to
// a `std::shared_ptr<Refreshable<Token>>` before the call, from which `Token`
// is deduced.
//
// Does not keep the Refreshable alive: if it is destroyed meanwhile, a read
// that waits ends with CANCELLED and a first answer is the last one. `done`
// must not be called while the executor is being destroyed.
template <typename Answer, typename Token>
void CallWithTokenAsync(
    const std::shared_ptr<Refreshable<Token>>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options,
    internal::NotDeduced<absl::AnyInvocable<
        void(Lease<Token>, absl::AnyInvocable<void(Answer)>)>>
        call,
    absl::AnyInvocable<bool(const Answer&)> is_rejected,
    absl::AnyInvocable<void(AnswerOrStatus<Answer>)> callback);

namespace internal {

// One CallWithTokenAsync on its way: shared by whatever will take it further.
// When nothing is left that could, it ends with an error.
template <typename Answer, typename Token>
class AsyncCall
    : public std::enable_shared_from_this<AsyncCall<Answer, Token>> {
 public:
  using Outcome = AnswerOrStatus<Answer>;
  using Done = absl::AnyInvocable<void(Answer)>;
  using Call = absl::AnyInvocable<void(Lease<Token>, Done)>;
  using IsRejected = absl::AnyInvocable<bool(const Answer&)>;
  using Callback = absl::AnyInvocable<void(Outcome)>;

  AsyncCall(const std::shared_ptr<Refreshable<Token>>& refreshable,
            const typename Refreshable<Token>::ReadOptions& options, Call call,
            IsRejected is_rejected, Callback callback)
      : refreshable_(refreshable),
        options_(options),
        call_(std::move(call)),
        is_rejected_(std::move(is_rejected)),
        callback_(std::move(callback)) {}
  AsyncCall(const AsyncCall&) = delete;
  AsyncCall& operator=(const AsyncCall&) = delete;
  ~AsyncCall() {
    if (callback_) {
      Finish(absl::InternalError(
          "the call with the token ended without an answer"));
    }
  }

  void Start(Refreshable<Token>& refreshable) {
    refreshable.GetAsync(options_, [self = this->shared_from_this()](
                                       absl::StatusOr<Lease<Token>> lease) {
      if (!lease.ok()) return self->Finish(lease.status());
      const Generation generation = lease->generation();
      self->call_(*std::move(lease), Once([self, generation](Answer answer) {
        self->OnFirstAnswer(generation, std::move(answer));
      }));
    });
  }

 private:
  // `function`, gone once it has been called.
  template <typename Function>
  static Done Once(Function function) {
    return [function = std::optional<Function>(std::move(function))](
               Answer answer) mutable {
      std::optional<Function> taken = std::exchange(function, std::nullopt);
      if (taken.has_value()) (*taken)(std::move(answer));
    };
  }

  void OnFirstAnswer(Generation generation, Answer answer) {
    if (!is_rejected_(std::as_const(answer))) return Finish(std::move(answer));
    const std::shared_ptr<Refreshable<Token>> refreshable = refreshable_.lock();
    if (refreshable == nullptr) return Finish(std::move(answer));
    refreshable->Invalidate(generation);
    refreshable->GetAsync(
        options_, [self = this->shared_from_this(), generation,
                   answer = std::move(answer)](
                      absl::StatusOr<Lease<Token>> lease) mutable {
          if (!lease.ok() || lease->generation() == generation) {
            return self->Finish(std::move(answer));
          }
          self->call_(*std::move(lease), Once([self](Answer second) {
            self->Finish(std::move(second));
          }));
        });
  }

  void Finish(Outcome outcome) {
    Callback callback = std::exchange(callback_, nullptr);
    callback(std::move(outcome));
  }

  const std::weak_ptr<Refreshable<Token>> refreshable_;
  const typename Refreshable<Token>::ReadOptions options_;
  Call call_;
  IsRejected is_rejected_;
  Callback callback_;
};

}  // namespace internal

template <typename Answer, typename Token>
void CallWithTokenAsync(
    const std::shared_ptr<Refreshable<Token>>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options,
    internal::NotDeduced<absl::AnyInvocable<
        void(Lease<Token>, absl::AnyInvocable<void(Answer)>)>>
        call,
    absl::AnyInvocable<bool(const Answer&)> is_rejected,
    absl::AnyInvocable<void(AnswerOrStatus<Answer>)> callback) {
  std::make_shared<internal::AsyncCall<Answer, Token>>(
      refreshable, options, std::move(call), std::move(is_rejected),
      std::move(callback))
      ->Start(*refreshable);
}

}  // namespace refreshable

#endif  // REFRESHABLE_CALL_WITH_TOKEN_H_
