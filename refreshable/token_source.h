// SPDX-License-Identifier: Apache-2.0
//
// TokenSource: the interface that users implement to obtain tokens.

#ifndef REFRESHABLE_TOKEN_SOURCE_H_
#define REFRESHABLE_TOKEN_SOURCE_H_

#include <atomic>
#include <exception>
#include <memory>
#include <ostream>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/generation.h"
#include "refreshable/internal/has_equality.h"  // IWYU pragma: export
#include "refreshable/internal/null_function.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// What a source is told about one call of `Fetch`. A thread-safe value type.
// Copies are cheap and may be kept after the call.
class FetchContext {
 public:
  // Public so that tests of a source can make a context. Requires: `cancelled`
  // is not null.
  FetchContext(RefreshReason reason, int attempt, Generation rejected,
               absl::Duration timeout,
               std::shared_ptr<const std::atomic<bool>> cancelled)
      : reason_(reason),
        attempt_(attempt),
        rejected_(rejected),
        timeout_(timeout),
        cancelled_(std::move(cancelled)) {}

  // Why the attempt is made.
  RefreshReason reason() const { return reason_; }
  // 1 + the number of earlier attempts of the same refresh that failed.
  int attempt() const { return attempt_; }
  // The generation of the rejected or withdrawn token to replace; 0 if there is
  // none. If this is not 0, the source must bypass any cache of its own.
  // Returning a rejected token again does not help. Returning a withdrawn token
  // again is a failure.
  Generation rejected() const { return rejected_; }
  // How long the attempt may take, counted from just before the call of
  // `Fetch`. An attempt that takes longer is abandoned and fails. May be
  // infinite.
  absl::Duration timeout() const { return timeout_; }
  // Whether nobody waits for the answer any longer: the attempt has timed out
  // or was superseded, or the Refreshable was destroyed. The source may stop
  // early.
  bool cancelled() const { return cancelled_->load(std::memory_order_relaxed); }

  // Returns a copy with another timeout, for a source that asks another source.
  // The copy is cancelled when this context is cancelled.
  FetchContext WithTimeout(absl::Duration timeout) const {
    FetchContext copy = *this;
    copy.timeout_ = timeout;
    return copy;
  }

  friend std::ostream& operator<<(std::ostream& os,
                                  const FetchContext& context) {
    return os << "FetchContext(" << context.reason() << ", attempt "
              << context.attempt() << ", rejected " << context.rejected()
              << ", timeout " << context.timeout()
              << (context.cancelled() ? ", cancelled)" : ")");
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const FetchContext& context) {
    sink.Append(internal::Streamed(context));
  }

 private:
  RefreshReason reason_;
  int attempt_;
  Generation rejected_;
  absl::Duration timeout_;
  std::shared_ptr<const std::atomic<bool>> cancelled_;
};

namespace internal {

// Returns the status with which an attempt ends if an exception destroys its
// FetchDone. If the exception leaves `Fetch`, another status replaces this one,
// because the exception's type is known then.
inline absl::Status SourceThrew() {
  return absl::UnknownError("the token source threw");
}

}  // namespace internal

// Takes the outcome of one call of a source. It may be called once, inside
// `Fetch` or later, on any thread; further calls are ignored. A call may run
// other user code: the observer, `on_token_changed`, callbacks.
//
// If a FetchDone is destroyed or assigned to before it was called, the attempt
// fails with INTERNAL, or with UNKNOWN if an exception is propagating.
//
// Move-only. One object must not be used by two threads at the same time.
template <typename Token>
class FetchDone {
 public:
  using Result = absl::StatusOr<Credential<Token>>;

  // `complete` takes a reference, so an exception of the token's move
  // constructor is thrown inside `complete`.
  explicit FetchDone(absl::AnyInvocable<void(Result&&)> complete)
      : complete_(std::move(complete)) {}
  FetchDone(FetchDone&& other) noexcept
      : complete_(std::exchange(other.complete_, nullptr)) {}
  FetchDone& operator=(FetchDone&& other) noexcept {
    if (this != &other) {
      Drop();
      complete_ = std::exchange(other.complete_, nullptr);
    }
    return *this;
  }
  ~FetchDone() { Drop(); }

  void operator()(Result result) {
    auto complete = std::exchange(complete_, nullptr);
    if (complete) complete(std::move(result));
  }

 private:
  void Drop() {
    if (!complete_) return;
    (*this)(std::uncaught_exceptions() > 0
                ? internal::SourceThrew()
                : absl::InternalError("the token source dropped the attempt "
                                      "without an answer"));
  }

  absl::AnyInvocable<void(Result&&)> complete_;
};

// What a Refreshable obtains its tokens from. For one blocking function, use
// `BlockingSource` below.
//
// `Fetch` is called on a thread of the executor, or on a reader's thread that
// would otherwise wait for the executor. No lock of this library is held.
// `Fetch` may block. It must be thread-safe, because it may be entered while an
// abandoned call is still inside. It must not block on a read of the
// Refreshable that it serves, because that read may wait for this very call.
//
// `Fetch` may throw. If `done` has not been called, the attempt then fails with
// code UNKNOWN and a message that names the exception's type, if the compiler
// provides it. `ClassifyFailure` treats UNKNOWN as permanent. So catch
// exceptions that are worth a retry, and pass UNAVAILABLE to `done`.
//
// The code of a failure's status decides whether it is retried
// (`Refreshable::Options::classify`). Statuses end up in errors and logs: put
// no secret in them. Use `SetRetryAfter` (refresh_error.h) to pass on a
// server's Retry-After.
//
// Ownership: the Refreshable owns its source, and so does each thread inside
// `Fetch`. A `FetchDone` does not own the source, which may be destroyed before
// some calls have answered. Their later answers are ignored.
//
// The last owner destroys the source. The source's destructor may join the
// source's own threads, and one of these may be inside a call of a `FetchDone`.
// A thread cannot join itself. So inside a call of a `FetchDone` this library
// leaves the destruction to a task of the executor or a new thread. If the
// system refuses the new thread, the source is leaked.
template <typename Token>
class TokenSource {
 public:
  virtual ~TokenSource() = default;

  // Obtains one credential and passes it, or the status of the failure, to
  // `done`.
  virtual void Fetch(const FetchContext& context, FetchDone<Token> done) = 0;
};

// GoogleTest calls this. By default it would print the token's bytes.
template <typename Token>
void PrintTo(const absl::StatusOr<Credential<Token>>& result,
             std::ostream* os) {
  if (result.ok()) {
    *os << *result;
  } else {
    *os << result.status();
  }
}

namespace internal {

template <typename Function>
using FetchResult = typename std::conditional_t<
    std::is_invocable_v<Function&, const FetchContext&>,
    std::invoke_result<Function&, const FetchContext&>,
    std::invoke_result<Function&>>::type;

template <typename Token, typename Function>
class FunctionSource final : public TokenSource<Token> {
 public:
  explicit FunctionSource(Function function) : function_(std::move(function)) {}

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    if constexpr (std::is_invocable_v<Function&, const FetchContext&>) {
      done(function_(context));
    } else {
      done(function_());
    }
  }

 private:
  Function function_;
};

}  // namespace internal

// Returns a source whose `Fetch` calls `function`. `function` returns
// `absl::StatusOr<Credential<Token>>` and takes a `const FetchContext&` or
// nothing. `function` may block. It must be thread-safe (see `TokenSource`). If
// `function` is null or empty, BlockingSource returns null, which
// `Refreshable::Create` refuses.
template <typename Token, typename Function>
std::shared_ptr<TokenSource<Token>> BlockingSource(Function function) {
  constexpr bool kTakes = std::is_invocable_v<Function&, const FetchContext&> ||
                          std::is_invocable_v<Function&>;
  static_assert(kTakes,
                "BlockingSource: the function must take a const FetchContext& "
                "or nothing, and its body must compile");
  if constexpr (kTakes) {
    constexpr bool kReturns =
        std::is_convertible_v<internal::FetchResult<Function>,
                              absl::StatusOr<Credential<Token>>>;
    static_assert(kReturns,
                  "BlockingSource: the function must return "
                  "absl::StatusOr<Credential<Token>>");
    if constexpr (kReturns) {
      if (internal::IsNullFunction(function)) return nullptr;
      return std::make_shared<internal::FunctionSource<Token, Function>>(
          std::move(function));
    }
  }
}

}  // namespace refreshable

#endif  // REFRESHABLE_TOKEN_SOURCE_H_
