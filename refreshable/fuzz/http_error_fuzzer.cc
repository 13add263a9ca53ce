// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes HttpErrorToStatus and ParseHttpDate. The first three lines of the
// input are the HTTP status, the time of the answer (in seconds since 1970, or
// inf or -inf), and the OAuth error. Each further line is a header.

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "refreshable/fuzz/fuzzing.h"
#include "refreshable/http_error.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace {

const char* const kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
const char* const kDays[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

absl::StatusCode CodeFor(int http_status, absl::string_view error) {
  if (http_status == 429) return absl::StatusCode::kResourceExhausted;
  if (http_status >= 502 && http_status <= 504) {
    return absl::StatusCode::kUnavailable;
  }
  if (error == "slow_down") return absl::StatusCode::kResourceExhausted;
  if (error == "server_error" || error == "temporarily_unavailable") {
    return absl::StatusCode::kUnavailable;
  }
  if (http_status == 401) return absl::StatusCode::kUnauthenticated;
  if (http_status == 403) return absl::StatusCode::kPermissionDenied;
  if (http_status == 404) return absl::StatusCode::kNotFound;
  return http_status / 100 == 4 ? absl::StatusCode::kInvalidArgument
                                : absl::StatusCode::kUnknown;
}

// If `text` is an IMF-fixdate such as "Sun, 06 Nov 1994 08:49:37 GMT", returns
// its time. Does not check the day of the week.
std::optional<absl::CivilSecond> ReadFixdate(const std::string& text) {
  const std::string form = "aaa, 00 aaa 0000 00:00:00 GMT";
  if (text.size() != form.size()) return std::nullopt;
  for (size_t i = 0; i < form.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool fits = form[i] == 'a'   ? std::isalpha(c) != 0
                      : form[i] == '0' ? std::isdigit(c) != 0
                                       : text[i] == form[i];
    if (!fits) return std::nullopt;
  }
  const auto number = [&](size_t at, size_t size) {
    return std::stoi(text.substr(at, size));
  };
  const auto* month =
      std::find(std::begin(kMonths), std::end(kMonths), text.substr(8, 3));
  if (month == std::end(kMonths)) return std::nullopt;
  const int y = number(12, 4), m = static_cast<int>(month - kMonths) + 1;
  const int d = number(5, 2), h = number(17, 2), min = number(20, 2);
  const int s = number(23, 2);
  const absl::CivilSecond civil(y, m, d, h, min, s);
  if (civil.day() != d || h > 23 || min > 59 || s > 59) {
    return std::nullopt;
  }
  return civil;
}

// Checks what ParseHttpDate returns for `text` at the time `now`. If that is a
// time, also writes it in HTTP's three formats and checks how they are parsed.
void CheckDate(absl::string_view text, absl::Time now) {
  const std::optional<absl::Time> time = ParseHttpDate(text, now);
  if (const auto civil = ReadFixdate(std::string(text))) {
    Require(time == absl::FromCivil(*civil, absl::UTCTimeZone()),
            absl::StrCat("an IMF-fixdate is read: ", text));
  }
  if (!time.has_value()) return;
  const auto c = absl::ToCivilSecond(*time, absl::UTCTimeZone());
  Require(c.year() >= -100 && c.year() <= 10000, "the year of a date");
  const char* day = kDays[static_cast<int>(absl::GetWeekday(c))];
  const char* month = kMonths[c.month() - 1];
  if (c.year() >= 0 && c.year() <= 9999) {
    Require(time == ParseHttpDate(
                        absl::StrFormat("%s, %02d %s %04d %02d:%02d:%02d GMT",
                                        day, c.day(), month, c.year(), c.hour(),
                                        c.minute(), c.second()),
                        now),
            "an IMF-fixdate is read back");
    Require(
        time == ParseHttpDate(absl::StrFormat("%s %s %2d %02d:%02d:%02d %04d",
                                              day, month, c.day(), c.hour(),
                                              c.minute(), c.second(), c.year()),
                              now),
        "asctime's form is read back");
  }
  const auto today = absl::ToCivilSecond(now, absl::UTCTimeZone());
  if (today.year() < 1900 || today.year() > 9900 || c.year() < 0) return;
  // An RFC 850 date has only two digits of the year. `year` becomes the latest
  // year with these digits that puts the date at most 50 years after `now`.
  const auto moment = [](absl::civil_year_t year, const absl::CivilSecond& c) {
    return std::make_tuple(year, c.month(), c.day(), c.hour(), c.minute(),
                           c.second());
  };
  const absl::CivilSecond latest(today.year() + 50, today.month(), today.day(),
                                 today.hour(), today.minute(), today.second());
  absl::civil_year_t year = c.year() % 100 + 10000;
  while (moment(year, c) > moment(latest.year(), latest)) year -= 100;
  const absl::CivilSecond expected(year, c.month(), c.day(), c.hour(),
                                   c.minute(), c.second());
  if (expected.day() != c.day()) return;  // No 29 February in `year`.
  Require(
      absl::FromCivil(expected, absl::UTCTimeZone()) ==
          ParseHttpDate(
              absl::StrFormat(
                  "%s, %02d-%s-%02d %02d:%02d:%02d GMT",
                  absl::FormatTime("%A", *time, absl::UTCTimeZone()), c.day(),
                  month, c.year() % 100, c.hour(), c.minute(), c.second()),
              now),
      "the year of an RFC 850 date");
}

void CheckRetryAfter(const absl::Status& status,
                     const std::vector<HttpHeader>& headers, absl::Time now) {
  const auto find = [&](absl::string_view name) {
    std::optional<absl::string_view> value;
    for (auto it = headers.rbegin(); it != headers.rend(); ++it) {
      if (absl::AsciiStrToLower(it->first) == name) {
        value = absl::StripAsciiWhitespace(it->second);
      }
    }
    return value;
  };
  const auto retry_after = GetRetryAfter(status);
  const auto value = find("retry-after");
  if (!value.has_value()) {
    Require(!retry_after.has_value(), "nobody asked for patience");
    return;
  }
  const bool digits =
      !value->empty() &&
      value->find_first_not_of("0123456789") == absl::string_view::npos;
  const auto until = ParseHttpDate(*value, now);
  Require(retry_after.has_value() == (digits || until.has_value()),
          "a retry-after is seconds or a date");
  if (!retry_after.has_value()) return;
  Require(*retry_after >= absl::ZeroDuration(), "no wait is negative");
  if (digits) {
    int64_t seconds = 0;
    Require(*retry_after == (absl::SimpleAtoi(*value, &seconds)
                                 ? absl::Seconds(seconds)
                                 : absl::InfiniteDuration()),
            "a retry-after in seconds");
  } else {
    const absl::Time from =
        ParseHttpDate(find("date").value_or(""), now).value_or(now);
    Require(*retry_after == std::max(absl::ZeroDuration(), *until - from),
            "a retry-after until a date");
  }
}

}  // namespace
}  // namespace refreshable

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace refreshable;  // NOLINT
  FuzzInput in(data, size);
  int http_status = 0;
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(in.Line(), &http_status)) http_status = 0;
  const absl::string_view when = in.Line();
  const absl::Time now = when == "inf"    ? absl::InfiniteFuture()
                         : when == "-inf" ? absl::InfinitePast()
                         : absl::SimpleAtoi(when, &seconds)
                             ? absl::FromUnixSeconds(seconds)
                             : absl::UnixEpoch();
  const absl::string_view error = in.Line();
  std::vector<HttpHeader> headers;
  while (!in.AtEnd()) {
    const absl::string_view line = in.Line();
    const size_t colon = std::min(line.find(':'), line.size());
    headers.emplace_back(line.substr(0, colon),
                         line.substr(std::min(colon + 1, line.size())));
  }

  const absl::Status status =
      HttpErrorToStatus(http_status, headers, now, error);
  Require(status.code() == CodeFor(http_status, error), "the code");
  const bool shown =
      !error.empty() && error.size() <= 64 &&
      error.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == error.npos;
  Require(status.message() ==
              absl::StrCat("HTTP status ", http_status,
                           shown ? absl::StrCat(", error ", error) : ""),
          "the message says no more than it may");
  CheckRetryAfter(status, headers, now);
  // `bare` has everything that `status` may contain.
  absl::Status bare(status.code(), status.message());
  bare.SetPayload("refreshable/http-status",
                  absl::Cord(absl::StrCat(http_status)));
  if (const auto retry_after = GetRetryAfter(status)) {
    SetRetryAfter(*retry_after, bare);
  }
  Require(status == bare, "the status holds no more than it may");
  CheckDate(error, now);
  for (const HttpHeader& header : headers) {
    CheckDate(absl::StripAsciiWhitespace(header.second), now);
  }
  return 0;
}
