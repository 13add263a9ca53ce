// SPDX-License-Identifier: Apache-2.0
//
// Runs every scenario in every schedule (order of its steps). A schedule has at
// most `kMost` steps, and not more than the scenario's depth. To replace both
// limits, pass for example `--config=deep --test_arg=--depth=8`.
//
// If two schedules reach the same state, only the earlier schedule is continued
// (a merge). One merge in 16 is checked: the next steps are also run after the
// later schedule, and must lead to the same states.
// `--test_arg=--recheck=1` checks every merge.

#include <algorithm>
#include <iostream>
#include <string>

#include "absl/base/config.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "refreshable/testing/schedule_explorer.h"
#include "refreshable/tests/explorer/scenarios_test_util.h"

namespace refreshable {
namespace {

namespace schedule = refreshable_testing::schedule;

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr int kMost = 4;  // Sanitizers make a run ten times slower.
#else
constexpr int kMost = 5;
#endif
int depth = 0;     // 0 means each scenario's own depth, but at most `kMost`.
int recheck = 16;  // One in `recheck` merges is checked.

class ScheduleTest : public testing::TestWithParam<NamedScenario> {};

TEST_P(ScheduleTest, EveryOrder) {
  schedule::ExploreOptions options;
  options.depth = depth > 0 ? depth : std::min(kMost, GetParam().depth);
  options.recheck = recheck;
  const schedule::Report report =
      schedule::Explore(GetParam().scenario, options);
  EXPECT_TRUE(report.ok()) << report;
  std::cout << GetParam() << ": " << report << std::endl;
}

INSTANTIATE_TEST_SUITE_P(All, ScheduleTest, testing::ValuesIn(Scenarios()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace refreshable

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Deadlock detection is slow, and finds nothing in a program with one thread.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    int* const option =
        absl::ConsumePrefix(&argument, "--depth=")     ? &refreshable::depth
        : absl::ConsumePrefix(&argument, "--recheck=") ? &refreshable::recheck
                                                       : nullptr;
    if (option == nullptr || !absl::SimpleAtoi(argument, option)) {
      std::cerr << "bad argument: " << argv[i] << std::endl;
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
