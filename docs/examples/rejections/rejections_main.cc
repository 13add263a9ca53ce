// SPDX-License-Identifier: Apache-2.0
//
// Prints what becomes of a program when servers reject its tokens, for this
// library and for two other ways to treat a 401. Exits with 1 if this library
// breaks what docs/when_the_server_says_401.md promises.

#include <cstdint>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "docs/examples/rejections/play.h"

namespace refreshable_examples {
namespace {

int broken = 0;

void Require(bool holds, const char* what) {
  if (holds) return;
  ++broken;
  absl::PrintF("    BROKEN: %s\n", what);
}

void Print(const char* client, const Outcome& outcome) {
  absl::PrintF("  %-14s %7d of %7d good calls failed, %7.1f tokens an hour",
               client, outcome.failed, outcome.good_calls,
               outcome.minted_per_hour);
  if (outcome.healed_after > absl::ZeroDuration()) {
    absl::PrintF(", healed after %s",
                 absl::FormatDuration(outcome.healed_after));
  }
  absl::PrintF("\n");
}

// Plays it for all three; returns what became of ours.
Outcome Compare(const char* title, const Play& play) {
  absl::PrintF("%s\n", title);
  const Outcome ours = PlayThrough(play, OnRejection::kRejectedRead);
  Print("rejected read", ours);
  Print("withdraw", PlayThrough(play, OnRejection::kWithdraw));
  Print("never refresh", PlayThrough(play, OnRejection::kNothing));
  return ours;
}

void OneBadServer() {
  Play play;
  play.length = absl::Minutes(30);
  play.bad_period = absl::Seconds(10);
  Outcome ours = Compare("one server of many rejects everything", play);
  Require(ours.failed == 0, "no good call fails");
  for (const int callers : {1, 8, 64}) {
    int64_t failed = 0;
    double most = 0;
    for (int period = 1; period <= 60; ++period) {
      play.callers = callers;
      play.bad_period = absl::Seconds(period);
      ours = PlayThrough(play, OnRejection::kRejectedRead);
      failed += ours.failed;
      if (ours.minted_per_hour > most) most = ours.minted_per_hour;
    }
    absl::PrintF(
        "  rejected read, %2d callers, called every 1 to 60 s: %d failed, at "
        "most %.1f tokens an hour\n",
        callers, failed, most);
    Require(failed == 0, "no good call fails");
    Require(most <= 60 + 2 * 6,
            "at most one token a minute, and the first few");
  }
  play = Play();
  play.bad_period = absl::Seconds(10);
  play.max_rejection_backoff = absl::Minutes(10);
  ours = PlayThrough(play, OnRejection::kRejectedRead);
  Print("10 min at most", ours);
  Require(ours.failed == 0, "no good call fails");
  Require(ours.minted_per_hour <= 6 + 5, "at most one token in ten minutes");
}

void AcceptedLater() {
  for (const double d : {0.1, 1.0, 3.0, 10.0}) {
    Play play;
    play.accepted_after = absl::Seconds(d);
    const Outcome ours =
        Compare(absl::StrFormat("tokens are accepted %g s after their issue", d)
                    .c_str(),
                play);
    // 3 d after the first issue, d and a call's period after each later one.
    const double allowed =
        3 * d + 1 + static_cast<double>(ours.minted) * (d + 1);
    Require(static_cast<double>(ours.failed) <= allowed,
            "few calls fail after each issue");
    Require(ours.minted <= 8, "at most 8 tokens in two hours");
  }
}

void OneMistake() {
  Play play;
  play.length = absl::Minutes(10);
  play.mistake_at = absl::Minutes(5);
  Outcome ours = Compare(
      "the source has one token, and one call is rejected by mistake", play);
  Require(ours.failed == 1, "one call fails");
  play = Play();
  play.length = absl::Minutes(20);
  play.revoked_at = absl::Minutes(5);
  play.rotated_at = absl::Minutes(10);
  ours = Compare("a file is replaced 5 min after its token was revoked", play);
  Require(ours.healed_after <= absl::Minutes(1),
          "it is seen within the longest wait");
}

void RealRevocation() {
  Play play;
  play.revoked_at = absl::Minutes(20);
  Outcome ours = Compare("all tokens are revoked once", play);
  Require(ours.failed == 0, "no call fails");
  play.revoked_again_at = absl::Minutes(70);
  ours = Compare("and once more", play);
  Require(ours.failed == 0, "no call fails");
  play.bad_period = absl::Seconds(10);
  ours = Compare("the same while one server rejects everything", play);
  Require(ours.healed_after <= absl::Minutes(1),
          "each heals within the longest wait");
}

}  // namespace
}  // namespace refreshable_examples

int main() {
  using namespace refreshable_examples;  // NOLINT
  OneBadServer();
  AcceptedLater();
  OneMistake();
  RealRevocation();
  if (broken > 0) absl::PrintF("%d promises are broken\n", broken);
  return broken == 0 ? 0 : 1;
}
