// SPDX-License-Identifier: Apache-2.0

#include "refreshable/rejection.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace refreshable {
namespace {

// Returns whether `c` may occur in a token (RFC 9110, section 5.6.2) or in a
// token68 (section 11.2). The first characters do not show which of the two
// follows.
bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::string_view("!#$%&'*+-.^_`|~/=").find(c) !=
             absl::string_view::npos;
}

// Takes a WWW-Authenticate value piece by piece.
class ChallengeReader {
 public:
  explicit ChallengeReader(absl::string_view text) : rest_(text) {}

  bool AtEnd() const { return rest_.empty(); }
  void SkipSpace() { rest_ = absl::StripLeadingAsciiWhitespace(rest_); }
  bool Take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Takes token characters. Ends before `stop`, before any other kind of
  // character, or at the end of the text.
  absl::string_view TakeToken(char stop = '\0') {
    const auto end = std::find_if(rest_.begin(), rest_.end(), [=](char c) {
      return c == stop || !IsTokenCharacter(c);
    });
    const auto token = rest_.substr(0, end - rest_.begin());
    rest_.remove_prefix(token.size());
    return token;
  }
  // Takes the rest of a quoted string whose opening quote has been taken, and
  // appends its text to `value`. Returns false if the closing quote is missing.
  bool TakeQuoted(std::string& value) {
    while (!rest_.empty()) {
      if (Take('"')) return true;
      if (Take('\\') && rest_.empty()) return false;
      value.push_back(rest_[0]);
      rest_.remove_prefix(1);
    }
    return false;
  }

 private:
  absl::string_view rest_;
};

// Returns whether a WWW-Authenticate value has a Bearer challenge whose `error`
// is one of `errors`. Returns false if the field cannot be parsed.
bool FieldRejects(absl::string_view field,
                  absl::Span<const absl::string_view> errors) {
  ChallengeReader reader(field);
  bool bearer = false;
  bool rejected = false;
  // Each challenge is a scheme followed by nothing, a token68, or name=value
  // pairs. Commas separate both the challenges and the pairs of a challenge. So
  // only the "=" after a name distinguishes it from a scheme.
  while (true) {
    do {
      reader.SkipSpace();
    } while (reader.Take(','));
    if (reader.AtEnd()) return rejected;
    const absl::string_view name = reader.TakeToken('=');
    if (name.empty()) return false;
    reader.SkipSpace();
    if (reader.Take('=')) {
      reader.SkipSpace();
      std::string value;
      if (!reader.Take('"')) {
        // This also takes the rest of a token68 that ends in several "=".
        value = std::string(reader.TakeToken());
      } else if (!reader.TakeQuoted(value)) {
        return false;
      }
      if (bearer && absl::EqualsIgnoreCase(name, "error") &&
          std::find(errors.begin(), errors.end(), value) != errors.end()) {
        rejected = true;
      }
    } else {
      bearer = absl::EqualsIgnoreCase(name, "Bearer");
    }
  }
}

}  // namespace

bool IsTokenError(int http_status, absl::string_view error,
                  absl::Span<const absl::string_view> codes) {
  return (http_status == 401 || http_status == 403) && !error.empty() &&
         std::find(codes.begin(), codes.end(), error) != codes.end();
}

bool IsInvalidTokenChallenge(
    int http_status, absl::Span<const absl::string_view> www_authenticate,
    absl::Span<const absl::string_view> errors, ChallengeStatuses statuses) {
  if (http_status != 401 &&
      (http_status != 403 || statuses != ChallengeStatuses::k401And403)) {
    return false;
  }
  return std::any_of(
      www_authenticate.begin(), www_authenticate.end(),
      [&](absl::string_view field) { return FieldRejects(field, errors); });
}

}  // namespace refreshable
