// SPDX-License-Identifier: Apache-2.0
//
// Clause E2 where the executor has more to do than it can: it does not run what
// it accepted, has no timer to spare, or refuses everything.

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::Outcome;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;

constexpr absl::Duration kForever = absl::InfiniteDuration();
constexpr char kNotRun[] = "the executor has not run the refresh for 30s";

class OverloadTest : public ::testing::Test {
 protected:
  ~OverloadTest() override {
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Time passes and the timers run, but none of the tasks.
  void RunTimersOnly(absl::Duration d) {
    const absl::Duration until = executor_.clock().Now().since_boot + d;
    for (;;) {
      const auto steps = executor_.PendingSteps();
      size_t next = steps.size();
      for (size_t i = 0; i < steps.size(); ++i) {
        if (steps[i].kind == ManualExecutor::PendingStep::Kind::kTimer &&
            steps[i].due <= until) {
          next = i;
          break;
        }
      }
      if (next == steps.size()) break;
      executor_.RunPending(next);
    }
    executor_.Suspend(until - executor_.clock().Now().since_boot);
  }

  ManualExecutor executor_;
  ProbeExecutor probe_{&executor_};
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_ = Make(&probe_, held_);
};

// ---- It does not run what it accepted ----

// Every worker hung in somebody else's source: a read waited until its own
// deadline, and without one for ever; nothing was told and nothing tried.
TEST_F(OverloadTest, E2AnAttemptThatIsNotRunEndsAfterTheAttemptTimeout) {
  std::vector<Event> events;
  Strings::Options options;
  options.observer = lifecycle_testing::Observe(
      [&](const Event& event) { events.push_back(event); });
  token_ = Make(&probe_, held_, options);
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  RunTimersOnly(absl::Seconds(29));
  EXPECT_TRUE(token_->health().refreshing);
  RunTimersOnly(absl::Seconds(1));
  EXPECT_FALSE(token_->health().refreshing);
  EXPECT_EQ(token_->health().failures, 0);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kAttemptAbandoned);
  EXPECT_EQ(events[0].status, absl::UnavailableError(kNotRun));
  // The executor has recovered. The task does nothing any more.
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kUnavailable);
  EXPECT_NE(outcome.status.message().find(kNotRun), std::string::npos)
      << outcome.status;
  EXPECT_EQ(held_->calls(), 0u);
  // Nothing sticks.
  Outcome again;
  token_->GetAsync(kForever, again.Callback());
  executor_.RunUntilIdle();
  ASSERT_EQ(held_->calls(), 1u);
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(again.token, "t1");
}

TEST_F(OverloadTest, E2ABlockedThreadIsWokenWhenItsAttemptIsNotRun) {
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::thread reader([&] { read = token_->Get(); });
  SpinUntil(
      [&] { return token_->health().waiters > 0 && executor_.pending() > 1; });
  RunTimersOnly(absl::Seconds(30));
  reader.join();
  EXPECT_EQ(read->status().code(), StatusCode::kUnavailable) << read->status();
  EXPECT_EQ(token_->health().failures, 0);
}

TEST_F(OverloadTest, E2AUsableTokenIsServedThoughItsRefreshIsNotRun) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  executor_.AdvanceBy(absl::Minutes(41));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "t1");
    EXPECT_TRUE(token_->health().refreshing);
    RunTimersOnly(absl::Seconds(30));
    EXPECT_FALSE(token_->health().refreshing);
  }
  EXPECT_EQ(token_->stats().attempts_abandoned, 3);
  EXPECT_EQ(token_->health().failures, 0);
}

// It is claimed by the reader, which would wait for itself.
TEST_F(OverloadTest, R10AReadOnAnExecutorThreadRunsTheAttemptItself) {
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  RunTimersOnly(absl::Seconds(31));
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  executor_.Run([&] { read = token_->Get(absl::Seconds(1)); });
  // The read, before the task of the attempt that has ended.
  ASSERT_TRUE(executor_.RunPending(executor_.pending() - 1));
  EXPECT_EQ(held_->calls(), 1u);
  EXPECT_EQ(read->status().code(), StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace refreshable
