// SPDX-License-Identifier: Apache-2.0

#include "refreshable/refresh_error.h"

#include <algorithm>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace refreshable {
namespace {

constexpr absl::string_view kRefreshErrorUrl = "refreshable/refresh-error";
constexpr absl::string_view kRetryAfterUrl = "refreshable/retry-after";
constexpr absl::string_view kReadTimeoutUrl = "refreshable/read-timeout";

std::string Show(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

// Rounds `time` up.
absl::Time ToWholeSeconds(absl::Time time) {
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) {
    return time;
  }
  const absl::Time second = absl::FromUnixSeconds(absl::ToUnixSeconds(time));
  return second < time ? second + absl::Seconds(1) : second;
}

}  // namespace

namespace internal {

// The payload is the text "FLAGS FAILURES NEXT_ATTEMPT CAUSE". CAUSE is last
// because it may contain spaces.
absl::Status MakeRefreshError(absl::StatusCode code,
                              const RefreshError& error) {
  absl::Status status(
      code,
      error.rejected && !error.fatal
          ? absl::StrCat("no token but the rejected one: ", error.cause,
                         "; no attempt for it before ",
                         Show(ToWholeSeconds(error.next_attempt)))
      : error.fatal
          ? absl::StrCat("no usable token: gave up after ", error.failures,
                         " failed attempts; last: ", error.cause)
          : absl::StrCat("no usable token: ", error.failures, " failed attempt",
                         error.failures == 1 ? "" : "s",
                         " in a row, next attempt not before ",
                         Show(ToWholeSeconds(error.next_attempt)),
                         "; last: ", error.cause));
  status.SetPayload(
      kRefreshErrorUrl,
      absl::Cord(absl::StrCat((error.fatal ? 1 : 0) + (error.rejected ? 2 : 0),
                              " ", error.failures, " ",
                              Show(error.next_attempt), " ", error.cause)));
  return status;
}

absl::Status MakeReadTimeout(absl::string_view message) {
  absl::Status status = absl::DeadlineExceededError(message);
  status.SetPayload(kReadTimeoutUrl, absl::Cord());
  return status;
}

}  // namespace internal

std::optional<RefreshError> GetRefreshError(const absl::Status& status) {
  const auto payload = status.GetPayload(kRefreshErrorUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  const std::vector<std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(' ', 3));
  RefreshError error;
  int flags = 0;
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &flags) ||
      !absl::SimpleAtoi(parts[1], &error.failures) ||
      !absl::ParseTime(absl::RFC3339_full, parts[2], &error.next_attempt,
                       nullptr)) {
    return std::nullopt;
  }
  error.fatal = (flags & 1) != 0;
  error.rejected = (flags & 2) != 0;
  error.cause = parts[3];
  return error;
}

bool IsFatal(const absl::Status& status) {
  const std::optional<RefreshError> error = GetRefreshError(status);
  return error.has_value() && error->fatal;
}

bool IsReadTimeout(const absl::Status& status) {
  return status.GetPayload(kReadTimeoutUrl).has_value();
}

std::ostream& operator<<(std::ostream& os, const RefreshError& error) {
  return os << "failures=" << error.failures
            << " next_attempt=" << Show(error.next_attempt)
            << " fatal=" << (error.fatal ? "true" : "false")
            << " rejected=" << (error.rejected ? "true" : "false")
            << " cause=" << internal::Quoted(error.cause);
}

void SetRetryAfter(absl::Duration retry_after, absl::Status& status) {
  retry_after = std::max(retry_after, absl::ZeroDuration());
  status.SetPayload(kRetryAfterUrl,
                    absl::Cord(absl::FormatDuration(retry_after)));
}

std::optional<absl::Duration> GetRetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterUrl);
  absl::Duration retry_after;
  if (!payload.has_value() ||
      !absl::ParseDuration(std::string(*payload), &retry_after)) {
    return std::nullopt;
  }
  return retry_after;
}

}  // namespace refreshable
