// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/play.h"

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "docs/examples/rejections/verdict.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<std::string> BrokenByOurs(const Play& play) {
  return Broken(play, PlayThrough(play, OnRejection::kRejectingRead),
                /*lockstep=*/false);
}
std::vector<std::string> BrokenWithThreads(Play play, int threads) {
  play.callers = threads;
  return Broken(play, PlayWithThreads(play), /*lockstep=*/true);
}

Play OneBadServer(int period) {
  Play play;
  play.length = absl::Minutes(30);
  play.bad_period = absl::Seconds(period);
  return play;
}

TEST(RejectionsTest, A13OneBadServerDisturbsNobodyElse) {
  for (const int period : {1, 7, 10, 29, 60}) {
    EXPECT_THAT(BrokenByOurs(OneBadServer(period)), IsEmpty()) << period;
  }
}

TEST(RejectionsTest, A13TokensAcceptedLater) {
  for (const double d : {0.1, 1.0, 3.0, 10.0}) {
    Play play;
    play.accepted_after = absl::Seconds(d);
    EXPECT_THAT(BrokenByOurs(play), IsEmpty()) << d;
  }
}

TEST(RejectionsTest, A11OneMistakeOnATokenThatNeverChanges) {
  Play play;
  play.length = absl::Minutes(10);
  play.mistake_at = absl::Minutes(5);
  EXPECT_THAT(BrokenByOurs(play), IsEmpty());
}

TEST(RejectionsTest, A13ARotatedFileIsSeenWithinTheLongestWait) {
  Play play;
  play.length = absl::Minutes(20);
  play.revoked_at = absl::Minutes(5);
  play.rotated_at = absl::Minutes(10);
  EXPECT_THAT(BrokenByOurs(play), IsEmpty());
}

TEST(RejectionsTest, A9EverythingRevokedHealsAtOnce) {
  Play play;
  play.revoked_at = absl::Minutes(20);
  play.revoked_again_at = absl::Minutes(70);
  EXPECT_THAT(BrokenByOurs(play), IsEmpty());
  // Now rejections by a bad server have already started attempts before the
  // tokens are revoked.
  play.bad_period = absl::Seconds(10);
  EXPECT_THAT(BrokenByOurs(play), IsEmpty());
}

// A refresh of the stale token runs from 5:02 to 5:06. It may bring a token
// that was revoked at 5:03.
TEST(RejectionsTest, A8RevokedWhileARefreshRuns) {
  for (const bool issued_when_asked : {false, true}) {
    Play play;
    play.length = absl::Minutes(6);
    play.token_life = absl::Minutes(10);
    play.answers_after = absl::Seconds(4);
    play.revoked_at = absl::Seconds(303);
    play.issued_when_asked = issued_when_asked;
    EXPECT_THAT(BrokenByOurs(play), IsEmpty()) << issued_when_asked;
  }
}

TEST(RejectionsTest, A10RevokedWhileTheEndpointIsDownOrThrottles) {
  for (const absl::Duration retry_after :
       {absl::ZeroDuration(), absl::Minutes(2)}) {
    Play play;
    play.length = absl::Minutes(30);
    play.answers_after = absl::Milliseconds(500);
    play.down_from = absl::Minutes(5);
    play.down_until = absl::Minutes(20);
    play.retry_after = retry_after;
    play.revoked_at = absl::Minutes(10);
    EXPECT_THAT(BrokenByOurs(play), IsEmpty()) << retry_after;
    play.revoked_at.reset();
    play.bad_period = absl::Seconds(10);
    EXPECT_THAT(BrokenByOurs(play), IsEmpty()) << retry_after;
  }
}

TEST(RejectionsTest, A13ClocksThatJump) {
  for (const int step_hours : {-2, 0, 2}) {
    Play play = OneBadServer(10);
    play.revoked_at = absl::Minutes(10);
    play.disturbed_at = absl::Minutes(10) + absl::Seconds(20);
    play.wall_step = absl::Hours(step_hours);
    if (step_hours == 0) play.suspended = absl::Minutes(5);
    EXPECT_THAT(BrokenByOurs(play), IsEmpty()) << step_hours;
  }
}

// In the play `revoked`, a refresh runs from 1:02 to 1:06.
TEST(RejectionsTest, A8ThreadsThatRace) {
  for (const int threads : {1, 8}) {
    Play play;
    play.length = absl::Seconds(75);
    play.token_life = absl::Minutes(2);
    Play bad = play;
    bad.bad_period = absl::Seconds(10);
    EXPECT_THAT(BrokenWithThreads(bad, threads), IsEmpty());
    Play later = play;
    later.accepted_after = absl::Seconds(3);
    EXPECT_THAT(BrokenWithThreads(later, threads), IsEmpty());
    Play revoked = play;
    revoked.answers_after = absl::Seconds(4);
    revoked.revoked_at = absl::Seconds(63);
    EXPECT_THAT(BrokenWithThreads(revoked, threads), IsEmpty());
  }
}

TEST(VerdictTest, SaysWhatIsBroken) {
  Play play = OneBadServer(10);
  const Outcome withdrawn = PlayThrough(play, OnRejection::kWithdraw);
  EXPECT_THAT(Broken(play, withdrawn, false),
              ElementsAre(StartsWith("failed calls: 1698, at most 0")));
  play = Play();
  play.accepted_after = absl::Seconds(1);
  EXPECT_THAT(
      Broken(play, PlayThrough(play, OnRejection::kWithdraw), false),
      ElementsAre(StartsWith("calls of the endpoint: 124, at most 8"),
                  StartsWith("calls failed after the first issue: 7200")));
  play = OneBadServer(10);
  play.revoked_at = absl::Minutes(10);
  EXPECT_THAT(Broken(play, PlayThrough(play, OnRejection::kNothing), false),
              ElementsAre("healed after 20m, 1m1s are promised"));

  Outcome outcome;
  outcome.too_soon = 1;
  outcome.failed_after_later = 3;
  play = Play();
  play.accepted_after = absl::Seconds(1);
  EXPECT_THAT(Broken(play, outcome, false),
              ElementsAre(HasSubstr("Retry-After forbade: 1"),
                          StartsWith("calls failed after a later issue: 3, at "
                                     "most 2")));
}

}  // namespace
}  // namespace refreshable_examples
