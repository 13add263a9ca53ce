// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/verdict.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace refreshable_examples {
namespace {

// The time between two calls of one caller.
constexpr absl::Duration kPeriod = absl::Seconds(1);

// Returns the number of calls within `time` after the issue of a token. It is
// rounded up, because a caller may also call at the moment of the issue. If
// `lockstep` is true, all callers call at the same moments, so the number is
// rounded up for each caller.
int64_t Calls(const Play& play, absl::Duration time, bool lockstep) {
  const double each = absl::FDivDuration(time, kPeriod);
  return static_cast<int64_t>(lockstep ? std::ceil(each) * play.callers
                                       : std::ceil(each * play.callers));
}

// A *row* is a sequence of attempts that rejections started (A13). Returns
// whether a token may be revoked, or a good token become available, during a
// row. The waits within a row grow, so the next attempt may then be far off.
bool RowMayBeInProgress(const Play& play) {
  return play.bad_period < absl::InfiniteDuration() ||
         play.rotated_at.has_value() || play.down_until > play.down_from;
}

// The promised maximum of `Outcome::healed_after`.
absl::Duration MayFailFor(const Play& play) {
  if (RowMayBeInProgress(play)) {
    return std::max(play.max_rejection_backoff,
                    play.retry_after + play.answers_after) +
           kPeriod;
  }
  // A refresh may return a token that was revoked during the refresh. The next
  // attempt starts when that token is rejected.
  if (play.issued_when_asked) return play.answers_after + kPeriod;
  return absl::ZeroDuration();
}

// Returns the maximum number of attempts that rejections start within `time`.
// The waits between the attempts are 2, 4, 8, ... s, but at most `longest`.
int64_t LongestRow(absl::Duration time, absl::Duration longest) {
  int64_t attempts = 0;
  absl::Duration wait = absl::Seconds(2);
  for (absl::Duration at; at < time; at += wait, wait = 2 * wait) {
    wait = std::min(wait, longest);
    ++attempts;
  }
  return attempts;
}

// The promised maximum number of calls to the endpoint.
int64_t MayAsk(const Play& play) {
  // If the servers reject young tokens, at most 8 calls in two hours are
  // promised. No such play lasts longer.
  if (play.accepted_after > absl::ZeroDuration()) return 8;
  const absl::Duration stale_after =
      play.token_life - std::min(play.token_life / 2, absl::Minutes(20));
  int64_t most = 1 + play.length / stale_after;
  if (RowMayBeInProgress(play)) {
    most += LongestRow(play.length, play.max_rejection_backoff);
  } else {
    for (const auto& rejected :
         {play.mistake_at, play.revoked_at, play.revoked_again_at}) {
      if (rejected.has_value()) ++most;
    }
    // A second refresh must replace a token that was revoked during the first.
    if (play.issued_when_asked) ++most;
  }
  // While the endpoint is down, the refresh of a stale token is retried once a
  // minute.
  most += (play.down_until - play.down_from) / absl::Minutes(1);
  // A jump of a clock may end the life of one token early.
  if (play.disturbed_at.has_value()) ++most;
  return most;
}

}  // namespace

std::vector<std::string> Broken(const Play& play, const Outcome& outcome,
                                bool lockstep) {
  std::vector<std::string> broken;
  const auto limit = [&](const char* what, int64_t found, int64_t most) {
    if (found <= most) return;
    broken.push_back(
        absl::StrCat(what, ": ", found, ", at most ", most, " are promised"));
  };
  limit("calls of the endpoint that its Retry-After forbade", outcome.too_soon,
        0);
  limit("calls of the endpoint", outcome.asked, MayAsk(play));
  const absl::Duration d = play.accepted_after;
  if (d > absl::ZeroDuration()) {
    limit("calls failed after the first issue", outcome.failed_after_first,
          Calls(play, 3 * d, lockstep));
    limit("calls failed after a later issue", outcome.failed_after_later,
          Calls(play, d + kPeriod, lockstep));
  } else if (play.mistake_at.has_value()) {
    limit("calls failed by mistake", outcome.failed, 1);
  } else if (!play.revoked_at.has_value() ||
             MayFailFor(play) == absl::ZeroDuration()) {
    limit("failed calls", outcome.failed, 0);
  } else if (outcome.healed_after > MayFailFor(play)) {
    broken.push_back(absl::StrCat(
        "healed after ", absl::FormatDuration(outcome.healed_after), ", ",
        absl::FormatDuration(MayFailFor(play)), " are promised"));
  }
  return broken;
}

}  // namespace refreshable_examples
