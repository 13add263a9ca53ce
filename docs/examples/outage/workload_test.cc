// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/workload.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"

namespace refreshable_examples {
namespace {

class FakeClient final : public ReplayingClient {
 public:
  absl::StatusOr<Bearer> Token() override {
    if (!status.ok()) return status;
    return Bearer{std::make_shared<const std::string>("t"), expires_at, 1};
  }
  bool OnRejected(const Bearer&) override {
    ++rejections;
    return replay;
  }
  ClientState state() const override { return {}; }

  absl::Status status;
  absl::Time expires_at = absl::InfiniteFuture();
  bool replay = true;
  int rejections = 0;
};

class MakeCallTest : public testing::Test {
 protected:
  // The requests of the call get `answers` in turn. Returns the number of
  // requests.
  size_t Call(const std::vector<ApiResult>& answers) {
    size_t sent = 0;
    MakeCall(
        client_, [&](const std::string&) { return answers.at(sent++); },
        executor_.clock(), scoreboard_);
    return sent;
  }

  absl::Time Now() { return executor_.clock().Now().wall; }

  refreshable::ManualExecutor executor_;
  FakeClient client_;
  Scoreboard scoreboard_;
};

TEST_F(MakeCallTest, AGoodCall) {
  EXPECT_EQ(Call({ApiResult::kOk}), 1u);
  EXPECT_EQ(scoreboard_.tally().calls, 1);
  EXPECT_EQ(scoreboard_.tally().failed, 0);
}

TEST_F(MakeCallTest, WithoutATokenNothingIsSent) {
  client_.status = absl::UnavailableError("no token");
  EXPECT_EQ(Call({}), 0u);
  EXPECT_EQ(scoreboard_.tally().failed, 1);
}

TEST_F(MakeCallTest, ARejectedCallIsReplayedOnce) {
  EXPECT_EQ(Call({ApiResult::kRevoked, ApiResult::kOk}), 2u);
  EXPECT_EQ(scoreboard_.tally().failed, 0);
  EXPECT_EQ(scoreboard_.tally().revoked, 1);
  EXPECT_EQ(Call({ApiResult::kRevoked, ApiResult::kRevoked}), 2u);
  EXPECT_EQ(scoreboard_.tally().failed, 1);
  EXPECT_EQ(scoreboard_.tally().revoked, 3);
  EXPECT_EQ(client_.rejections, 3);
  client_.replay = false;
  EXPECT_EQ(Call({ApiResult::kRejected}), 1u);
  EXPECT_EQ(scoreboard_.tally().failed, 2);
}

TEST_F(MakeCallTest, OtherFailuresAreNotReplayed) {
  EXPECT_EQ(Call({ApiResult::kFailed}), 1u);
  EXPECT_EQ(Call({ApiResult::kUnreachable}), 1u);
  EXPECT_EQ(scoreboard_.tally().failed, 2);
  EXPECT_EQ(client_.rejections, 0);
}

TEST_F(MakeCallTest, ATokenAtItsExpiryIsAnExpiredTokenSent) {
  client_.expires_at = Now() + absl::Nanoseconds(1);
  Call({ApiResult::kOk});
  EXPECT_EQ(scoreboard_.tally().expired_sent, 0);
  client_.expires_at = Now();
  Call({ApiResult::kExpired, ApiResult::kExpired});
  EXPECT_EQ(scoreboard_.tally().expired_sent, 2);
  EXPECT_EQ(scoreboard_.tally().expired_in_transit, 0);
}

TEST_F(MakeCallTest, AGoodTokenThatTheServerFoundExpiredExpiredInTransit) {
  client_.expires_at = Now() + absl::Nanoseconds(1);
  Call({ApiResult::kExpired, ApiResult::kOk});
  EXPECT_EQ(scoreboard_.tally().expired_sent, 0);
  EXPECT_EQ(scoreboard_.tally().expired_in_transit, 1);
}

TEST_F(MakeCallTest, HealingIsTheFirstGoodCallAfterTheRecovery) {
  Call({ApiResult::kOk});
  EXPECT_EQ(scoreboard_.tally().healed_after, std::nullopt);
  scoreboard_.SetRecovered(executor_.clock().Now());
  executor_.AdvanceBy(absl::Seconds(2));
  Call({ApiResult::kFailed});
  EXPECT_EQ(scoreboard_.tally().healed_after, std::nullopt);
  executor_.AdvanceBy(absl::Seconds(1));
  Call({ApiResult::kOk});
  executor_.AdvanceBy(absl::Seconds(1));
  Call({ApiResult::kOk});
  EXPECT_EQ(scoreboard_.tally().healed_after, absl::Seconds(3));
}

}  // namespace
}  // namespace refreshable_examples
