// SPDX-License-Identifier: Apache-2.0
//
// StaticSource: a source with one token that never expires, such as an API key.

#ifndef REFRESHABLE_SOURCES_STATIC_SOURCE_H_
#define REFRESHABLE_SOURCES_STATIC_SOURCE_H_

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

// Whether Token has a method `empty()`, as std::string and Secret have.
template <typename Token, typename = void>
struct HasEmpty : std::false_type {};
template <typename Token>
struct HasEmpty<Token, std::void_t<decltype(static_cast<bool>(
                           std::declval<const Token&>().empty()))>>
    : std::true_type {};

}  // namespace internal

// A source that answers with copies of one token, which never expires.
//
//   auto source = refreshable::StaticSource<refreshable::Secret>::Create(
//       refreshable::Secret(api_key));
//   if (!source.ok()) return source.status();
//   auto token = refreshable::Refreshable<refreshable::Secret>::Create(
//       *source, {&executor});
//
// The source has no other token. So after it has given its token, a call whose
// `FetchContext::rejected` is not 0 fails with UNAUTHENTICATED, which is
// permanent. A read that rejects the token (`ReadOptions::rejected`) then
// fails; other reads still get the token. If `Refreshable::Invalidate`
// withdraws the token, all reads fail until `Refreshable::Install` brings
// another token, or `Refreshable::Reset` permits the same token again.
//
// `Token` must be copyable. Thread-safe; does not block. Statuses do not
// contain the token.
template <typename Token>
class StaticSource final : public TokenSource<Token> {
  static_assert(std::is_copy_constructible_v<Token>,
                "StaticSource: the token must be copyable");

 public:
  // If Token has a method `empty()` and the token is empty, fails with
  // INVALID_ARGUMENT.
  static absl::StatusOr<std::shared_ptr<TokenSource<Token>>> Create(
      Token token) {
    if constexpr (internal::HasEmpty<Token>::value) {
      if (token.empty()) {
        return absl::InvalidArgumentError("StaticSource: the token is empty");
      }
    }
    return std::shared_ptr<TokenSource<Token>>(
        new StaticSource(std::move(token)));
  }

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    // If this source has not given its token yet, the rejected token came from
    // elsewhere, such as from `Refreshable::Install`.
    if (given_.exchange(true, std::memory_order_relaxed) &&
        context.rejected() != Generation(0)) {
      return done(absl::UnauthenticatedError(
          "the token was rejected, and its source, a StaticSource, has no "
          "other; Install() brings a new one"));
    }
    done(Credential<Token>(token_, Expiry::Never()));
  }

 private:
  explicit StaticSource(Token token) : token_(std::move(token)) {}

  const Token token_;
  std::atomic<bool> given_{false};
};

}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_STATIC_SOURCE_H_
