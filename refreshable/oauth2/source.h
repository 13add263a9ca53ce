// SPDX-License-Identifier: Apache-2.0
//
// CreateSource: a token source for any OAuth 2.0 server, over any HTTP client
// and any JSON parser.

#ifndef REFRESHABLE_OAUTH2_SOURCE_H_
#define REFRESHABLE_OAUTH2_SOURCE_H_

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace oauth2 {

// Brings a token that a request contains: a signed assertion, or the token to
// exchange. The source asks it once for each request, with the context of the
// attempt; it should answer within `context.timeout()`. A value that is cheap
// to copy. A default-constructed supplier is null: it brings no token.
class TokenSupplier {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Secret>)>;

  TokenSupplier() = default;

  // Returns a supplier that calls `function`. The function may block, must not
  // throw, and may be called on several threads at the same time. It may read
  // another Refreshable. It is called on the thread that calls the source. But
  // if the attempt first waited for an earlier supplier or for another attempt,
  // it is called on the thread that ended that wait. If the function is empty,
  // the supplier is null.
  static TokenSupplier Function(
      std::function<absl::StatusOr<Secret>(const FetchContext&)> function);

  // Returns a supplier that asks another token source, of std::string or
  // Secret, for each request. To cache the tokens of that source, wrap it in a
  // Refreshable and read the Refreshable in a `Function`. If `source` is null,
  // the supplier is null.
  template <typename Token>
  static TokenSupplier Source(std::shared_ptr<TokenSource<Token>> source);

  bool is_null() const { return get_ == nullptr; }
  // Asks for a token, which is passed to `done`, now or later. Requires:
  // !is_null().
  void Get(const FetchContext& context, Done done) const {
    get_(context, std::move(done));
  }

 private:
  std::function<void(const FetchContext&, Done)> get_;
};

// The four structs below are the grants: how a client proves that it may have a
// token. This one: RFC 6749, section 4.4.
struct ClientCredentialsGrant {};

// RFC 6749, section 6.
struct RefreshTokenGrant {
  std::shared_ptr<RefreshTokens> tokens;
};

// RFC 7523, section 2.1.
struct JwtBearerGrant {
  TokenSupplier assertion;
};

// RFC 8693: workload identity, for example. The members whose names end in
// `_type` are described at ExchangeTokens.
struct TokenExchangeGrant {
  TokenSupplier subject_token;
  std::string subject_token_type = ExchangeTokens().subject_token_type;
  TokenSupplier actor_token;  // If null, there is no actor.
  std::string actor_token_type = ExchangeTokens().actor_token_type;
  std::string requested_token_type;
};

using Grant = std::variant<ClientCredentialsGrant, RefreshTokenGrant,
                           JwtBearerGrant, TokenExchangeGrant>;

struct SourceOptions {
  Endpoint endpoint;
  ClientAuthentication client;
  // If not null, it brings the signed assertion of `client`, and
  // `client.secret` is ignored: `options.client = AssertionAuthentication("id",
  // Secret())`.
  TokenSupplier client_assertion;
  Grant grant = ClientCredentialsGrant();
  // Required. The source lets go of the transport when it is destroyed; if
  // another thread is just then handing a request to the transport, a moment
  // later.
  std::shared_ptr<Transport> transport;
  AnswerReader reader;  // Required.
  // For a TokenExchangeGrant, "N_A" is added to `token_types`, unless they are
  // empty.
  AnswerOptions answer;
};

// Returns a source that makes one request for each attempt. Returns
// INVALID_ARGUMENT, which names the field, if an option is not valid.
//
// Token is std::string, Secret, or any type with a constructor that takes an
// absl::string_view.
//
// The source is thread-safe and takes no lock, except that attempts which
// present a refresh token wait for each other (see `RefreshTokens`). Its
// `Fetch` blocks only if the transport, a supplier or the refresh token store
// does. If the source is destroyed, requests that are outstanding go on. If
// their answers contain new refresh tokens, these are still stored.
//
// Failures are those of InterpretAnswer, of the transport and of the suppliers.
// An attempt whose time is over, or that is cancelled, before its request was
// sent fails with DEADLINE_EXCEEDED or CANCELLED. `IsLoginNeeded` recognizes
// the failures of a RefreshTokenGrant that only a new login can mend. No status
// contains a secret or a token.
template <typename Token = std::string>
absl::StatusOr<std::shared_ptr<TokenSource<Token>>> CreateSource(
    SourceOptions options);

// Returns OK, or the error that CreateSource would return for `options`.
absl::Status ValidateSourceOptions(const SourceOptions& options);

namespace internal {

class SourceCore;

// The part of a source that does not depend on the user's type of token. It
// brings every token as a Secret, which TypedSource then converts to that type.
class SecretSource {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Credential<Secret>>)>;

  // Requires: the options are valid.
  explicit SecretSource(SourceOptions options);
  SecretSource(const SecretSource&) = delete;
  SecretSource& operator=(const SecretSource&) = delete;
  ~SecretSource();

  // Makes one attempt. `done` is called once; but if an exception is
  // propagating, it is destroyed without having been called.
  void Fetch(const FetchContext& context, Done done);

 private:
  const std::shared_ptr<SourceCore> core_;
};

template <typename Token>
class TypedSource final : public TokenSource<Token> {
 public:
  explicit TypedSource(SourceOptions options) : source_(std::move(options)) {}

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    source_.Fetch(context, [done = std::move(done)](
                               absl::StatusOr<Credential<Secret>> r) mutable {
      if (!r.ok()) return done(std::move(r).status());
      done(Credential<Token>(Token(r->token.reveal()), r->expiry));
    });
  }

 private:
  SecretSource source_;
};

}  // namespace internal

template <typename Token>
TokenSupplier TokenSupplier::Source(
    std::shared_ptr<TokenSource<Token>> source) {
  TokenSupplier supplier;
  if (source == nullptr) return supplier;
  supplier.get_ = [source = std::move(source)](const FetchContext& context,
                                               Done done) {
    source->Fetch(
        context,
        FetchDone<Token>([done = std::move(done)](
                             absl::StatusOr<Credential<Token>>&& r) mutable {
          if (!r.ok()) return done(std::move(r).status());
          if constexpr (std::is_same_v<Token, std::string>) {
            done(Secret::TakeFrom(r->token));
          } else {
            done(Secret(std::move(r->token)));
          }
        }));
  };
  return supplier;
}

template <typename Token>
absl::StatusOr<std::shared_ptr<TokenSource<Token>>> CreateSource(
    SourceOptions options) {
  static_assert(std::is_constructible_v<Token, absl::string_view>,
                "CreateSource: Token must have a constructor that takes an "
                "absl::string_view, as std::string and Secret have");
  if (absl::Status status = ValidateSourceOptions(options); !status.ok()) {
    return status;
  }
  return std::make_shared<internal::TypedSource<Token>>(std::move(options));
}

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_SOURCE_H_
