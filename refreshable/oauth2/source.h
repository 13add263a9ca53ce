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

// A function or a token source that supplies tokens, such as signed assertions,
// for the requests of another source. A TokenSupplier is asked at most once for
// each attempt. It should answer before `context.timeout()` has passed since
// the start of the attempt. Part of this time may have passed while the attempt
// waited for an earlier supplier or for another attempt. TokenSuppliers are
// cheap to copy. A default-constructed TokenSupplier is null.
class TokenSupplier {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Secret>)>;

  TokenSupplier() = default;

  // Returns a supplier that calls `function`, or a null supplier if `function`
  // is empty. The function may block, must not throw, and may be called on
  // several threads at the same time. It may read another Refreshable. The
  // function runs on the thread that calls the source. But if the attempt has
  // waited for a supplier or for another attempt, the function runs on the
  // thread that ended that wait.
  static TokenSupplier Function(
      std::function<absl::StatusOr<Secret>(const FetchContext&)> function);

  // Returns a supplier that asks `source` for each request, or a null supplier
  // if `source` is null. Token is std::string or Secret. To cache the tokens of
  // `source`, use a `Function` that reads a Refreshable of `source` instead.
  template <typename Token>
  static TokenSupplier Source(std::shared_ptr<TokenSource<Token>> source);

  bool is_null() const { return get_ == nullptr; }
  // Passes a token or an error to `done`, inside this call or later. Requires:
  // !is_null().
  void Get(const FetchContext& context, Done done) const {
    get_(context, std::move(done));
  }

 private:
  std::function<void(const FetchContext&, Done)> get_;
};

// The next four structs are the grants: ways in which a client proves that it
// may have a token.

// The client credentials grant: RFC 6749, section 4.4.
struct ClientCredentialsGrant {};

// The refresh token grant: RFC 6749, section 6. `tokens` must not be null.
struct RefreshTokenGrant {
  std::shared_ptr<RefreshTokens> tokens;
};

// The JWT bearer grant: RFC 7523, section 2.1. `assertion` must not be null.
struct JwtBearerGrant {
  TokenSupplier assertion;
};

// The token exchange grant: RFC 8693. `subject_token` must not be null.
// ExchangeTokens describes the members whose names end in `_type`.
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
  // The supplier of the signed assertion of `client`, or null. If it is not
  // null, `client` must be an AssertionAuthentication, whose secret is ignored
  // and may be empty.
  TokenSupplier client_assertion;
  Grant grant = ClientCredentialsGrant();
  // Required. When the source is destroyed, it lets go of the transport as soon
  // as no thread is inside `Transport::Send` or a supplier.
  std::shared_ptr<Transport> transport;
  AnswerReader reader;  // Required.
  // With a TokenExchangeGrant, the source also accepts the token_type "N_A":
  // the type of a token that is not an access token (RFC 8693).
  AnswerOptions answer;
};

// Returns a source that makes at most one request for each attempt. If an
// option is not valid, returns INVALID_ARGUMENT and says what is wrong.
//
// Token is std::string, Secret, or any type with a constructor that takes an
// absl::string_view.
//
// The source is thread-safe. `Fetch` blocks only while the transport, a
// supplier or the refresh token store blocks. `Fetch` takes no lock, except the
// lock of a RefreshTokenGrant's RefreshTokens.
//
// If the source is destroyed, attempts that have not begun to send their
// requests fail with CANCELLED or with the error of a supplier. Requests that
// are outstanding go on, and new refresh tokens in their answers are stored.
// But if the source was the last owner of the transport, the transport ends
// these requests, and those refresh tokens are lost. A program that goes on
// without the source should keep the transport until these requests have ended.
//
// Most failures are those of InterpretAnswer, the transport or a supplier. No
// status that this library makes contains a secret or a token. The other
// failures are:
//
//   CANCELLED          The attempt was cancelled before it sent its request.
//   DEADLINE_EXCEEDED  Its timeout passed before it sent its request.
//   INVALID_ARGUMENT   A supplier gave an empty token.
//   INTERNAL           The transport dropped `done`.
//   ABORTED            With a RefreshTokenGrant: `RefreshTokens::Install` was
//                      called while the attempt loaded the old token.
//   the store's code   With a RefreshTokenGrant: no token could be loaded.
//
// With a RefreshTokenGrant, `IsLoginNeeded` returns true for a failure that
// only a new login can mend. SystemClock measures the timeout, whatever the
// clock of the executor is.
template <typename Token = std::string>
absl::StatusOr<std::shared_ptr<TokenSource<Token>>> CreateSource(
    SourceOptions options);

// Returns OK, or the error that CreateSource would return for `options`.
absl::Status ValidateSourceOptions(const SourceOptions& options);

namespace internal {

class SourceCore;

// The part of a source that does not depend on the user's type of token.
class SecretSource {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Credential<Secret>>)>;

  // Requires: the options are valid.
  explicit SecretSource(SourceOptions options);
  SecretSource(const SecretSource&) = delete;
  SecretSource& operator=(const SecretSource&) = delete;
  ~SecretSource();

  // Makes one attempt, and calls `done` once with its result. But if an
  // exception ends the attempt, `done` is destroyed without being called.
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
