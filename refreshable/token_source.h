// SPDX-License-Identifier: Apache-2.0
//
// TokenSource: where tokens come from. The part that every user writes.

#ifndef REFRESHABLE_TOKEN_SOURCE_H_
#define REFRESHABLE_TOKEN_SOURCE_H_

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "refreshable requires C++17 or later: compile with -std=c++17"
#endif

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
#include "refreshable/generation.h"
#include "refreshable/internal/has_equality.h"  // IWYU pragma: export
#include "refreshable/internal/printing.h"

namespace refreshable {

// What one call of a source is told. A value, cheap to copy; copies may be kept
// beyond the call. Thread-safe.
class FetchContext {
 public:
  // For tests of a source. Requires: `cancelled` is not null.
  FetchContext(RefreshReason reason, int attempt, Generation rejected,
               absl::Duration timeout,
               std::shared_ptr<const std::atomic<bool>> cancelled)
      : reason_(reason),
        attempt_(attempt),
        rejected_(rejected),
        timeout_(timeout),
        cancelled_(std::move(cancelled)) {}

  // Why a token is asked for.
  RefreshReason reason() const { return reason_; }
  // 1 for the first attempt of a refresh, 2 for its first retry, ...
  int attempt() const { return attempt_; }
  // The generation that a server rejected, or that was withdrawn, and that
  // nothing has replaced yet; or 0. If it is set, a source must bypass any
  // cache of its own: the same token once more is no help, and if it was
  // withdrawn, it counts as a failure.
  Generation rejected() const { return rejected_; }
  // The attempt's deadline, counted from the call of `Fetch`: later it is
  // abandoned and counts as failed. May be infinite.
  absl::Duration timeout() const { return timeout_; }
  // Whether the answer is no longer waited for: the attempt has timed out or
  // was overtaken, or the Refreshable is gone. The source may stop early.
  bool cancelled() const { return cancelled_->load(std::memory_order_relaxed); }

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

// What is known of a source that threw while its exception is on its way.
inline absl::Status SourceThrew() {
  return absl::UnknownError("the token source threw");
}

}  // namespace internal

// Takes the outcome of one call of a source. Move-only. May be called inside
// `Fetch`, after it, and on any thread, once: later calls of the same object
// are ignored. If it is destroyed without having been called, the attempt has
// failed with INTERNAL (UNKNOWN while an exception unwinds). Calling it may run
// callbacks of the Refreshable's users. Like any value, one object must not be
// used by two threads at the same time.
template <typename Token>
class FetchDone {
 public:
  using Result = absl::StatusOr<Credential<Token>>;

  // The result comes by reference, so that nothing is moved on the way: a
  // Token's move constructor may throw, and `complete` would never be called.
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

// Obtains tokens: asks an OAuth 2.0 endpoint, a metadata server, a vault, a
// command. To be implemented by the user; `BlockingSource` below serves where
// one blocking function is all there is.
//
// `Fetch` is called on a thread of the executor, or on a reader's thread that
// would otherwise wait for that executor. It may block, and may throw, which
// counts as a failure with UNKNOWN that names the exception's type: permanent
// by `ClassifyFailure`, so catch, and return as UNAVAILABLE, what is worth a
// retry. It may be entered while an abandoned earlier call is still inside, so
// it must be thread-safe. It must not wait, by reading the same Refreshable,
// for the token it is to bring. No lock of this library is held around it.
//
// By the code of the status it returns, a failure is retried or not; see
// `Refreshable::Options::classify`. Statuses end up in errors and logs: put no
// secret in them. `SetRetryAfter` (refresh_error.h) passes on what a server
// asked for.
//
// The Refreshable owns its source, together with the threads that are inside
// `Fetch`. An outstanding `FetchDone` does not: once the Refreshable has been
// destroyed and `Fetch` has returned, the source is destroyed, though calls may
// not have answered. What they answer later is ignored. The destructor may wait
// for the source's own threads: it never runs on a thread that is inside a call
// of a `FetchDone`. A Refreshable that is destroyed there leaves the source to
// its executor, or, if that refuses, to a thread of its own. Elsewhere the
// source is destroyed before the destructor of the Refreshable returns, unless
// a thread is inside `Fetch` or others own it too.
template <typename Token>
class TokenSource {
 public:
  virtual ~TokenSource() = default;

  // Obtains one credential and hands it, or the reason there is none, to
  // `done`.
  virtual void Fetch(const FetchContext& context, FetchDone<Token> done) = 0;
};

// GoogleTest would dump the bytes of what a source returns, token and all.
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

// What a function returns that takes a context or nothing.
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

// A source that calls one blocking function, which returns
// `absl::StatusOr<Credential<Token>>` and takes a `const FetchContext&` or
// nothing. The function may be called on several threads at the same time (see
// `TokenSource`).
template <typename Token, typename Function>
std::shared_ptr<TokenSource<Token>> BlockingSource(Function function) {
  constexpr bool kTakes = std::is_invocable_v<Function&, const FetchContext&> ||
                          std::is_invocable_v<Function&>;
  static_assert(kTakes,
                "BlockingSource: the function must take a const FetchContext& "
                "or nothing");
  if constexpr (kTakes) {
    constexpr bool kReturns =
        std::is_convertible_v<internal::FetchResult<Function>,
                              absl::StatusOr<Credential<Token>>>;
    static_assert(kReturns,
                  "BlockingSource: the function must return "
                  "absl::StatusOr<Credential<Token>>");
    if constexpr (kReturns) {
      return std::make_shared<internal::FunctionSource<Token, Function>>(
          std::move(function));
    }
  }
}

}  // namespace refreshable

#endif  // REFRESHABLE_TOKEN_SOURCE_H_
