// SPDX-License-Identifier: Apache-2.0

#include "refreshable/http_error.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace {

constexpr std::array<absl::string_view, 12> kMonths = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr absl::string_view kHttpStatusUrl = "refreshable/http-status";
// The longest valid date has 33 bytes: "Wednesday, 06-Nov-94 08:49:37 GMT".
constexpr size_t kMaxHttpDateBytes = 64;

absl::StatusCode CodeOf(int http_status, absl::string_view oauth_error) {
  switch (http_status) {
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      break;
  }
  if (oauth_error == "temporarily_unavailable" ||
      oauth_error == "server_error") {
    return absl::StatusCode::kUnavailable;
  }
  if (oauth_error == "slow_down") return absl::StatusCode::kResourceExhausted;
  switch (http_status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    default:
      return http_status >= 400 && http_status < 500
                 ? absl::StatusCode::kInvalidArgument
                 : absl::StatusCode::kUnknown;
  }
}

// Returns whether `error` looks like an error code and not like a secret. Every
// code in IANA's registry of OAuth extension errors has the form tested here.
// Hardly any token has it.
bool IsPlausibleCode(absl::string_view error) {
  return !error.empty() && error.size() <= 64 &&
         std::all_of(error.begin(), error.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

std::optional<absl::string_view> Find(absl::Span<const HttpHeader> headers,
                                      absl::string_view name) {
  for (const HttpHeader& header : headers) {
    if (absl::EqualsIgnoreCase(header.first, name)) {
      return absl::StripAsciiWhitespace(header.second);
    }
  }
  return std::nullopt;
}

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

std::optional<absl::Duration> RetryAfter(absl::Span<const HttpHeader> headers,
                                         absl::Time now) {
  const std::optional<absl::string_view> value = Find(headers, "Retry-After");
  if (!value.has_value()) return std::nullopt;
  if (AllDigits(*value)) {
    int64_t seconds = 0;
    // A number that does not fit into an int64_t still means a long wait.
    return absl::SimpleAtoi(*value, &seconds) ? absl::Seconds(seconds)
                                              : absl::InfiniteDuration();
  }
  const std::optional<absl::Time> until = ParseHttpDate(*value, now);
  if (!until.has_value()) return std::nullopt;
  absl::Time from = now;
  if (const auto date = Find(headers, "Date")) {
    from = ParseHttpDate(*date, now).value_or(now);
  }
  return std::max(absl::ZeroDuration(), *until - from);
}

}  // namespace

absl::Status HttpErrorToStatus(int http_status,
                               absl::Span<const HttpHeader> headers,
                               absl::Time now, absl::string_view oauth_error) {
  absl::Status status(
      CodeOf(http_status, oauth_error),
      IsPlausibleCode(oauth_error)
          ? absl::StrCat("HTTP status ", http_status, ", error ", oauth_error)
          : absl::StrCat("HTTP status ", http_status));
  status.SetPayload(kHttpStatusUrl, absl::Cord(absl::StrCat(http_status)));
  if (const auto retry_after = RetryAfter(headers, now)) {
    SetRetryAfter(*retry_after, status);
  }
  return status;
}

std::optional<int> GetHttpStatus(const absl::Status& status) {
  const auto payload = status.GetPayload(kHttpStatusUrl);
  int http_status = 0;
  if (!payload.has_value() ||
      !absl::SimpleAtoi(std::string(*payload), &http_status)) {
    return std::nullopt;
  }
  return http_status;
}

FailureClass ClassifyHttpFailure(const absl::Status& status) {
  const int http_status = GetHttpStatus(status).value_or(0);
  switch (http_status) {
    case 408:
    case 425:
    case 500:
    case 529:
      return FailureClass::kTransient;
    default:
      return http_status >= 520 && http_status <= 524 ? FailureClass::kTransient
                                                      : ClassifyFailure(status);
  }
}

Expiry ExpiryByServerClock(absl::Time time,
                           absl::Span<const HttpHeader> headers,
                           absl::Time now) {
  std::optional<absl::Time> date;
  if (const auto value = Find(headers, "Date")) {
    date = ParseHttpDate(*value, now);
  }
  return date.has_value() ? Expiry::In(time - *date) : Expiry::At(time);
}

std::optional<absl::Time> ParseHttpDate(absl::string_view text,
                                        absl::Time now) {
  if (text.size() > kMaxHttpDateBytes) return std::nullopt;
  // `text` should have one of these forms:
  //   Sun, 06 Nov 1994 08:49:37 GMT
  //   Sunday, 06-Nov-94 08:49:37 GMT
  //   Sun Nov  6 08:49:37 1994
  std::vector<std::string> parts =
      absl::StrSplit(text, absl::ByAnyChar(" ,-"), absl::SkipEmpty());
  if (parts.size() == 5 && !AllDigits(parts[1])) {
    parts = {parts[0], parts[2], parts[1], parts[4], parts[3], "GMT"};
  }
  if (parts.size() != 6 || parts[5] != "GMT") return std::nullopt;
  const std::string& day = parts[1];
  const std::string& year = parts[3];
  const auto month =
      std::find_if(kMonths.begin(), kMonths.end(), [&](absl::string_view name) {
        return absl::EqualsIgnoreCase(name, parts[2]);
      });
  if (month == kMonths.end() || !AllDigits(day) || !AllDigits(year)) {
    return std::nullopt;
  }
  const auto in_year = [&](int64_t full_year) -> std::optional<absl::Time> {
    absl::Time time;
    if (!absl::ParseTime(
            "%Y-%m-%d %H:%M:%S",
            absl::StrCat(full_year, "-", month - kMonths.begin() + 1, "-", day,
                         " ", parts[4]),
            &time, nullptr)) {
      return std::nullopt;
    }
    return time;
  };
  int64_t full_year = 0;
  if (!absl::SimpleAtoi(year, &full_year)) return std::nullopt;
  if (year.size() == 4) return in_year(full_year);
  if (year.size() != 2) return std::nullopt;
  const absl::TimeZone utc = absl::UTCTimeZone();
  const absl::CivilSecond today = absl::ToCivilSecond(now, utc);
  const absl::CivilSecond latest(
      std::clamp<int64_t>(today.year(), 1900, 9900) + 50, today.month(),
      today.day(), today.hour(), today.minute(), today.second());
  full_year += latest.year() / 100 * 100;
  const std::optional<absl::Time> time = in_year(full_year);
  if (time.has_value() && absl::ToCivilSecond(*time, utc) <= latest) {
    return time;
  }
  return in_year(full_year - 100);
}

}  // namespace refreshable
