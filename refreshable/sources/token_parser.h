// SPDX-License-Identifier: Apache-2.0
//
// TokenParser: makes a credential from the content of a file or the output of a
// command.

#ifndef REFRESHABLE_SOURCES_TOKEN_PARSER_H_
#define REFRESHABLE_SOURCES_TOKEN_PARSER_H_

#include <functional>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/secret.h"

namespace refreshable {

// A function that makes a credential from the whole content of a file, or from
// the whole output of a command. It may be called on several threads at the
// same time. The bytes are valid only during the call, and are wiped
// afterwards; the function must wipe its own copies. The bytes are not empty,
// but the file may be incomplete.
//
// If the function returns an error, the source fails. The message of the
// source's error names the code that the function returned. It also contains
// the function's message if the source's option `show_parser_message` is true.
// The option is false by default, because parsers often quote what they could
// not parse, and that may be a secret.
//
// A null TokenParser stands for the default parser, which exists if Token is
// std::string or Secret. The default parser makes a token from all bytes except
// trailing line ends. The token has no expiry. The default parser refuses an
// empty token, and a token that contains a control character, such as a line
// break.
template <typename Token>
using TokenParser =
    std::function<absl::StatusOr<Credential<Token>>(absl::string_view bytes)>;

namespace internal {

template <typename Token>
inline constexpr bool kHasDefaultParser =
    std::is_same_v<Token, std::string> || std::is_same_v<Token, Secret>;

// Returns `bytes` without trailing line ends. Fails with INVALID_ARGUMENT if
// the rest is empty or contains a control character.
absl::StatusOr<absl::string_view> TokenText(absl::string_view bytes);

// Returns the error for a parser that failed with `status`. It has the same
// code, and contains the message only if `show` is true.
absl::Status ParserFailure(const absl::Status& status, bool show);

bool IsNever(const Expiry& expiry);

// Fails with INVALID_ARGUMENT if `lifetime` is not positive. The message begins
// with `source`, the name of the source's class.
absl::Status ValidateLifetime(absl::string_view source,
                              absl::Duration lifetime);

// Fails with INVALID_ARGUMENT if `parse` is null and Token has no default
// parser.
template <typename Token>
absl::Status ValidateParser(absl::string_view source,
                            const TokenParser<Token>& parse) {
  if (parse != nullptr || kHasDefaultParser<Token>) return absl::OkStatus();
  return absl::InvalidArgumentError(
      std::string(source) +
      ": parse is null, and there is no default parser for this Token");
}

// Parses `bytes` with `parse` or, if that is null, with the default parser. An
// infinite expiry becomes `Expiry::In(lifetime)`, with the same `refresh_in()`.
template <typename Token>
absl::StatusOr<Credential<Token>> ParseToken(const TokenParser<Token>& parse,
                                             bool show_parser_message,
                                             absl::Duration lifetime,
                                             absl::string_view bytes) {
  absl::StatusOr<Credential<Token>> result =
      absl::InternalError("there is no parser");
  if (parse != nullptr) {
    result = parse(bytes);
    if (!result.ok()) {
      return ParserFailure(result.status(), show_parser_message);
    }
  } else if constexpr (kHasDefaultParser<Token>) {
    const absl::StatusOr<absl::string_view> text = TokenText(bytes);
    if (!text.ok()) return text.status();
    result = Credential<Token>(Token(*text), Expiry::Never());
  }
  if (result.ok() && IsNever(result->expiry)) {
    result->expiry =
        Expiry::In(lifetime).WithRefreshIn(result->expiry.refresh_in());
  }
  return result;
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_TOKEN_PARSER_H_
