// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/answer.h"

#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/failure_class.h"
#include "refreshable/refresh_error.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

using Code = absl::StatusCode;
using Headers = std::vector<std::pair<std::string, std::string>>;
using Members = std::vector<std::pair<std::string, AnswerField>>;

// No status may show this access token.
constexpr char kToken[] = "hunter2";
constexpr char kDate[] = "Thu, 01 Jan 2026 00:00:00 GMT";
const absl::Time kArrived = absl::FromUnixSeconds(1767225600);  // Equals kDate.
constexpr absl::Duration kCentury = absl::Hours(100 * 8766);

AnswerField String(absl::string_view text) { return AnswerField::String(text); }
AnswerField Number(absl::string_view text) { return AnswerField::Number(text); }
AnswerField Null() { return AnswerField::Null(); }
AnswerField Other() { return AnswerField::Other(); }

// What InterpretAnswer makes of an answer.
struct Outcome {
  std::optional<Expiry> expiry;  // nullopt if there is an error.
  Code code = Code::kOk;
  std::string message;
  std::optional<absl::Duration> retry_after;
};

Outcome Token(Expiry expiry) {
  Outcome outcome;
  outcome.expiry = expiry;
  return outcome;
}
Outcome In(absl::Duration lifetime) { return Token(Expiry::In(lifetime)); }
Outcome At(absl::Time time) { return Token(Expiry::At(time)); }
Outcome Never() { return Token(Expiry::Never()); }
Outcome Error(Code code, absl::string_view message,
              std::optional<absl::Duration> retry_after = std::nullopt) {
  Outcome outcome;
  outcome.code = code;
  outcome.message = std::string(message);
  outcome.retry_after = retry_after;
  return outcome;
}
Outcome Permanent(absl::string_view what) {
  return Error(Code::kFailedPrecondition,
               absl::StrCat("the token endpoint's answer has ", what));
}
Outcome Transient(int status, absl::string_view what) {
  return Error(Code::kUnavailable,
               absl::StrCat("HTTP status ", status, ", but the body ", what));
}

// An answer, and the outcome that EveryOddity expects. `members` is what a
// reader returns for `body`; nullopt if the reader fails.
struct Oddity {
  std::string name;
  int status = 200;
  Headers headers;
  std::string body;
  std::optional<Members> members;
  Outcome outcome;
};

// Returns an Oddity whose answer is a 200 with a token and the given members.
Oddity With(std::string name, Members members, Outcome outcome,
            Headers headers = {}) {
  members.emplace_back("access_token", String(kToken));
  return {std::move(name),   200, std::move(headers), "{}", std::move(members),
          std::move(outcome)};
}

Oddity Says(std::string name, int status, Members members, Outcome outcome,
            Headers headers = {}) {
  return {std::move(name),    status,
          std::move(headers), "{}",
          std::move(members), std::move(outcome)};
}

Oddity Unread(std::string name, int status, std::string body, Outcome outcome,
              Headers headers = {}) {
  return {std::move(name), status,       std::move(headers),
          std::move(body), std::nullopt, std::move(outcome)};
}

Oddity Lives(std::string name, AnswerField expires_in, Outcome outcome) {
  return With("expires_in " + name, {{"expires_in", std::move(expires_in)}},
              std::move(outcome));
}

Oddity Ends(std::string name, AnswerField expires_on, Outcome outcome,
            Headers headers = {}) {
  return With("expires_on " + name, {{"expires_on", std::move(expires_on)}},
              std::move(outcome), std::move(headers));
}

Oddity IsToken(std::string name, AnswerField token, Outcome outcome) {
  return {"access_token " + name,
          200,
          {},
          "{}",
          Members{{"access_token", std::move(token)}},
          std::move(outcome)};
}

std::vector<Oddity> Oddities() {
  const auto hour = absl::Hours(1);
  const auto at_hour = At(kArrived + hour);
  const auto bad_in = Permanent("an expires_in that is not a number");
  const auto bad_on =
      Permanent("an expires_on that is neither a number nor a date");
  const auto bad_byte =
      Permanent("an access token with a byte that no token may contain");
  const auto bad_type = Permanent("a token of a type that is not accepted");
  const Headers date = {{"date", kDate}};
  return {
      // The expiry of the token.
      With("no expiry", {}, Never()),
      Lives("null", Null(), Never()),
      Lives("a number", Number("3600"), In(hour)),
      Lives("a string", String("3600"), In(hour)),
      Lives("a string with spaces", String(" 3600 "), In(hour)),
      Lives("a float", Number("3600.0"), In(hour)),
      Lives("a fraction", Number("0.5"), In(absl::Milliseconds(500))),
      Lives("a float in a string", String("3600.0"), In(hour)),
      Lives("an exponent", Number("3.6e3"), In(hour)),
      Lives("zero", Number("0"), In(absl::ZeroDuration())),
      Lives("zero in a string", String("0"), In(absl::ZeroDuration())),
      Lives("negative", Number("-5"), In(absl::Seconds(-5))),
      Lives("NaN", String("NaN"), bad_in),
      Lives("a bare NaN", Number("NaN"), bad_in),
      Lives("inf", String("inf"), bad_in),
      Lives("-Infinity", Number("-Infinity"), bad_in),
      Lives("empty", String(""), bad_in),
      Lives("with a unit", String("3600s"), bad_in),
      Lives("hexadecimal", String("0x10"), bad_in),
      Lives("a secret", String(kToken), bad_in),
      Lives("two numbers", String("36 00"), bad_in),
      Lives("true", Other(), bad_in),
      Lives("the largest int", Number("2147483647"),
            In(absl::Seconds(2147483647))),
      Lives("huge", Number("99999999999999999999"), In(kCentury)),
      Lives("larger than a double", String("1e400"), In(kCentury)),
      Lives("hugely negative", Number("-1e400"), In(-kCentury)),
      Ends("null", Null(), Never()),
      Ends("a number", Number("1767229200"), at_hour),
      Ends("a string", String("1767229200"), at_hour),
      Ends("a float", Number("1767229200.0"), at_hour),
      Ends("RFC 3339", String("2026-01-01T01:00:00Z"), at_hour),
      Ends("RFC 3339, .NET", String("2026-01-01T03:00:00.0000000+02:00"),
           at_hour),
      Ends("RFC 3339 with a space", String("2026-01-01 01:00:00Z"), at_hour),
      Ends("HTTP-date", String("Thu, 01 Jan 2026 01:00:00 GMT"), at_hour),
      Ends("Azure, Linux", String("01/01/2026 01:00:00 +00:00"), at_hour),
      Ends("Azure, Windows", String("1/1/2026 1:00:00 AM +00:00"), at_hour),
      Ends("Azure, afternoon", String("1/1/2026 1:00:00 PM +00:00"),
           At(kArrived + absl::Hours(13))),
      Ends("Azure, midnight", String("1/1/2026 12:30:00 AM +00:00"),
           At(kArrived + absl::Minutes(30))),
      Ends("Azure, noon", String("1/1/2026 12:30:00 PM +00:00"),
           At(kArrived + absl::Minutes(750))),
      Ends("Azure, 24 hours with PM", String("1/1/2026 13:00:00 PM +00:00"),
           At(kArrived + absl::Hours(13))),
      Ends("in the past", Number("1767225590"),
           At(kArrived - absl::Seconds(10))),
      Ends("zero", Number("0"), At(absl::UnixEpoch())),
      Ends("huge", Number("1e300"), At(kArrived + kCentury)),
      Ends("no zone", String("2026-01-01T01:00:00"), bad_on),
      Ends("no such day", String("02/30/2026 01:00:00 +00:00"), bad_on),
      Ends("no such hour", String("1/1/2026 25:00:00 +00:00"), bad_on),
      Ends("another zone", String("1/1/2026 1:00:00 +01:00"), bad_on),
      Ends("infinite", String("infinite-future"), bad_on),
      Ends("a secret", String(kToken), bad_on),
      Ends("a list", Other(), bad_on),
      Ends("long", String(std::string(100000, '1') + "x"), bad_on),
      // What a Date header changes, and which of two expiries counts.
      Ends("with a Date", Number("1767229200"), In(hour), date),
      Ends("a date with a Date", String("2026-01-01T01:00:00Z"), In(hour),
           date),
      Ends("with another Date", Number("1767229200"), In(absl::Minutes(50)),
           {{"Date", "Thu, 01 Jan 2026 00:10:00 GMT"}}),
      Ends("with a bad Date", Number("1767229200"), at_hour,
           {{"Date", "yesterday"}}),
      With("expires_in before expires_on",
           {{"expires_in", String("3600")}, {"expires_on", Number("5")}},
           In(hour), date),
      With("expires_in null, then expires_on",
           {{"expires_in", Null()}, {"expires_on", Number("1767229200")}},
           at_hour),
      // Answers whose status is a 2xx other than 200.
      Says("201", 201, {{"access_token", String(kToken)}}, Never()),
      Says("206", 206, {{"access_token", String(kToken)}}, Never()),
      Unread("204", 204, "", Transient(204, "is empty")),
      // Bodies that cannot be read, and a body that is just short enough.
      Unread("HTML", 200, "\n <!DOCTYPE html>hunter2",
             Transient(200, "is HTML or XML, not a JSON object")),
      Unread("text", 200, "OK hunter2", Transient(200, "is not a JSON object")),
      Unread("cut off", 200, R"({"access_token":"hunter2)",
             Transient(200, "is not a JSON object")),
      Unread("empty", 200, "", Transient(200, "is empty")),
      Oddity{"long",
             200,
             {},
             std::string(kDefaultMaxBodyBytes + 1, ' '),
             Members{{"access_token", String(kToken)}},
             Transient(200, "is longer than 65536 bytes")},
      Oddity{"just not long",
             200,
             {},
             std::string(kDefaultMaxBodyBytes, ' '),
             Members{{"access_token", String(kToken)}},
             Never()},
      // The access token and its type.
      IsToken("missing", AnswerField(), Permanent("no access token")),
      IsToken("null", Null(), Permanent("no access token")),
      IsToken("empty", String(""), Permanent("an empty access token")),
      IsToken("a number", Number("7"),
              Permanent("an access token that is not a string")),
      IsToken("an object", Other(),
              Permanent("an access token that is not a string")),
      IsToken("with CR LF", String("hunter2\r\nX-Admin: 1"), bad_byte),
      IsToken("with LF at its end", String("hunter2\n"), bad_byte),
      IsToken("with NUL", String(absl::string_view("hunter2\0", 8)), bad_byte),
      IsToken("with DEL", String("hunter2\x7F"), bad_byte),
      IsToken("with UTF-8", String("hunter2\xC3\xBC"), bad_byte),
      IsToken("of all other bytes", String(" !\"#$%&'()*+,-./:;<=>?@[\\]^_~"),
              Never()),
      With("token_type bearer", {{"token_type", String("bearer")}}, Never()),
      With("token_type BEARER", {{"token_type", String("BEARER")}}, Never()),
      With("token_type null", {{"token_type", Null()}}, Never()),
      With("token_type mac", {{"token_type", String("mac")}}, bad_type),
      With("token_type empty", {{"token_type", String("")}}, bad_type),
      With("token_type secret", {{"token_type", String(kToken)}}, bad_type),
      With("token_type a number", {{"token_type", Number("1")}}, bad_type),
      // Answers with an `error`, or with a status other than 2xx.
      Says("200 with an error", 200, {{"error", String("bad_code")}},
           Error(Code::kUnknown, "HTTP status 200, error bad_code")),
      Says("200, slow down", 200, {{"error", String("slow_down")}},
           Error(Code::kResourceExhausted, "HTTP status 200, error slow_down",
                 absl::Seconds(7)),
           {{"retry-after", "7"}}),
      Says("200, later", 200, {{"error", String("temporarily_unavailable")}},
           Error(Code::kUnavailable,
                 "HTTP status 200, error temporarily_unavailable",
                 absl::Seconds(9)),
           {{"Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT"}}),
      Says("200 with a nameless error", 200, {{"error", Other()}},
           Error(Code::kUnknown, "HTTP status 200")),
      Says("200 with an echo", 200, {{"error", String("hunter2 is wrong")}},
           Error(Code::kUnknown, "HTTP status 200")),
      With("an error beside a token", {{"error", String("access_denied")}},
           Error(Code::kUnknown, "HTTP status 200, error access_denied")),
      With("an empty error", {{"error", String("")}}, Never()),
      With("error null", {{"error", Null()}}, Never()),
      With("error false", {{"error", Other()}}, Never()),
      Says("400", 400, {{"error", String("invalid_scope")}},
           Error(Code::kInvalidArgument,
                 "HTTP status 400, error invalid_scope")),
      Says("401", 401, {{"error", String("invalid_client")}},
           Error(Code::kUnauthenticated,
                 "HTTP status 401, error invalid_client")),
      Says("400 with a token", 400, {{"access_token", String(kToken)}},
           Error(Code::kInvalidArgument, "HTTP status 400")),
      Unread("302", 302, "", Error(Code::kUnknown, "HTTP status 302"),
             {{"Location", "https://hunter2/"}}),
      Unread(
          "429", 429, "<html>",
          Error(Code::kResourceExhausted, "HTTP status 429", absl::Seconds(3)),
          {{"Retry-After", "3"}}),
      Unread("502", 502, "<html>hunter2",
             Error(Code::kUnavailable, "HTTP status 502")),
      Oddity{"503, long",
             503,
             {{"Retry-After", "5"}},
             std::string(kDefaultMaxBodyBytes + 1, ' '),
             Members{{"error", String("invalid_grant")}},
             Error(Code::kUnavailable, "HTTP status 503", absl::Seconds(5))},
      Unread("no status", 0, "", Error(Code::kUnknown, "HTTP status 0")),
  };
}

// If `members` is nullopt, returns an error that quotes the body, as parsers
// do.
absl::StatusOr<AnswerFields> FieldsOf(const Oddity& oddity) {
  if (!oddity.members.has_value()) {
    return absl::InvalidArgumentError("cannot parse: " + oddity.body);
  }
  AnswerFields fields;
  for (const auto& [name, field] : *oddity.members) fields.Set(name, field);
  return fields;
}

HttpAnswer AnswerOf(const Oddity& oddity) {
  return {oddity.status, oddity.headers, Secret(oddity.body),
          /*body_too_long=*/false, kArrived};
}

absl::StatusOr<TokenAnswer> Interpret(const Oddity& oddity,
                                      const AnswerOptions& options = {}) {
  return InterpretAnswer(AnswerOf(oddity), FieldsOf(oddity), options);
}

TEST(AnswerTest, EveryOddity) {
  for (const Oddity& oddity : Oddities()) {
    SCOPED_TRACE(oddity.name);
    const Outcome& want = oddity.outcome;
    const auto got = Interpret(oddity);
    ASSERT_EQ(got.status().code(), want.code) << got.status();
    if (got.ok()) {
      const Expiry& expiry = got->credential.expiry;
      EXPECT_EQ(expiry.is_relative(), want.expiry->is_relative());
      EXPECT_EQ(expiry.lifetime(), want.expiry->lifetime());
      EXPECT_EQ(expiry.time(), want.expiry->time());
      continue;
    }
    EXPECT_EQ(got.status().message(), want.message);
    EXPECT_EQ(GetRetryAfter(got.status()), want.retry_after);
    EXPECT_FALSE(absl::StrContains(
        got.status().ToString(absl::StatusToStringMode::kWithEverything),
        kToken));
  }
}

TEST(AnswerTest, TheTokenAndWhatComesWithIt) {
  const auto answer = Interpret(
      With("", {{"scope", String("read")}, {"refresh_in", String("1800")}},
           Never()));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->credential.token, Secret(kToken));
  EXPECT_EQ(answer->scope, "read");
  EXPECT_EQ(answer->credential.expiry.refresh_in(), absl::Minutes(30));
  for (const AnswerField& odd :
       {AnswerField(), Null(), String("soon"), Number("0"), Other()}) {
    const auto other =
        Interpret(With("", {{"scope", Null()}, {"refresh_in", odd}}, Never()));
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(other->scope, std::nullopt);
    EXPECT_EQ(other->credential.expiry.refresh_in(), absl::InfiniteDuration());
  }
}

TEST(AnswerTest, Options) {
  AnswerOptions options;
  options.default_lifetime = absl::Minutes(5);
  options.token_types = {"Bearer", "N_A"};
  for (const AnswerField& expires_in : {AnswerField(), Null()}) {
    const auto answer = Interpret(
        With("", {{"expires_in", expires_in}, {"token_type", String("n_a")}},
             Never()),
        options);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->credential.expiry.lifetime(), absl::Minutes(5));
  }
  options.token_types = {};
  EXPECT_TRUE(
      Interpret(With("", {{"token_type", String("mac")}}, Never()), options)
          .ok());
  options.max_body_bytes = 1;
  EXPECT_EQ(Interpret(With("", {}, Never()), options).status().message(),
            "HTTP status 200, but the body is longer than 1 bytes");
  HttpAnswer cut;
  cut.status = 200;
  cut.body_too_long = true;
  EXPECT_EQ(
      InterpretAnswer(cut, AnswerFields(), AnswerOptions()).status().code(),
      Code::kUnavailable);
}

// The client's wall clock is a year behind. The lifetime must count from the
// Date header.
TEST(AnswerTest, ADateHeaderServesAClientWhoseClockIsWrong) {
  const Oddity oddity =
      Ends("", Number("1767229200"), Never(), {{"Date", kDate}});
  HttpAnswer arrived = AnswerOf(oddity);
  arrived.arrived = kArrived - absl::Hours(8766);
  const auto answer =
      InterpretAnswer(arrived, FieldsOf(oddity), AnswerOptions());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->credential.expiry.lifetime(), absl::Hours(1));
}

TEST(AnswerTest, WhatBecomesOfARefreshToken) {
  using Fate = PresentedToken::Fate;
  const std::pair<std::string, AnswerField> next = {"refresh_token",
                                                    String("next")};
  const std::pair<std::string, AnswerField> refused = {"error",
                                                       String("invalid_grant")};
  const struct {
    Oddity answer;
    Fate fate;
    bool next = false;
  } cases[] = {
      {With("kept", {}, Never()), Fate::kAccepted},
      {With("empty", {{"refresh_token", String("")}}, Never()),
       Fate::kAccepted},
      {With("replaced", {next}, Never()), Fate::kAccepted, true},
      // InterpretAnswer fails for the next three answers, but their refresh
      // token must be kept.
      {With("bad life", {next, {"expires_in", String("soon")}}, Never()),
       Fate::kAccepted, true},
      {Says("no token", 200, {next}, Never()), Fate::kAccepted, true},
      {Says("bad token", 200, {next, {"access_token", Other()}}, Never()),
       Fate::kAccepted, true},
      {Says("an error", 200, {next, {"error", String("no")}}, Never()),
       Fate::kUndecided},
      {Says("not 2xx", 500, {next}, Never()), Fate::kUndecided},
      {Says("400", 400, {refused}, Never()), Fate::kRefused},
      {Says("200", 200, {refused}, Never()), Fate::kRefused},
      {Says("429", 429, {refused}, Never()), Fate::kUndecided},
      {Says("503", 503, {refused}, Never()), Fate::kUndecided},
      {Unread("502", 502, "<html>", Never()), Fate::kUndecided},
      {Unread("cut", 200, R"({"access_token":)", Never()), Fate::kLost},
      {Says("{}", 200, {}, Never()), Fate::kLost},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.answer.name);
    const PresentedToken got = InterpretPresentedToken(
        AnswerOf(c.answer), FieldsOf(c.answer), kDefaultMaxBodyBytes);
    EXPECT_EQ(got.fate, c.fate);
    EXPECT_EQ(got.next.has_value(), c.next);
    EXPECT_EQ(got.next.value_or(Secret("next")), Secret("next"));
  }
}

TEST(AnswerTest, S3ValuesShowNoSecret) {
  const Oddity oddity = With("", {{"refresh_token", String(kToken)}}, Never());
  HttpAnswer answer = AnswerOf(oddity);
  answer.body = Secret(kToken);
  std::ostringstream shown;
  shown << answer << *Interpret(oddity)
        << testing::PrintToString(oddity.members->front().second)
        << testing::PrintToString(answer);
  EXPECT_FALSE(absl::StrContains(shown.str(), kToken)) << shown.str();
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
