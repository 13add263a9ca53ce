// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/answer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "refreshable/http_error.h"

namespace refreshable {
namespace oauth2 {
namespace {

using Kind = AnswerField::Kind;

constexpr absl::Duration kLongestLifetime = absl::Hours(100 * 8766);
constexpr size_t kMaxDateBytes = 64;

bool IsSuccess(int status) { return status >= 200 && status <= 299; }

bool IsMissing(const AnswerField& field) {
  return field.kind == Kind::kAbsent || field.kind == Kind::kNull;
}

absl::string_view Text(const AnswerField& field) {
  return field.kind == Kind::kString ? field.text.reveal()
                                     : absl::string_view();
}

bool BodyTooLong(const HttpAnswer& answer, size_t max_body_bytes) {
  return answer.body_too_long || answer.body.size() > max_body_bytes;
}

// Returns the fields of the body, or null if the body is too long or could not
// be parsed.
const AnswerFields* Readable(const HttpAnswer& answer,
                             const absl::StatusOr<AnswerFields>& fields,
                             size_t max_body_bytes) {
  return fields.ok() && !BodyTooLong(answer, max_body_bytes) ? &*fields
                                                             : nullptr;
}

// Returns whether a 2xx answer reports an error. An `error` that is not a
// string counts only without an access token, because some servers send
// `"error": false` with every token.
bool IsError(const AnswerFields& fields) {
  if (fields.error.kind == Kind::kString) return !fields.error.text.empty();
  return !IsMissing(fields.error) && IsMissing(fields.access_token);
}

absl::Status Refused(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("the token endpoint's answer ", what));
}

std::vector<HttpHeader> HeadersOf(const HttpAnswer& answer) {
  return {answer.headers.begin(), answer.headers.end()};
}

absl::Status ErrorOf(const HttpAnswer& answer, const AnswerFields* fields) {
  return HttpErrorToStatus(
      answer.status, HeadersOf(answer), answer.arrived,
      fields == nullptr ? absl::string_view() : Text(fields->error));
}

// Returns why no field of a 2xx answer could be read. The error is transient,
// because an unreadable body usually comes from a proxy.
absl::Status Unreadable(const HttpAnswer& answer, size_t max_body_bytes) {
  std::string what;
  if (BodyTooLong(answer, max_body_bytes)) {
    what = absl::StrCat("is longer than ", max_body_bytes, " bytes");
  } else if (answer.body.empty()) {
    what = "is empty";
  } else if (absl::StartsWith(
                 absl::StripLeadingAsciiWhitespace(answer.body.reveal()),
                 "<")) {
    what = "is HTML or XML, not a JSON object";
  } else {
    what = "is not a JSON object";
  }
  absl::Status status = absl::UnavailableError(
      absl::StrCat("HTTP status ", answer.status, ", but the body ", what));
  return status;
}

// Returns the number that `field` holds as a JSON number or in a string.
// Returns nullopt if `field` holds no number.
std::optional<double> ReadNumber(const AnswerField& field) {
  if (field.kind != Kind::kNumber && field.kind != Kind::kString) {
    return std::nullopt;
  }
  const absl::string_view text = field.text.reveal();
  // This excludes "inf" and "nan". A number too large for a double becomes
  // infinite; every caller cuts it to 100 years.
  if (text.find_first_not_of("0123456789+-.eE \t") != absl::string_view::npos) {
    return std::nullopt;
  }
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || std::isnan(number)) {
    return std::nullopt;
  }
  return number;
}

// Returns `lifetime`, cut to 100 years in either direction.
absl::Duration Cut(absl::Duration lifetime) {
  return std::clamp(lifetime, -kLongestLifetime, kLongestLifetime);
}

// Parses a date as Azure App Service writes it: "6/19/2019 11:42:01 PM +00:00"
// on Windows, "06/19/2019 23:42:01 +00:00" on Linux. Some versions send AM or
// PM with an hour of the 24-hour clock. AM and PM are then ignored.
std::optional<absl::Time> ReadAzureDate(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, ' ', absl::SkipEmpty());
  if (parts.size() < 2 || parts.size() > 4) return std::nullopt;
  if (parts.back() == "+00:00" || parts.back() == "Z") parts.pop_back();
  std::string half;
  if (parts.size() == 3) {
    half = absl::AsciiStrToUpper(parts.back());
    if (half != "AM" && half != "PM") return std::nullopt;
    parts.pop_back();
  }
  if (parts.size() != 2) return std::nullopt;
  const std::vector<std::string> date = absl::StrSplit(parts[0], '/');
  const std::vector<std::string> time = absl::StrSplit(parts[1], ':');
  if (date.size() != 3 || time.size() != 3) return std::nullopt;
  int numbers[6];
  for (int i = 0; i < 6; ++i) {
    const std::string& digits = i < 3 ? date[i] : time[i - 3];
    if (digits.empty() || digits.size() > 4 ||
        digits.find_first_not_of("0123456789") != std::string::npos ||
        !absl::SimpleAtoi(digits, &numbers[i])) {
      return std::nullopt;
    }
  }
  auto [month, day, year, hour, minute, second] = numbers;
  if (hour >= 1 && hour <= 12 && !half.empty()) {
    hour = hour % 12 + (half == "PM" ? 12 : 0);
  }
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  // CivilSecond carries a field that is out of range into the next field.
  if (date[2].size() != 4 || civil.month() != month || civil.day() != day ||
      civil.hour() != hour || civil.minute() != minute) {
    return std::nullopt;
  }
  return absl::FromCivil(civil, absl::UTCTimeZone());
}

// Parses a date in one of the forms that InterpretAnswer accepts.
std::optional<absl::Time> ReadDate(absl::string_view text, absl::Time arrived) {
  if (text.size() > kMaxDateBytes) return std::nullopt;
  std::string rfc3339(absl::StripAsciiWhitespace(text));
  if (rfc3339.size() > 10 && rfc3339[10] == ' ') rfc3339[10] = 'T';
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, rfc3339, &time, &error) &&
      time != absl::InfiniteFuture() && time != absl::InfinitePast()) {
    return time;
  }
  if (const auto date = ParseHttpDate(text, arrived)) return date;
  return ReadAzureDate(text);
}

std::optional<absl::Time> DateHeader(const HttpAnswer& answer) {
  for (const auto& [name, value] : answer.headers) {
    if (absl::EqualsIgnoreCase(name, "Date")) {
      return ParseHttpDate(absl::StripAsciiWhitespace(value), answer.arrived);
    }
  }
  return std::nullopt;
}

absl::StatusOr<Expiry> ReadExpiry(const HttpAnswer& answer,
                                  const AnswerFields& fields,
                                  const AnswerOptions& options) {
  if (!IsMissing(fields.expires_in)) {
    const std::optional<double> seconds = ReadNumber(fields.expires_in);
    if (!seconds.has_value()) {
      return Refused("has an expires_in that is not a number");
    }
    return Expiry::In(Cut(absl::Seconds(*seconds)));
  }
  if (!IsMissing(fields.expires_on)) {
    std::optional<absl::Time> time;
    if (const auto seconds = ReadNumber(fields.expires_on)) {
      time = absl::UnixEpoch() + absl::Seconds(*seconds);
    } else {
      time = ReadDate(Text(fields.expires_on), answer.arrived);
    }
    if (!time.has_value()) {
      return Refused("has an expires_on that is neither a number nor a date");
    }
    if (const auto date = DateHeader(answer)) {
      return Expiry::In(Cut(*time - *date));
    }
    return Expiry::At(answer.arrived + Cut(*time - answer.arrived));
  }
  if (options.default_lifetime.has_value()) {
    return Expiry::In(*options.default_lifetime);
  }
  return Expiry::Never();
}

bool IsAccepted(const AnswerField& token_type,
                const std::vector<std::string>& accepted) {
  if (IsMissing(token_type) || accepted.empty()) return true;
  return std::any_of(
      accepted.begin(), accepted.end(), [&](const std::string& type) {
        return token_type.kind == Kind::kString &&
               absl::EqualsIgnoreCase(token_type.text.reveal(), type);
      });
}

}  // namespace

void AnswerFields::Set(absl::string_view name, AnswerField field) {
  const std::pair<absl::string_view, AnswerField*> members[] = {
      {"access_token", &access_token},
      {"token_type", &token_type},
      {"expires_in", &expires_in},
      {"expires_on", &expires_on},
      {"refresh_in", &refresh_in},
      {"refresh_token", &refresh_token},
      {"scope", &scope},
      {"error", &error},
  };
  for (const auto& [known, member] : members) {
    if (name == known) {
      *member = std::move(field);
      return;
    }
  }
}

absl::StatusOr<TokenAnswer> InterpretAnswer(
    const HttpAnswer& answer, const absl::StatusOr<AnswerFields>& fields,
    const AnswerOptions& options) {
  const AnswerFields* const readable =
      Readable(answer, fields, options.max_body_bytes);
  if (!IsSuccess(answer.status)) return ErrorOf(answer, readable);
  if (readable == nullptr) return Unreadable(answer, options.max_body_bytes);
  if (IsError(*readable)) return ErrorOf(answer, readable);
  const AnswerField& token = readable->access_token;
  if (IsMissing(token)) return Refused("has no access token");
  if (token.kind != Kind::kString) {
    return Refused("has an access token that is not a string");
  }
  const absl::string_view bytes = token.text.reveal();
  if (bytes.empty()) return Refused("has an empty access token");
  // RFC 6749, appendix A.12, permits only the bytes from ' ' to '~'. A line
  // break would end the header in which a program sends the token.
  if (!std::all_of(bytes.begin(), bytes.end(),
                   [](char c) { return c >= ' ' && c <= '~'; })) {
    return Refused("has an access token with a byte that no token may contain");
  }
  if (!IsAccepted(readable->token_type, options.token_types)) {
    return Refused("has a token of a type that is not accepted");
  }
  absl::StatusOr<Expiry> expiry = ReadExpiry(answer, *readable, options);
  if (!expiry.ok()) return std::move(expiry).status();
  // `refresh_in` is only a hint, so it is ignored if it cannot be read.
  const double refresh_in = ReadNumber(readable->refresh_in).value_or(0);
  if (refresh_in > 0) {
    expiry = expiry->WithRefreshIn(Cut(absl::Seconds(refresh_in)));
  }
  TokenAnswer result{Credential<Secret>(token.text, *expiry), std::nullopt};
  if (readable->scope.kind == Kind::kString) {
    result.scope = std::string(readable->scope.text.reveal());
  }
  return result;
}

PresentedToken InterpretPresentedToken(
    const HttpAnswer& answer, const absl::StatusOr<AnswerFields>& fields,
    size_t max_body_bytes) {
  using Fate = PresentedToken::Fate;
  const bool success = IsSuccess(answer.status);
  const AnswerFields* const readable = Readable(answer, fields, max_body_bytes);
  if (readable == nullptr) {
    return {success ? Fate::kLost : Fate::kUndecided, std::nullopt};
  }
  if (!success || IsError(*readable)) {
    // In a 5xx or 429, invalid_grant does not prove that the token was refused.
    // Such an answer may come from an overloaded server or a proxy.
    const bool refused = answer.status < 500 && answer.status != 429 &&
                         Text(readable->error) == "invalid_grant";
    return {refused ? Fate::kRefused : Fate::kUndecided, std::nullopt};
  }
  if (const absl::string_view next = Text(readable->refresh_token);
      !next.empty()) {
    return {Fate::kAccepted, Secret(next)};
  }
  return {IsMissing(readable->access_token) ? Fate::kLost : Fate::kAccepted,
          std::nullopt};
}

}  // namespace oauth2
}  // namespace refreshable
