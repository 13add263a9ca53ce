// SPDX-License-Identifier: Apache-2.0

#include "refreshable/http_error.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace {

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

// RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E.
bool IsPlausibleCode(absl::string_view error) {
  return !error.empty() && error.size() <= 64 &&
         std::all_of(error.begin(), error.end(), [](char c) {
           return c >= ' ' && c <= '~' && c != '"' && c != '\\';
         });
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
    // Too many digits still mean a long time.
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

absl::Status HttpError(int http_status, absl::Span<const HttpHeader> headers,
                       absl::string_view oauth_error, absl::Time now) {
  absl::Status status(
      CodeOf(http_status, oauth_error),
      IsPlausibleCode(oauth_error)
          ? absl::StrCat("HTTP status ", http_status, ", error ", oauth_error)
          : absl::StrCat("HTTP status ", http_status));
  if (const auto retry_after = RetryAfter(headers, now)) {
    SetRetryAfter(*retry_after, status);
  }
  return status;
}

std::optional<absl::Time> ParseHttpDate(absl::string_view text,
                                        absl::Time now) {
  absl::Time time;
  const std::string date(text);
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", date, &time, nullptr)) {
    return time;
  }
  if (absl::ParseTime("%a %b %e %H:%M:%S %Y", date, &time, nullptr)) {
    return time;
  }
  // The day's name is long, and says nothing that the date does not.
  const size_t comma = date.find(", ");
  if (comma == std::string::npos ||
      !absl::ParseTime("%d-%b-%y %H:%M:%S GMT", date.substr(comma + 2), &time,
                       nullptr)) {
    return std::nullopt;
  }
  const absl::TimeZone utc = absl::UTCTimeZone();
  absl::CivilSecond civil = absl::ToCivilSecond(time, utc);
  const absl::CivilYear latest =
      absl::CivilYear(absl::ToCivilSecond(now, utc)) + 50;
  const auto century = [](absl::CivilYear year) { return year.year() / 100; };
  int64_t year = century(latest) * 100 + civil.year() % 100;
  if (year > latest.year()) year -= 100;
  return absl::FromCivil(
      absl::CivilSecond(year, civil.month(), civil.day(), civil.hour(),
                        civil.minute(), civil.second()),
      utc);
}

}  // namespace refreshable
