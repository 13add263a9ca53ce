// SPDX-License-Identifier: Apache-2.0
//
// Tests of ManualExecutor::Cancel while other steps are pending.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"

namespace refreshable {
namespace {

TEST(ManualExecutorCancelTest, T1CancelLeavesTheOrderOfTheOthersAlone) {
  constexpr int kTimers = 2000;
  ManualExecutor executor;
  std::mt19937 random(1);
  std::vector<TimerId> timers;
  // Each pair is a timer's due time in seconds and its index. `kept` has the
  // timers that are not cancelled.
  std::vector<std::pair<int, int>> kept;
  std::vector<std::pair<int, int>> ran;
  for (int i = 0; i < kTimers; ++i) {
    const int seconds = static_cast<int>(random() % 500);
    timers.push_back(executor.RunAfter(
        absl::Seconds(seconds),
        [&ran, seconds, i] { ran.emplace_back(seconds, i); }));
    kept.emplace_back(seconds, i);
  }
  std::shuffle(kept.begin(), kept.end(), random);
  while (kept.size() > kTimers / 10) {
    EXPECT_TRUE(executor.Cancel(timers[kept.back().second]));
    EXPECT_FALSE(executor.Cancel(timers[kept.back().second]));
    kept.pop_back();
    if (executor.pending() != kept.size()) FAIL() << kept.size();
  }
  std::sort(kept.begin(), kept.end());
  std::vector<uint64_t> ids;
  for (const auto& step : executor.PendingSteps()) ids.push_back(step.id);
  ASSERT_EQ(ids.size(), kept.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(TimerId{ids[i]}, timers[kept[i].second]);
  }
  EXPECT_EQ(executor.AdvanceBy(absl::Seconds(500)), kept.size());
  EXPECT_EQ(ran, kept);
}

// A pending task may own an object whose destructor cancels another timer.
TEST(ManualExecutorCancelTest, T1TaskOfADyingExecutorMayCancelAnother) {
  std::string destroyed;
  TimerId last = TimerId::kNone;
  {
    ManualExecutor executor;
    const auto on_destroy = [&](char name, std::function<void()> then) {
      return std::shared_ptr<void>(nullptr, [&destroyed, name, then](void*) {
        destroyed += name;
        if (then) then();
      });
    };
    executor.RunAfter(absl::Seconds(1),
                      [guard = on_destroy('a', [&executor, &last] {
                         EXPECT_TRUE(executor.Cancel(last));
                         EXPECT_FALSE(executor.Cancel(last));
                       })] {});
    executor.RunAfter(absl::Seconds(2), [guard = on_destroy('b', {})] {});
    last =
        executor.RunAfter(absl::Seconds(3), [guard = on_destroy('c', {})] {});
  }
  EXPECT_EQ(destroyed, "acb");
}

}  // namespace
}  // namespace refreshable
