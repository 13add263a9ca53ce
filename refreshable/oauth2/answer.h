// SPDX-License-Identifier: Apache-2.0
//
// InterpretAnswer: turns the answer of a token endpoint into a credential or an
// error. The caller brings the HTTP client and the JSON parser.

#ifndef REFRESHABLE_OAUTH2_ANSWER_H_
#define REFRESHABLE_OAUTH2_ANSWER_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {

// The default of `AnswerOptions::max_body_bytes` and
// `SendOptions::max_body_bytes`.
inline constexpr size_t kDefaultMaxBodyBytes = 64 * 1024;

// The answer of a server to one request.
struct HttpAnswer {
  int status = 0;
  // The names may be in upper or lower case. This library uses only Retry-After
  // and Date.
  std::vector<std::pair<std::string, std::string>> headers;
  Secret body;
  // Whether the body was longer than the transport was allowed to read. If so,
  // `body` is ignored, and may be empty.
  bool body_too_long = false;
  // The wall time at which the answer arrived.
  absl::Time arrived = absl::Now();

  // Shows the HTTP status and the size of the body.
  friend std::ostream& operator<<(std::ostream& os, const HttpAnswer& a) {
    return os << "HttpAnswer(" << a.status << ", " << a.body.size()
              << " bytes)";
  }
};

// One member of the JSON object that is the body of an answer.
struct AnswerField {
  enum class Kind {
    kAbsent,
    kNull,
    kString,
    kNumber,
    kOther,  // true, false, an object or an array.
  };
  Kind kind = Kind::kAbsent;
  // For kString, the string without its quotes and escapes. For kNumber, the
  // number as it is written in the body. Otherwise empty.
  Secret text;

  static AnswerField Null() { return Of(Kind::kNull, {}); }
  static AnswerField String(absl::string_view text) {
    return Of(Kind::kString, text);
  }
  static AnswerField Number(absl::string_view text) {
    return Of(Kind::kNumber, text);
  }
  static AnswerField Other() { return Of(Kind::kOther, {}); }

 private:
  static AnswerField Of(Kind kind, absl::string_view text) {
    return {kind, Secret(text)};
  }
};

// The members of an answer's JSON object that this library uses.
struct AnswerFields {
  AnswerField access_token;
  AnswerField token_type;
  AnswerField expires_in;
  AnswerField expires_on;
  AnswerField refresh_in;
  AnswerField refresh_token;
  AnswerField scope;
  AnswerField error;

  // Sets the field called `name`. Does nothing if there is no such field, so a
  // reader may pass every member of the JSON object.
  void Set(absl::string_view name, AnswerField field);
};

// A function that parses the body of an answer. It returns the members of the
// JSON object, or any error if the body is not a JSON object. The error is
// never shown, because parsers often quote what they read. The function must be
// thread-safe, must not throw, and should not block.
using AnswerReader =
    std::function<absl::StatusOr<AnswerFields>(absl::string_view body)>;

// What a successful answer contains (RFC 6749, section 5.1).
struct TokenAnswer {
  // The access token and its expiry. A positive `refresh_in` of the answer
  // becomes `Expiry::refresh_in()`.
  Credential<Secret> credential;
  // The scope as the server sent it; nullopt if the server sent no string.
  std::optional<std::string> scope;

  friend std::ostream& operator<<(std::ostream& os, const TokenAnswer& a) {
    return os << a.credential;
  }
};

struct AnswerOptions {
  // How long a token is valid if the answer does not say. Positive. If unset,
  // such a token never expires: it is refreshed only if it is rejected or
  // invalidated.
  std::optional<absl::Duration> default_lifetime;
  // The accepted values of token_type, in upper or lower case. If the list is
  // empty, every value is accepted. An absent or null token_type is always
  // accepted.
  std::vector<std::string> token_types = {"Bearer"};
  // The most bytes that a body may have. Positive.
  size_t max_body_bytes = kDefaultMaxBodyBytes;
};

// Returns the credential and the scope that a token endpoint's answer brings,
// or the status of the failure. `fields` is what an AnswerReader returned for
// the body.
//
// A 2xx answer is a success if none of the failures below applies. The expiry
// comes from the first of these members that the answer has (null counts as
// absent):
//
//   - `expires_in`, a number or a string that contains a number. It becomes an
//     `Expiry::In`, which counts from the start of the attempt. Zero or less
//     means that the token has already expired.
//   - `expires_on`: the seconds since 1970 (a number, or a string that contains
//     a number) or a date (as in RFC 3339, an HTTP-date, or Azure's "6/19/2019
//     11:42:01 PM +00:00"). If the answer has a valid Date header, the token's
//     lifetime is `expires_on` minus that date. Otherwise the expiry is an
//     `Expiry::At`, which depends on this computer's clock.
//
// If the answer has neither member, `AnswerOptions::default_lifetime` decides.
// The lifetime that the server states is cut to 100 years, and so is
// `refresh_in`.
//
// Failures:
//   - The status of `HttpErrorToStatus`: an answer other than 2xx; a 2xx whose
//     `error` is a string and not empty; a 2xx that has no access token, and
//     whose `error` is a number, a boolean, an object or an array.
//   - UNAVAILABLE (transient): a 2xx whose body is not a JSON object or is
//     longer than `max_body_bytes`.
//   - FAILED_PRECONDITION (permanent): a 2xx with a JSON object that has no
//     access token, and whose `error` is absent, null or an empty string; an
//     access token that is not a string, is empty, or contains a byte that RFC
//     6749 does not permit (appendix A.12); a token_type that is not accepted;
//     an expiry that cannot be read.
//
// Messages contain nothing that the server sent, except the HTTP status and an
// `error` that HttpErrorToStatus shows. Thread-safe. Never blocks.
absl::StatusOr<TokenAnswer> InterpretAnswer(
    const HttpAnswer& answer, const absl::StatusOr<AnswerFields>& fields,
    const AnswerOptions& options);

// What a token endpoint's answer means for the refresh token that the request
// presented.
struct PresentedToken {
  enum class Fate {
    // The answer is a 2xx without an error, and with an access token or a
    // refresh token.
    kAccepted,
    // The server answered `invalid_grant`, and the status was not 429 or 5xx.
    kRefused,
    // The answer is an error of another kind. The server may accept the refresh
    // token later.
    kUndecided,
    // The answer is a 2xx that cannot be read, or that has neither a token nor
    // an error. Or no answer came, although the server may have received the
    // request. A new refresh token may be lost.
    kLost,
  };
  Fate fate = Fate::kUndecided;
  // The refresh token to use from now on, even if InterpretAnswer refuses the
  // access token of the same answer. Set only if the fate is kAccepted and the
  // server sent a refresh token.
  std::optional<Secret> next;
};
// Returns what `answer` means for the refresh token that its request presented.
// `fields` and `max_body_bytes` are as in InterpretAnswer and AnswerOptions.
PresentedToken InterpretPresentedToken(
    const HttpAnswer& answer, const absl::StatusOr<AnswerFields>& fields,
    size_t max_body_bytes);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_ANSWER_H_
