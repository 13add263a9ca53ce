// SPDX-License-Identifier: Apache-2.0
//
// Prints what happens to a program when servers reject its tokens, for this
// library and for two other ways to handle a 401. Exits with 1 if this library
// breaks a promise of docs/when_the_server_says_401.md.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/rejections/play.h"
#include "docs/examples/rejections/verdict.h"

namespace refreshable_examples {
namespace {

constexpr int kCallers[] = {1, 8, 64};
constexpr absl::Duration kLongestWaits[] = {absl::Minutes(1),
                                            absl::Minutes(10)};

struct Row {
  std::string title;
  Play play;
};

std::vector<Row> Rows() {
  std::vector<Row> rows;
  const auto add = [&](const char* title) -> Play& {
    return rows.emplace_back(Row{title, {}}).play;
  };
  {
    Play& play =
        add("one server of many rejects everything, called every 10 s");
    play.length = absl::Minutes(30);
    play.bad_period = absl::Seconds(10);
  }
  add("tokens are accepted 1 s after their issue").accepted_after =
      absl::Seconds(1);
  add("tokens are accepted 10 s after their issue").accepted_after =
      absl::Seconds(10);
  {
    Play& play = add("one token that never changes, one mistaken 401");
    play.length = absl::Minutes(10);
    play.mistake_at = absl::Minutes(5);
  }
  {
    Play& play = add("a file is replaced 5 min after its token was revoked");
    play.length = absl::Minutes(20);
    play.revoked_at = absl::Minutes(5);
    play.rotated_at = absl::Minutes(10);
  }
  {
    Play& play = add("all tokens are revoked, twice");
    play.revoked_at = absl::Minutes(20);
    play.revoked_again_at = absl::Minutes(70);
  }
  {
    Play& play = add("the same, while one server rejects everything");
    play = rows[rows.size() - 2].play;
    play.bad_period = absl::Seconds(10);
  }
  {
    Play& play = add("all tokens are revoked while a refresh runs");
    play.answers_after = absl::Seconds(5);
    play.revoked_at = absl::Minutes(40) + absl::Seconds(2);
  }
  {
    Play& play = add("the same, and the refresh brings a revoked token");
    play = rows[rows.size() - 2].play;
    play.issued_when_asked = true;
  }
  return rows;
}

std::vector<Row> RowsOfABrokenEndpoint() {
  std::vector<Row> rows;
  for (const absl::Duration retry_after :
       {absl::ZeroDuration(), absl::Minutes(2)}) {
    const char* const what = retry_after == absl::ZeroDuration()
                                 ? "is down for 15 min"
                                 : "answers 429, \"Retry-After: 120\"";
    Play play;
    play.answers_after = absl::Milliseconds(500);
    play.retry_after = retry_after;
    // Without rejections, the first token would become stale at 40 min.
    play.down_from = absl::Minutes(35);
    play.down_until = absl::Minutes(50);
    play.revoked_at = absl::Minutes(38);
    rows.push_back(
        {absl::StrFormat("all tokens are revoked; the endpoint %s", what),
         play});
    play.revoked_at.reset();
    play.bad_period = absl::Seconds(10);
    rows.push_back({absl::StrFormat(
                        "one server rejects everything; the endpoint %s", what),
                    play});
  }
  return rows;
}

int broken = 0;

// Prints and counts the promises that `ours` breaks.
void Check(const Play& play, const Outcome& ours, bool lockstep) {
  for (const std::string& sentence : Broken(play, ours, lockstep)) {
    ++broken;
    absl::PrintF("BROKEN: %s (callers: %d; longest wait: %s)\n", sentence,
                 play.callers,
                 absl::FormatDuration(play.max_rejection_backoff));
  }
}

Outcome PlayOurs(const Play& play) {
  const Outcome ours = PlayThrough(play, OnRejection::kRejectingRead);
  Check(play, ours, /*lockstep=*/false);
  return ours;
}

std::string Healed(const Outcome& outcome) {
  return outcome.healed_after > absl::ZeroDuration()
             ? absl::FormatDuration(outcome.healed_after)
             : "-";
}

void Print(const char* client, const Outcome& outcome) {
  absl::PrintF("  %-25s %6d of %5d %10.1f %10.1f  %10s\n", client,
               outcome.failed, outcome.good_calls, outcome.minted_per_hour,
               outcome.asked_per_hour, Healed(outcome));
}

// Prints the results for this library, with two values of the longest wait, and
// for the two other ways to handle a 401.
void Compare(const std::vector<Row>& rows) {
  absl::PrintF("%-27s %-15s %10s %10s  %10s\n", "", "  calls failed",
               "tokens/h", "fetches/h", "to heal");
  for (const Row& row : rows) {
    absl::PrintF("%s\n", row.title);
    Play play = row.play;
    Print("rejecting read", PlayOurs(play));
    play.max_rejection_backoff = absl::Minutes(10);
    Print("  longest wait 10 min", PlayOurs(play));
    Print("withdraw on every 401",
          PlayThrough(row.play, OnRejection::kWithdraw));
    Print("never refresh on 401", PlayThrough(row.play, OnRejection::kNothing));
  }
}

void EveryPeriod() {
  absl::PrintF(
      "\nOne server rejects everything, called every 1, 2, ... 60 s\n"
      "  callers  longest wait  calls failed  most tokens/h\n");
  for (const int callers : kCallers) {
    for (const absl::Duration longest : kLongestWaits) {
      int64_t failed = 0;
      double most = 0;
      for (int period = 1; period <= 60; ++period) {
        Play play;
        play.length = absl::Minutes(30);
        play.callers = callers;
        play.max_rejection_backoff = longest;
        play.bad_period = absl::Seconds(period);
        const Outcome ours = PlayOurs(play);
        failed += ours.failed;
        most = std::max(most, ours.minted_per_hour);
      }
      absl::PrintF("  %7d  %12s  %12d  %13.1f\n", callers,
                   absl::FormatDuration(longest), failed, most);
    }
  }
}

// Servers reject each token for d seconds after its issue. This library
// promises that calls fail for at most 3 * d seconds after the first issue. The
// limit after each later issue is d + 1 seconds.
void EveryDelay() {
  absl::PrintF(
      "\nTokens are accepted d after their issue, two hours; calls failed after"
      "\nthe first issue / the most after a later one, and tokens per hour\n"
      "  d, s");
  for (const int callers : kCallers) {
    absl::PrintF("  %19s", absl::StrFormat("%d caller%s", callers,
                                           callers == 1 ? "" : "s"));
  }
  absl::PrintF("  longest wait 10 min\n");
  for (int tenths = 1; tenths <= 100; ++tenths) {
    const bool shown =
        tenths % 10 == 0 || tenths == 1 || tenths == 2 || tenths == 5;
    Play play;
    play.accepted_after = absl::Milliseconds(100) * tenths;
    const auto show = [&] {
      const Outcome ours = PlayOurs(play);
      if (!shown) return;
      absl::PrintF(
          "  %19s",
          absl::StrFormat("%d / %d, %3.1f", ours.failed_after_first,
                          ours.failed_after_later, ours.minted_per_hour));
    };
    if (shown) absl::PrintF("  %4.1f", tenths / 10.0);
    for (const int callers : kCallers) {
      play.callers = callers;
      if (shown || callers == 1) show();
    }
    play.callers = 1;
    play.max_rejection_backoff = absl::Minutes(10);
    show();
    if (shown) absl::PrintF("\n");
  }
  absl::PrintF("  (and every tenth of a second between, for one caller)\n");
}

// If no token were revoked, a refresh would run from 5:02 to 5:06. Each
// simulation revokes all tokens at a different moment around that time.
void EveryMomentOfARefresh() {
  absl::PrintF(
      "\nAll tokens are revoked 1 s before a refresh of 4 s starts, half a "
      "second\nlater, ... and 2 s after its end; the most calls failed, and to "
      "heal\n");
  for (const bool issued_when_asked : {false, true}) {
    for (const int callers : kCallers) {
      int64_t failed = 0;
      Outcome slowest;
      for (int half = -2; half <= 12; ++half) {
        Play play;
        play.length = absl::Minutes(6);
        play.token_life = absl::Minutes(10);
        play.callers = callers;
        play.answers_after = absl::Seconds(4);
        play.issued_when_asked = issued_when_asked;
        play.revoked_at = absl::Seconds(302) + absl::Milliseconds(500) * half;
        const Outcome ours = PlayOurs(play);
        failed = std::max(failed, ours.failed);
        if (ours.healed_after > slowest.healed_after) slowest = ours;
      }
      absl::PrintF("  it brings a token issued %-20s  %2d callers  %4d  %8s\n",
                   issued_when_asked ? "when it was asked" : "when it answered",
                   callers, failed, Healed(slowest));
    }
  }
}

// Prints the longest time to heal after 61 different ends of the outage.
void EveryEndOfAnOutage() {
  absl::PrintF(
      "\nThe endpoint works again after 45:00, 45:10, ... 55:00; the longest "
      "time to heal\n");
  for (const Row& row : RowsOfABrokenEndpoint()) {
    if (!row.play.revoked_at.has_value()) continue;
    absl::PrintF("  %-72s", row.title);
    for (const absl::Duration longest : kLongestWaits) {
      Outcome slowest;
      for (int moment = 0; moment <= 60; ++moment) {
        Play play = row.play;
        play.length = absl::Minutes(70);
        play.max_rejection_backoff = longest;
        play.down_until = absl::Minutes(45) + absl::Seconds(10) * moment;
        const Outcome ours = PlayOurs(play);
        if (ours.healed_after > slowest.healed_after) slowest = ours;
      }
      absl::PrintF(" %8s", Healed(slowest));
    }
    absl::PrintF("\n");
  }
}

// Simulates each row with three kinds of clock jumps at twenty moments.
void BothClocks() {
  absl::PrintF(
      "\nThe most calls failed (and tokens/h) if, at some moment of the row,\n"
      "  %-56s %13s %13s %13s\n",
      "", "wall +2 h", "wall -2 h", "suspend 10 m");
  for (const Row& row : Rows()) {
    absl::PrintF("  %-56s", row.title);
    for (int kind = 0; kind < 3; ++kind) {
      int64_t failed = 0;
      double minted = 0;
      Play play = row.play;
      if (kind == 0) play.wall_step = absl::Hours(2);
      if (kind == 1) play.wall_step = absl::Hours(-2);
      if (kind == 2) play.suspended = absl::Minutes(10);
      for (int moment = 1; moment <= 20; ++moment) {
        // If `revoked_at` is set, the last moment is 20 s after it.
        play.disturbed_at =
            moment == 20 && play.revoked_at.has_value()
                ? *play.revoked_at + absl::Seconds(20)
                : play.length * moment / 20 - absl::Milliseconds(1300);
        const Outcome ours = PlayOurs(play);
        failed = std::max(failed, ours.failed);
        minted = std::max(minted, ours.minted_per_hour);
      }
      absl::PrintF(" %13s", absl::StrFormat("%d (%.1f)", failed, minted));
    }
    absl::PrintF("\n");
  }
}

// In these rows, tokens become stale after about five minutes.
std::vector<Row> RowsForThreads() {
  Play base;
  base.length = absl::Minutes(8);
  base.token_life = absl::Minutes(10);
  std::vector<Row> rows;
  const auto add = [&](const char* title) -> Play& {
    return rows.emplace_back(Row{title, base}).play;
  };
  add("one server rejects everything").bad_period = absl::Seconds(10);
  for (const int d : {1, 3, 10}) {
    add(absl::StrFormat("accepted %d s after their issue", d).c_str())
        .accepted_after = absl::Seconds(d);
  }
  add("one mistaken 401").mistake_at = absl::Minutes(2);
  {
    Play& play = add("revoked, twice");
    play.revoked_at = absl::Minutes(2);
    play.revoked_again_at = absl::Minutes(6);
  }
  {
    Play& play = add("revoked, one server rejects everything");
    play.revoked_at = absl::Minutes(4);
    play.bad_period = absl::Seconds(10);
  }
  {
    Play& play = add("revoked while a refresh runs");
    play.length = absl::Minutes(6);
    play.answers_after = absl::Seconds(4);
    // The refresh runs from 5:02 to 5:06.
    play.revoked_at = absl::Seconds(303);
  }
  {
    Play& play = add("which brings a revoked token");
    play = rows[rows.size() - 2].play;
    play.issued_when_asked = true;
  }
  for (const int seconds : {0, 120}) {
    Play& play = add(seconds == 0 ? "revoked, the endpoint is down"
                                  : "revoked, the endpoint answers 429");
    play.answers_after = absl::Milliseconds(500);
    play.down_from = absl::Minutes(1);
    play.down_until = absl::Minutes(4);
    play.revoked_at = absl::Minutes(2);
    play.retry_after = absl::Seconds(seconds);
  }
  return rows;
}

void WithThreads() {
  absl::PrintF(
      "\nThe callers are threads, which call at the same time: calls failed "
      "(tokens/h)\n  %-40s %14s %14s %14s\n",
      "", "1 thread", "8 threads", "64 threads");
  for (const Row& row : RowsForThreads()) {
    absl::PrintF("  %-40s", row.title);
    Play play = row.play;
    for (const int callers : kCallers) {
      play.callers = callers;
      const Outcome ours = PlayWithThreads(play);
      absl::PrintF(" %14s", absl::StrFormat("%d (%.1f)", ours.failed,
                                            ours.minted_per_hour));
      Check(play, ours, /*lockstep=*/true);
    }
    absl::PrintF("\n");
  }
}

}  // namespace
}  // namespace refreshable_examples

int main() {
  using namespace refreshable_examples;  // NOLINT
  // The deadlock detection would take a third of the time in a build without
  // NDEBUG.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Compare(Rows());
  Compare(RowsOfABrokenEndpoint());
  EveryPeriod();
  EveryDelay();
  EveryMomentOfARefresh();
  EveryEndOfAnOutage();
  BothClocks();
  WithThreads();
  if (broken > 0) absl::PrintF("%d promises are broken\n", broken);
  return broken == 0 ? 0 : 1;
}
