// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/rejections/play.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

TEST(RejectionsTest, A13OneBadServerDisturbsNobodyElse) {
  for (const int period : {1, 7, 10, 29, 60}) {
    Play play;
    play.length = absl::Minutes(30);
    play.bad_period = absl::Seconds(period);
    const Outcome outcome = PlayThrough(play, OnRejection::kRejectedRead);
    EXPECT_EQ(outcome.failed, 0) << period;
    EXPECT_LE(outcome.minted, 30 + 6) << period;
  }
}

TEST(RejectionsTest, A13TokensAcceptedLater) {
  for (const int d : {1, 3, 10}) {
    Play play;
    play.accepted_after = absl::Seconds(d);
    const Outcome outcome = PlayThrough(play, OnRejection::kRejectedRead);
    EXPECT_LE(outcome.failed, 3 * d + 1 + outcome.minted * (d + 1)) << d;
    EXPECT_LE(outcome.minted, 8) << d;
  }
}

TEST(RejectionsTest, A11OneMistakeOnATokenThatNeverChanges) {
  Play play;
  play.length = absl::Minutes(10);
  play.mistake_at = absl::Minutes(5);
  EXPECT_EQ(PlayThrough(play, OnRejection::kRejectedRead).failed, 1);
}

TEST(RejectionsTest, A13ARotatedFileIsSeenWithinTheLongestWait) {
  Play play;
  play.length = absl::Minutes(20);
  play.revoked_at = absl::Minutes(5);
  play.rotated_at = absl::Minutes(10);
  EXPECT_LE(PlayThrough(play, OnRejection::kRejectedRead).healed_after,
            absl::Minutes(1));
}

TEST(RejectionsTest, A9EverythingRevokedHealsAtOnce) {
  Play play;
  play.revoked_at = absl::Minutes(20);
  play.revoked_again_at = absl::Minutes(70);
  EXPECT_EQ(PlayThrough(play, OnRejection::kRejectedRead).failed, 0);
  // The same while a row is in progress.
  play.bad_period = absl::Seconds(10);
  EXPECT_LE(PlayThrough(play, OnRejection::kRejectedRead).healed_after,
            absl::Minutes(1));
}

}  // namespace
}  // namespace refreshable_examples
