// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes IsTokenError and IsInvalidTokenChallenge. The first three lines of the
// input are the HTTP status, an OAuth error, and error codes. The rest is a
// WWW-Authenticate value. But if the rest begins with the line "make", the
// fuzzer makes the value from the bytes that follow. It then knows whether the
// value rejects the token.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "refreshable/fuzz/fuzzing.h"
#include "refreshable/rejection.h"

namespace refreshable {
namespace {

// A WWW-Authenticate value, and whether it says that the token is invalid.
struct Made {
  std::string text;
  bool rejects = false;
};

std::string Quote(absl::string_view value) {
  return absl::StrCat(
      "\"", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

std::string QuoteEachLetter(absl::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) absl::StrAppend(&quoted, "\\", std::string(1, c));
  return quoted + "\"";
}

// Returns one to four challenges, written as RFC 9110, section 11.6.1, allows.
// But a parameter's name may be repeated, and an empty value may lack its
// quotes.
Made Make(FuzzInput& in) {
  Made made;
  const auto space = [&in] { return in.OneOf({"", " ", "\t", "  "}); };
  const auto separate = [&in] { return in.OneOf({", ", ",", " , ", " ,,\t"}); };
  const int challenges = 1 + in.Below(4);
  for (int i = 0; i < challenges; ++i) {
    if (i > 0) made.text += separate();
    const std::string scheme = in.OneOf(
        {"Bearer", "bearer", "BEARER", "Basic", "DPoP", "XBearer", "Bearer2"});
    made.text += scheme;
    switch (in.Below(4)) {
      case 0:
        continue;  // This challenge is only a scheme.
      case 1:
        absl::StrAppend(&made.text, " ",
                        in.OneOf({"YWJj", "YQ==", "a/+~-._=", "error"}));
        continue;
      default:
        break;
    }
    const int parameters = 1 + in.Below(3);
    for (int j = 0; j < parameters; ++j) {
      made.text += j == 0 ? " " : separate();
      const std::string name =
          in.OneOf({"error", "Error", "realm", "error_description", "scope"});
      const std::string value = in.OneOf(
          {"invalid_token", "invalid_request", "", "Invalid_Token", "error",
           "a, Bearer error=\"invalid_token\"", "\\", "\"", "invalid_token "});
      const bool token = std::all_of(
          value.begin(), value.end(),
          [](unsigned char c) { return absl::ascii_isalpha(c) || c == '_'; });
      absl::StrAppend(&made.text, name, space(), "=", space());
      const int style = in.Below(3);
      made.text += style == 0 && token ? value
                   : style == 1        ? QuoteEachLetter(value)
                                       : Quote(value);
      if (absl::EqualsIgnoreCase(scheme, "bearer") &&
          absl::EqualsIgnoreCase(name, "error") && value == "invalid_token") {
        made.rejects = true;
      }
    }
  }
  return made;
}

bool Rejects(absl::string_view text) {
  return IsInvalidTokenChallenge(401, {text});
}

void CheckChallenge(int http_status, absl::string_view text) {
  const bool rejects = Rejects(text);
  Require(IsInvalidTokenChallenge(http_status, {text}) ==
              (http_status == 401 && rejects),
          "only 401 speaks of the token");
  Require(IsInvalidTokenChallenge(http_status, {text}, kInvalidTokenErrors,
                                  ChallengeStatuses::k401And403) ==
              ((http_status == 401 || http_status == 403) && rejects),
          "by choice 403 does too");
  Require(!IsInvalidTokenChallenge(401, {text}, {}), "no error is one of none");
  Require(Rejects(absl::StrCat("Basic realm=\"x\", ", text)) == rejects,
          "a challenge before it changes nothing");
  Require(!Rejects(absl::StrCat("Basic realm=", Quote(text))),
          "a quoted string is opaque");
  const std::vector<absl::string_view> others = {"", "Basic realm=\"x\"", "\"",
                                                 text};
  for (const absl::string_view other : others) {
    Require(IsInvalidTokenChallenge(401, {other, text}) == rejects &&
                IsInvalidTokenChallenge(401, {text, other}) == rejects,
            "another field changes nothing");
  }
  if (!rejects) return;
  Require(Rejects(absl::StrCat(text, ", Basic realm=\"x\"")),
          "a challenge after it changes nothing");
  const std::string bare = absl::StrReplaceAll(text, {{"\\", ""}});
  Require(absl::StrContains(bare, "invalid_token") &&
              absl::StrContains(absl::AsciiStrToLower(bare), "bearer") &&
              absl::StrContains(absl::AsciiStrToLower(bare), "error"),
          "what rejects a token says so");
}

}  // namespace
}  // namespace refreshable

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace refreshable;  // NOLINT
  FuzzInput in(data, size);
  int http_status = 0;
  if (!absl::SimpleAtoi(in.Line(), &http_status)) http_status = 0;
  const absl::string_view error = in.Line();
  const std::vector<absl::string_view> codes = absl::StrSplit(in.Line(), ' ');
  bool known = false;
  for (const absl::string_view code : codes) known |= code == error;
  Require(IsTokenError(http_status, error, codes) ==
              (known && !error.empty() &&
               (http_status == 401 || http_status == 403)),
          "a token error is one of the codes, of a 401 or 403");

  if (absl::StartsWith(in.Rest(), "make\n")) {
    in.Line();
    const Made made = Make(in);
    Require(Rejects(made.text) == made.rejects,
            absl::StrCat("read as it was written: ", made.text));
    CheckChallenge(http_status, made.text);
  } else {
    CheckChallenge(http_status, in.Rest());
  }
  return 0;
}
