// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/verdict.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "docs/examples/outage/script.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

using refreshable::RefreshPolicy;

int64_t Allowed(absl::Duration outage) {
  return PromiseOf(ScaledPolicy(1), outage).requests;
}

TEST(PromiseTest, OneRequestForEachStartThatTheScheduleAllows) {
  // Attempts start at 0, 2, 6, 14, 30, 62 and 122 s, and then every 60 s.
  EXPECT_EQ(Allowed(absl::ZeroDuration()), 1);
  EXPECT_EQ(Allowed(absl::Seconds(2) - absl::Nanoseconds(1)), 1);
  EXPECT_EQ(Allowed(absl::Seconds(2)), 2);
  EXPECT_EQ(Allowed(absl::Seconds(61)), 5);
  EXPECT_EQ(Allowed(absl::Seconds(62)), 6);
  EXPECT_EQ(Allowed(absl::Seconds(122)), 7);
  EXPECT_EQ(Allowed(absl::Seconds(182)), 8);
  EXPECT_EQ(Allowed(absl::Hours(1)), 7 + (3600 - 122) / 60);
}

TEST(PromiseTest, ScalingChangesNothingButTheUnit) {
  for (const int seconds : {1, 5, 20, 100, 330, 1000}) {
    EXPECT_EQ(PromiseOf(ScaledPolicy(20), absl::Seconds(seconds) / 20).requests,
              Allowed(absl::Seconds(seconds)));
  }
}

TEST(PromiseTest, JitterAndTheMinimumIntervalCount) {
  RefreshPolicy policy = ScaledPolicy(1);
  policy.jitter = 0.1;
  EXPECT_EQ(PromiseOf(policy, absl::Seconds(1.8)).requests, 2);
  policy = ScaledPolicy(1);
  policy.min_interval = absl::Seconds(5);
  EXPECT_EQ(PromiseOf(policy, absl::Seconds(9.9)).requests, 2);
}

TEST(PromiseTest, RecoveryIsAProbeAndTheTimeOfOneAttempt) {
  EXPECT_EQ(PromiseOf(ScaledPolicy(20), absl::Seconds(9)).recovery,
            absl::Seconds(4.5));
}

class BrokenPromisesTest : public testing::Test {
 protected:
  BrokenPromisesTest() { tally_.healed_after = absl::Seconds(4.5); }

  bool Says(int64_t requests, const char* part) {
    const std::vector<std::string> broken =
        BrokenPromises(promise_, tally_, requests);
    return broken.size() == 1 && absl::StrContains(broken[0], part);
  }

  const Promise promise_ = {10, absl::Seconds(4.5)};
  Tally tally_;
};

TEST_F(BrokenPromisesTest, NoneWhereAllIsAtTheLimit) {
  tally_.failed = 1000;
  tally_.expired_in_transit = 3;
  tally_.revoked = 8;
  EXPECT_TRUE(BrokenPromises(promise_, tally_, 10).empty());
}

// A13: in 7 s of rejections, attempts start at 0, 2 and 6 s.
TEST(PromiseTest, RejectionsHaveAScheduleOfTheirOwn) {
  const int64_t without = Allowed(absl::Seconds(100));
  EXPECT_EQ(
      PromiseOf(ScaledPolicy(1), absl::Seconds(100), absl::Seconds(7)).requests,
      without + 3);
}

TEST_F(BrokenPromisesTest, AnExpiredTokenSent) {
  tally_.expired_sent = 1;
  EXPECT_TRUE(Says(10, "expired token was sent 1 time"));
}

TEST_F(BrokenPromisesTest, ARequestTooMany) {
  EXPECT_TRUE(Says(11, "11 token requests"));
}

TEST_F(BrokenPromisesTest, NoRecovery) {
  tally_.healed_after.reset();
  EXPECT_TRUE(Says(10, "no call succeeded"));
}

TEST_F(BrokenPromisesTest, ALateRecovery) {
  tally_.healed_after = absl::Seconds(4.51);
  EXPECT_TRUE(Says(10, "4.51 s after"));
}

TEST_F(BrokenPromisesTest, SaysAllOfThem) {
  EXPECT_EQ(
      BrokenPromises({1, absl::Seconds(1)}, {0, 0, 2, 0, 0, {}}, 2).size(), 3u);
}

TEST(ScriptTest, HoldsWhatItSays) {
  absl::Duration total;
  for (const Act& act : Script()) {
    total += act.length;
    if (act.phase == Phase::kBadGateway) {
      EXPECT_GT(act.length, kTokenLife);
    }
    if (act.phase == Phase::kHanging || act.phase == Phase::kRevoking) {
      EXPECT_GT(act.length, ScaledPolicy(kFactor).retry.probe_interval);
    }
    if (act.phase == Phase::kRecovered) {
      EXPECT_GT(act.length, PromiseOf(ScaledPolicy(kFactor), total).recovery);
    }
  }
  EXPECT_LT(total, absl::Seconds(40));
  EXPECT_TRUE(Validate(ScaledPolicy(kFactor)).ok());
}

}  // namespace
}  // namespace refreshable_examples
