// SPDX-License-Identifier: Apache-2.0
//
// Calling a server with a token, and telling when it rejected the token.

#ifndef REFRESHABLE_REJECTION_H_
#define REFRESHABLE_REJECTION_H_

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"

namespace refreshable {

// ---- Was it the token? ----

// How much of an error answer's body is worth reading for its `error` value: a
// longer body is no token error.
inline constexpr size_t kMaxErrorBodyBytes = 64 * 1024;

// Whether an answer of status 401 or 403 rejects the token, by the value of
// `error` in its JSON body, compared with `codes` letter by letter. Reading the
// body is the caller's: with its JSON library, and no more of it than
// `kMaxErrorBodyBytes`. Not for the token endpoint's own answers.
bool IsTokenError(int http_status, absl::string_view error,
                  absl::Span<const absl::string_view> codes);

// Whether an answer of status 401 rejects the token, by the value of its
// WWW-Authenticate header: a Bearer challenge with error="invalid_token" (RFC
// 6750, section 3), among other challenges perhaps (RFC 9110, section 11.6.1).
// A header that cannot be parsed rejects nothing.
bool IsInvalidTokenChallenge(int http_status,
                             absl::string_view www_authenticate);

// ---- Calling ----

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

}  // namespace internal

// What CallWithToken returns where the call returns Answer: `StatusOr<Answer>`,
// or Answer itself if that is a Status or StatusOr.
template <typename Answer>
using AnswerOrStatus = typename internal::AsStatusOr<Answer>::type;

// Reads a token and calls `call(const Lease<Token>&)` with it. If
// `is_rejected(const Answer&)`, invalidates the token and calls once more with
// a new one. If no new token is to be had (the refresh fails, or brings the
// same token), the caller gets the first answer. An error is returned only if
// there was no token for the first call.
//
// Blocks as `Get(options)` does, each of the two reads for at most
// `options.timeout`, and as `call` does. `call` is made at most twice: the
// request must bear being sent again.
template <typename Token, typename Call, typename IsRejected,
          typename Answer = std::invoke_result_t<Call&, const Lease<Token>&>>
AnswerOrStatus<Answer> CallWithToken(
    Refreshable<Token>& refreshable,
    const typename Refreshable<Token>::ReadOptions& options, Call call,
    IsRejected is_rejected) {
  absl::StatusOr<Lease<Token>> lease = refreshable.Get(options);
  if (!lease.ok()) return lease.status();
  Answer answer = call(*lease);
  if (!is_rejected(std::as_const(answer))) return answer;
  const Generation rejected = lease->generation();
  refreshable.Invalidate(rejected);
  lease = refreshable.Get(options);
  if (!lease.ok() || lease->generation() == rejected) return answer;
  return call(*lease);
}

// The same without a thread that waits: `call(Lease<Token>, done)` starts the
// call and returns; `done(Answer)` takes its answer, once, on any thread.
// `callback` gets what CallWithToken would return, once: on the thread that
// called `done`, or, where no token was had, as a `GetAsync` callback. Shares
// ownership of the Refreshable until then.
template <typename Answer, typename Token>
void CallWithTokenAsync(
    std::shared_ptr<Refreshable<Token>> refreshable,
    typename Refreshable<Token>::ReadOptions options,
    absl::AnyInvocable<void(Lease<Token>, absl::AnyInvocable<void(Answer)>)>
        call,
    absl::AnyInvocable<bool(const Answer&)> is_rejected,
    absl::AnyInvocable<void(AnswerOrStatus<Answer>)> callback);

namespace internal {

// One CallWithTokenAsync on its way.
template <typename Answer, typename Token>
struct AsyncCall : std::enable_shared_from_this<AsyncCall<Answer, Token>> {
  std::shared_ptr<Refreshable<Token>> refreshable;
  typename Refreshable<Token>::ReadOptions options;
  absl::AnyInvocable<void(Lease<Token>, absl::AnyInvocable<void(Answer)>)> call;
  absl::AnyInvocable<bool(const Answer&)> is_rejected;
  absl::AnyInvocable<void(AnswerOrStatus<Answer>)> callback;

  void Start() {
    refreshable->GetAsync(options, [self = this->shared_from_this()](
                                       absl::StatusOr<Lease<Token>> lease) {
      if (!lease.ok()) return self->Finish(lease.status());
      const Generation generation = lease->generation();
      self->call(*std::move(lease), [self, generation](Answer answer) {
        self->OnFirstAnswer(generation, std::move(answer));
      });
    });
  }

  void OnFirstAnswer(Generation generation, Answer answer) {
    if (!is_rejected(answer)) return Finish(std::move(answer));
    refreshable->Invalidate(generation);
    refreshable->GetAsync(
        options, [self = this->shared_from_this(), generation,
                  answer = std::move(answer)](
                     absl::StatusOr<Lease<Token>> lease) mutable {
          if (!lease.ok() || lease->generation() == generation) {
            return self->Finish(std::move(answer));
          }
          self->call(*std::move(lease), [self](Answer second) {
            self->Finish(std::move(second));
          });
        });
  }

  template <typename Outcome>
  void Finish(Outcome outcome) {
    // The Refreshable may end here, and before the callback's captures do.
    auto done = std::move(callback);
    refreshable = nullptr;
    done(std::move(outcome));
  }
};

}  // namespace internal

template <typename Answer, typename Token>
void CallWithTokenAsync(
    std::shared_ptr<Refreshable<Token>> refreshable,
    typename Refreshable<Token>::ReadOptions options,
    absl::AnyInvocable<void(Lease<Token>, absl::AnyInvocable<void(Answer)>)>
        call,
    absl::AnyInvocable<bool(const Answer&)> is_rejected,
    absl::AnyInvocable<void(AnswerOrStatus<Answer>)> callback) {
  auto state = std::make_shared<internal::AsyncCall<Answer, Token>>();
  state->refreshable = std::move(refreshable);
  state->options = options;
  state->call = std::move(call);
  state->is_rejected = std::move(is_rejected);
  state->callback = std::move(callback);
  state->Start();
}

}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_H_
