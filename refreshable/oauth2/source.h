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
// exchange. Asked once for each request, with the context of the attempt; it
// should answer within `context.timeout()`. A value that is cheap to copy. By
// default there is none.
class TokenSupplier {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Secret>)>;

  TokenSupplier() = default;

  // Calls a function, which may block, must not throw, and may be called on
  // several threads at the same time. It may read another Refreshable. It is
  // called on a thread of the executor or, if it had to wait for an earlier
  // supplier or another attempt, on the thread that ended the wait.
  static TokenSupplier Function(
      std::function<absl::StatusOr<Secret>(const FetchContext&)> function);

  // Asks another token source, of std::string or Secret, for each request. If
  // its tokens should be cached, wrap it in a Refreshable and read that in a
  // `Function`.
  template <typename Token>
  static TokenSupplier Source(std::shared_ptr<TokenSource<Token>> source);

  bool is_null() const { return get_ == nullptr; }
  // Requires: !is_null().
  void Get(const FetchContext& context, Done done) const {
    get_(context, std::move(done));
  }

 private:
  std::function<void(const FetchContext&, Done)> get_;
};

// The grants. RFC 6749, section 4.4:
struct ClientCredentialsGrant {};

// RFC 6749, section 6.
struct RefreshTokenGrant {
  std::shared_ptr<RefreshTokens> tokens;
};

// RFC 7523, section 2.1.
struct JwtBearerGrant {
  TokenSupplier assertion;
};

// RFC 8693: workload identity, for example. The types are those of
// ExchangeTokens.
struct TokenExchangeGrant {
  TokenSupplier subject_token;
  std::string subject_token_type = ExchangeTokens().subject_token_type;
  TokenSupplier actor_token;  // Optional.
  std::string actor_token_type = ExchangeTokens().actor_token_type;
  std::string requested_token_type;
};

using Grant = std::variant<ClientCredentialsGrant, RefreshTokenGrant,
                           JwtBearerGrant, TokenExchangeGrant>;

struct SourceOptions {
  Endpoint endpoint;
  ClientAuthentication client;
  // If set, it brings the signed assertion of `client`, whose `secret` is then
  // ignored: `options.client = AssertionAuthentication("id", Secret())`.
  TokenSupplier client_assertion;
  Grant grant = ClientCredentialsGrant();
  // Required. If the source is destroyed while another thread hands a request
  // to the transport, the transport is let go of a moment later.
  std::shared_ptr<Transport> transport;
  AnswerReader reader;  // Required.
  // For a TokenExchangeGrant, `token_types` also has "N_A", unless it is empty.
  AnswerOptions answer;
};

// Returns a source that makes one request for each attempt. Returns
// INVALID_ARGUMENT, which names the field, if an option is not valid.
//
// Token is std::string, Secret, or any type with a constructor that takes an
// absl::string_view.
//
// The source is thread-safe and takes no lock, except that attempts which
// present a refresh token wait for each other (see `RefreshTokens`). It blocks
// only if the transport, a supplier or the refresh token store does. If the
// source is destroyed, requests that are outstanding go on; new refresh tokens
// in their answers are still stored.
//
// Failures: those of InterpretAnswer and of the transport, and those of the
// suppliers. DEADLINE_EXCEEDED and CANCELLED also mean that the attempt ended
// before its request was sent. `IsLoginNeeded` recognizes the failures of a
// RefreshTokenGrant that only a new login can mend. No status contains a secret
// or a token.
template <typename Token = std::string>
absl::StatusOr<std::shared_ptr<TokenSource<Token>>> CreateSource(
    SourceOptions options);

// Returns what CreateSource would say about `options`.
absl::Status ValidateSourceOptions(const SourceOptions& options);

namespace internal {

class SourceCore;

// The part of a source that does not depend on the user's type of token. It
// delivers every token as a Secret, which TypedSource then converts.
class SecretSource {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Credential<Secret>>)>;

  // Requires: the options are valid.
  explicit SecretSource(SourceOptions options);
  SecretSource(const SecretSource&) = delete;
  SecretSource& operator=(const SecretSource&) = delete;
  ~SecretSource();

  // `done` is called once, or destroyed if an exception is propagating.
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
