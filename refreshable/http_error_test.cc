// SPDX-License-Identifier: Apache-2.0

#include "refreshable/http_error.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/failure_class.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace {

using Code = absl::StatusCode;
using Kind = FailureClass;

// 1994-11-06T08:49:37Z, as in the examples of RFC 9110, section 5.6.7.
const absl::Time kExample = absl::FromUnixSeconds(784111777);

absl::Time Utc(absl::string_view rfc3339) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, rfc3339, &time, &error))
      << error;
  return time;
}

absl::Status Answer(int http_status, absl::string_view oauth_error = {}) {
  return HttpErrorToStatus(http_status, {}, kExample, oauth_error);
}

std::optional<absl::Duration> RetryAfterOf(
    const std::vector<HttpHeader>& headers, absl::Time now = kExample) {
  return GetRetryAfter(HttpErrorToStatus(503, headers, now));
}

TEST(HttpErrorTest, B2StatusesMapToCodesAndClasses) {
  const struct {
    int http_status;
    Code code;
    Kind kind;
  } cases[] = {
      {429, Code::kResourceExhausted, Kind::kThrottled},
      {502, Code::kUnavailable, Kind::kTransient},
      {503, Code::kUnavailable, Kind::kTransient},
      {504, Code::kUnavailable, Kind::kTransient},
      {401, Code::kUnauthenticated, Kind::kPermanent},
      {403, Code::kPermissionDenied, Kind::kPermanent},
      {404, Code::kNotFound, Kind::kPermanent},
      {400, Code::kInvalidArgument, Kind::kPermanent},
      {408, Code::kInvalidArgument, Kind::kPermanent},
      {418, Code::kInvalidArgument, Kind::kPermanent},
      {499, Code::kInvalidArgument, Kind::kPermanent},
      {500, Code::kUnknown, Kind::kPermanent},
      {501, Code::kUnknown, Kind::kPermanent},
      {505, Code::kUnknown, Kind::kPermanent},
      {599, Code::kUnknown, Kind::kPermanent},
      {100, Code::kUnknown, Kind::kPermanent},
      {301, Code::kUnknown, Kind::kPermanent},
      {302, Code::kUnknown, Kind::kPermanent},
      {399, Code::kUnknown, Kind::kPermanent},
  };
  for (const auto& c : cases) {
    const absl::Status status = Answer(c.http_status);
    EXPECT_EQ(status.code(), c.code) << c.http_status;
    EXPECT_EQ(ClassifyFailure(status), c.kind) << c.http_status;
    EXPECT_EQ(status.message(), absl::StrCat("HTTP status ", c.http_status));
  }
}

// A source makes a StatusOr from the result of HttpErrorToStatus, and no
// StatusOr may be made from OK.
TEST(HttpErrorTest, B2NeverOk) {
  for (int http_status = -1; http_status <= 1000; ++http_status) {
    EXPECT_FALSE(Answer(http_status).ok()) << http_status;
  }
  EXPECT_EQ(Answer(200).code(), Code::kUnknown);
  EXPECT_EQ(Answer(204).code(), Code::kUnknown);
}

TEST(HttpErrorTest, B2RetriedStatusesAreExactlyTheFour) {
  for (int http_status = 100; http_status < 600; ++http_status) {
    const bool retried = http_status == 429 || http_status == 502 ||
                         http_status == 503 || http_status == 504;
    EXPECT_EQ(ClassifyFailure(Answer(http_status)) != Kind::kPermanent, retried)
        << http_status;
  }
}

TEST(HttpErrorTest, B2TheHttpStatusCanBeReadBack) {
  for (int http_status = -1; http_status <= 1000; ++http_status) {
    EXPECT_EQ(GetHttpStatus(Answer(http_status)), http_status);
  }
  absl::Status other = absl::UnavailableError("HTTP status 503");
  EXPECT_EQ(GetHttpStatus(other), std::nullopt);
  EXPECT_EQ(GetHttpStatus(absl::OkStatus()), std::nullopt);
  for (const char* garbage : {"", "4x", "99999999999"}) {
    other.SetPayload("refreshable/http-status", absl::Cord(garbage));
    EXPECT_EQ(GetHttpStatus(other), std::nullopt) << garbage;
  }
}

TEST(HttpErrorTest, B2TheReadyClassifierRetriesMore) {
  const std::set<int> more = {408, 425, 500, 520, 521, 522, 523, 524, 529};
  for (int http_status = 100; http_status < 600; ++http_status) {
    const absl::Status status = Answer(http_status);
    EXPECT_EQ(ClassifyHttpFailure(status), more.count(http_status) > 0
                                               ? Kind::kTransient
                                               : ClassifyFailure(status))
        << http_status;
  }
  EXPECT_EQ(ClassifyHttpFailure(absl::UnavailableError("no connection")),
            Kind::kTransient);
  EXPECT_EQ(ClassifyHttpFailure(absl::UnknownError("HTTP status 500")),
            Kind::kPermanent);
}

TEST(HttpErrorTest, B2OauthErrorCodes) {
  // The codes that RFC 6749, section 5.2, defines.
  for (const char* error :
       {"invalid_request", "invalid_client", "invalid_grant",
        "unauthorized_client", "unsupported_grant_type", "invalid_scope"}) {
    for (const int http_status : {400, 401, 403, 500}) {
      EXPECT_EQ(ClassifyFailure(Answer(http_status, error)), Kind::kPermanent)
          << http_status << ' ' << error;
    }
  }
  EXPECT_EQ(Answer(401, "invalid_client").code(), Code::kUnauthenticated);
  EXPECT_EQ(Answer(400, "invalid_grant").code(), Code::kInvalidArgument);
  // RFC 6749, section 4.1.2.1, and RFC 8628, section 3.5, define these errors.
  for (const int http_status : {400, 401, 403, 404, 500}) {
    EXPECT_EQ(Answer(http_status, "temporarily_unavailable").code(),
              Code::kUnavailable);
    EXPECT_EQ(Answer(http_status, "server_error").code(), Code::kUnavailable);
    EXPECT_EQ(Answer(http_status, "slow_down").code(),
              Code::kResourceExhausted);
  }
  EXPECT_EQ(ClassifyFailure(Answer(400, "authorization_pending")),
            Kind::kPermanent);
  EXPECT_EQ(ClassifyFailure(Answer(400, "Temporarily_Unavailable")),
            Kind::kPermanent)
      << "codes are compared letter by letter";
}

TEST(HttpErrorTest, B2GatewayStatusesOutweighTheBody) {
  for (const int http_status : {502, 503, 504}) {
    EXPECT_EQ(Answer(http_status, "invalid_client").code(), Code::kUnavailable);
    EXPECT_EQ(Answer(http_status, "slow_down").code(), Code::kUnavailable);
  }
  EXPECT_EQ(Answer(429, "invalid_client").code(), Code::kResourceExhausted);
  EXPECT_EQ(Answer(429, "server_error").code(), Code::kResourceExhausted);
}

TEST(HttpErrorTest, B9MessageNamesStatusAndCode) {
  EXPECT_EQ(Answer(400, "invalid_grant").message(),
            "HTTP status 400, error invalid_grant");
  EXPECT_EQ(Answer(400, std::string(64, 'a')).message(),
            absl::StrCat("HTTP status 400, error ", std::string(64, 'a')));
}

// A server may echo a secret of the request as its `error`.
TEST(HttpErrorTest, S3HostileErrorValuesAreNotInTheMessage) {
  const std::vector<std::string> hostile = {
      "tok-7f3a9",
      "Bearer tok-7f3a9",
      "invalid_client: tok-7f3a9",
      "invalid_client\r\nSet-Cookie: tok-7f3a9",
      std::string("invalid\0client", 14),
      "\xff\xfe",
      "\"quoted\"",
      "back\\slash",
      "invalid_grant ",
      "eyJhbGciOiJIUzI1NiJ9",
      "deadbeef01",
      "\x1b[31m",
      std::string(65, 'a'),
      std::string(1 << 20, 'a'),
  };
  for (const std::string& error : hostile) {
    EXPECT_EQ(Answer(400, error).ToString(),
              "INVALID_ARGUMENT: HTTP status 400 "
              "[refreshable/http-status='400']");
  }
}

TEST(HttpErrorTest, S3HeadersAreNotInTheStatus) {
  const absl::Status status = HttpErrorToStatus(
      401,
      {{"WWW-Authenticate", "Bearer error=\"invalid_token\", x=\"tok-7f3a9\""},
       {"Retry-After", "tok-7f3a9"},
       {"Date", "tok-7f3a9"},
       {"Authorization", "Bearer tok-7f3a9"}},
      kExample);
  EXPECT_EQ(status.ToString(),
            "UNAUTHENTICATED: HTTP status 401 "
            "[refreshable/http-status='401']");
}

TEST(HttpErrorTest, B2RetryAfterSeconds) {
  EXPECT_EQ(RetryAfterOf({}), std::nullopt);
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "120"}}), absl::Seconds(120));
  EXPECT_EQ(RetryAfterOf({{"retry-after", " 120\t"}}), absl::Seconds(120));
  EXPECT_EQ(RetryAfterOf({{"RETRY-AFTER", "007"}}), absl::Seconds(7));
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "0"}}), absl::ZeroDuration());
  EXPECT_EQ(RetryAfterOf({{"X-Retry-After", "120"}}), std::nullopt);
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "1"}, {"Retry-After", "2"}}),
            absl::Seconds(1));
}

TEST(HttpErrorTest, B2RetryAfterThatIsHugeIsALongTime) {
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "31536000"}}), absl::Hours(8760));
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "9223372036854775807"}}),
            absl::Seconds(9223372036854775807));
  EXPECT_EQ(RetryAfterOf({{"Retry-After", "9223372036854775808"}}),
            absl::InfiniteDuration());
  EXPECT_EQ(RetryAfterOf({{"Retry-After", std::string(4000, '9')}}),
            absl::InfiniteDuration());
}

TEST(HttpErrorTest, B2RetryAfterThatCannotBeReadIsIgnored) {
  for (const char* value : {"", " ", "-5", "+5", "5s", "1.5", "1e3", "0x10",
                            "5, 6", "soon", "Sun, 06 Nov 1994", "\xd9\xa3"}) {
    EXPECT_EQ(RetryAfterOf({{"Retry-After", value}}), std::nullopt) << value;
    EXPECT_EQ(
        HttpErrorToStatus(503, {{"Retry-After", value}}, kExample).ToString(),
        "UNAVAILABLE: HTTP status 503 [refreshable/http-status='503']");
  }
}

TEST(HttpErrorTest, B2RetryAfterDateIsMeasuredFromTheDateHeader) {
  const HttpHeader until = {"Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"};
  // The client's clock may be wrong.
  for (const absl::Duration skew :
       {absl::ZeroDuration(), absl::Hours(24), -absl::Hours(24)}) {
    EXPECT_EQ(RetryAfterOf({{"date", "Sun, 06 Nov 1994 08:49:37 GMT"}, until},
                           kExample + skew),
              absl::Minutes(1));
  }
  // Without a valid Date, the client's clock is used.
  EXPECT_EQ(RetryAfterOf({until}), absl::Minutes(1));
  EXPECT_EQ(RetryAfterOf({until, {"Date", "today"}}), absl::Minutes(1));
  EXPECT_EQ(RetryAfterOf({until}, kExample + absl::Seconds(59)),
            absl::Seconds(1));
}

TEST(HttpErrorTest, B2RetryAfterDateThatHasPassedMeansZero) {
  const HttpHeader until = {"Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"};
  EXPECT_EQ(RetryAfterOf({until}), absl::ZeroDuration());
  EXPECT_EQ(RetryAfterOf({until}, kExample + absl::Hours(1)),
            absl::ZeroDuration());
  EXPECT_EQ(RetryAfterOf({until, {"Date", "Sun, 06 Nov 1994 09:49:37 GMT"}},
                         kExample - absl::Hours(1)),
            absl::ZeroDuration());
  EXPECT_EQ(RetryAfterOf({until}, absl::InfiniteFuture()),
            absl::ZeroDuration());
  EXPECT_EQ(RetryAfterOf({until}, absl::InfinitePast()),
            absl::InfiniteDuration());
}

TEST(HttpErrorTest, B2RetryAfterComesWithEveryStatus) {
  for (const int http_status : {302, 400, 401, 429, 500, 503}) {
    const absl::Status status =
        HttpErrorToStatus(http_status, {{"Retry-After", "3"}}, kExample);
    EXPECT_EQ(GetRetryAfter(status), absl::Seconds(3)) << http_status;
  }
}

TEST(RefreshErrorTest, B2RetryAfterIsNeverNegative) {
  absl::Status status = absl::UnavailableError("x");
  EXPECT_EQ(GetRetryAfter(status), std::nullopt);
  SetRetryAfter(-absl::Seconds(1), status);
  EXPECT_EQ(GetRetryAfter(status), absl::ZeroDuration());
  SetRetryAfter(absl::Nanoseconds(1), status);
  EXPECT_EQ(GetRetryAfter(status), absl::Nanoseconds(1));
  SetRetryAfter(-absl::InfiniteDuration(), status);
  EXPECT_EQ(GetRetryAfter(status), absl::ZeroDuration());
}

TEST(HttpDateTest, Rfc9110Examples) {
  for (const char* date :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994"}) {
    EXPECT_EQ(ParseHttpDate(date, kExample), kExample) << date;
  }
}

TEST(HttpDateTest, EveryMonthInEachForm) {
  const char* const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (int month = 1; month <= 12; ++month) {
    const absl::string_view name = names[month - 1];
    const absl::Time expected = absl::FromCivil(
        absl::CivilSecond(2026, month, 7, 1, 2, 3), absl::UTCTimeZone());
    for (const std::string& date :
         {absl::StrCat("Wed, 07 ", name, " 2026 01:02:03 GMT"),
          absl::StrCat("Wednesday, 07-", name, "-26 01:02:03 GMT"),
          absl::StrCat("Wed ", name, "  7 01:02:03 2026")}) {
      EXPECT_EQ(ParseHttpDate(date, expected), expected) << date;
    }
  }
}

TEST(HttpDateTest, EdgesOfTheCalendar) {
  EXPECT_EQ(ParseHttpDate("Thu, 29 Feb 2024 23:59:59 GMT", kExample),
            Utc("2024-02-29T23:59:59Z"));
  EXPECT_EQ(ParseHttpDate("Wed, 29 Feb 2023 00:00:00 GMT", kExample),
            std::nullopt);
  // A leap second is read as the following second.
  EXPECT_EQ(ParseHttpDate("Sat, 31 Dec 2016 23:59:60 GMT", kExample),
            Utc("2017-01-01T00:00:00Z"));
  EXPECT_EQ(ParseHttpDate("Sat, 31 Dec 2016 24:00:00 GMT", kExample),
            std::nullopt);
}

// RFC 9110, section 5.6.7: a year of two digits that appears to be more than 50
// years ahead is in the past.
TEST(HttpDateTest, TwoDigitYearsReachFiftyYearsAhead) {
  const absl::Time now = Utc("2026-11-22T12:00:00Z");
  const struct {
    const char* date;
    const char* expected;
  } cases[] = {
      {"Friday, 01-Jan-99 00:00:00 GMT", "1999-01-01T00:00:00Z"},
      {"Saturday, 01-Jan-00 00:00:00 GMT", "2000-01-01T00:00:00Z"},
      {"Sunday, 22-Nov-26 12:00:00 GMT", "2026-11-22T12:00:00Z"},
      {"Monday, 23-Nov-26 12:00:00 GMT", "2026-11-23T12:00:00Z"},
      {"Sunday, 22-Nov-76 12:00:00 GMT", "2076-11-22T12:00:00Z"},
      {"Monday, 22-Nov-76 12:00:01 GMT", "1976-11-22T12:00:01Z"},
      {"Friday, 31-Dec-76 00:00:00 GMT", "1976-12-31T00:00:00Z"},
      {"Saturday, 01-Jan-77 00:00:00 GMT", "1977-01-01T00:00:00Z"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ParseHttpDate(c.date, now), Utc(c.expected)) << c.date;
  }
  EXPECT_EQ(ParseHttpDate("Friday, 01-Jan-10 00:00:00 GMT",
                          Utc("1994-11-06T00:00:00Z")),
            Utc("2010-01-01T00:00:00Z"));
  EXPECT_EQ(ParseHttpDate("Friday, 01-Jan-60 00:00:00 GMT",
                          Utc("2094-11-06T00:00:00Z")),
            Utc("2060-01-01T00:00:00Z"));
  EXPECT_EQ(ParseHttpDate("Friday, 01-Jan-10 00:00:00 GMT",
                          Utc("2094-11-06T00:00:00Z")),
            Utc("2110-01-01T00:00:00Z"));
  // The year 2100 has no 29 February, so the year 2000 is meant.
  EXPECT_EQ(ParseHttpDate("Tuesday, 29-Feb-00 00:00:00 GMT",
                          Utc("2094-11-06T00:00:00Z")),
            Utc("2000-02-29T00:00:00Z"));
  // Extreme values of `now` must not end the program.
  ParseHttpDate("Friday, 01-Jan-10 00:00:00 GMT", absl::InfiniteFuture());
  ParseHttpDate("Friday, 01-Jan-10 00:00:00 GMT", absl::InfinitePast());
}

TEST(HttpDateTest, Garbage) {
  for (const char* date : {
           "",
           " ",
           ",",
           "GMT",
           "1994-11-06T08:49:37Z",
           "Sun, 06 Nov 1994 08:49:37",
           "Sun, 06 Nov 1994 08:49:37 CET",
           "Sun, 06 Nov 1994 08:49:37 +0100",
           "Sun, 06 Nov 1994 08:49 GMT",
           "Sun, 06 Nov 1994 08:49:37 GMT GMT",
           "Sun, 06 Now 1994 08:49:37 GMT",
           "Sun, 00 Nov 1994 08:49:37 GMT",
           "Sun, 31 Nov 1994 08:49:37 GMT",
           "Sun, 06 Nov 994 08:49:37 GMT",
           "Sun, 06 Nov 19940 08:49:37 GMT",
           "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
           "Sun, 06 Nov 1994 25:49:37 GMT",
           "Sun, 06 Nov 1994 08:60:37 GMT",
           "Sun, 06 Nov 1994 08:49:37.5 GMT",
           "Sun, x6 Nov 1994 08:49:37 GMT",
           "Sun, 06 Nov 1994 xx:49:37 GMT",
           "Sunday, 06-Nov-9x 08:49:37 GMT",
           "Sun Nov  6 08:49:37",
           "Sun Nov  6 1994 08:49:37",
           "Sun Nov  6 08:49:37 19940",
       }) {
    EXPECT_EQ(ParseHttpDate(date, kExample), std::nullopt) << date;
  }
  EXPECT_EQ(ParseHttpDate(absl::StrCat("Sun,", std::string(1 << 20, ' '),
                                       "06 Nov 1994 08:49:37 GMT"),
                          kExample),
            std::nullopt);
  EXPECT_EQ(ParseHttpDate(std::string("Sun, 06 Nov 1994\0 08:49:37 GMT", 30),
                          kExample),
            std::nullopt);
}

TEST(HttpErrorTest, F4AnExpiryCountsFromTheDateHeader) {
  const absl::Time hour = kExample + absl::Hours(1);
  const auto relative = [&](absl::string_view date) {
    const Expiry expiry = ExpiryByServerClock(hour, {{"date", date}}, kExample);
    return expiry.is_relative() ? std::optional(expiry.lifetime())
                                : std::nullopt;
  };
  EXPECT_EQ(relative("Sun, 06 Nov 1994 08:49:37 GMT"), absl::Hours(1));
  // This computer's clock is 50 minutes slow, then a day fast.
  EXPECT_EQ(relative("Sun, 06 Nov 1994 09:39:37 GMT"), absl::Minutes(10));
  EXPECT_EQ(relative("Sat, 05 Nov 1994 08:49:37 GMT"), absl::Hours(25));
  EXPECT_EQ(relative("Sun, 06 Nov 1994 09:50:37 GMT"), -absl::Minutes(1));
  EXPECT_EQ(relative("yesterday"), std::nullopt);
  EXPECT_EQ(ExpiryByServerClock(hour, {{"Date", "yesterday"}}, kExample).time(),
            hour);
  EXPECT_EQ(ExpiryByServerClock(hour, {}, kExample).time(), hour);
}

}  // namespace
}  // namespace refreshable
