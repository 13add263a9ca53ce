// SPDX-License-Identifier: Apache-2.0
//
// Every scenario in every order, to a depth that `--test_arg=--depth=12` sets.

#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/base/config.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "refreshable/schedule_testing.h"
#include "testing/schedule_explorer.h"

namespace refreshable {
namespace {

namespace schedule = refreshable_testing::schedule;

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
int depth = 5;  // They take some ten times as long.
#else
int depth = 8;
#endif

class ScheduleTest : public testing::TestWithParam<NamedScenario> {};

TEST_P(ScheduleTest, EveryOrder) {
  schedule::ExploreOptions options;
  options.depth = depth;
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
  constexpr absl::string_view kDepth = "--depth=";
  for (int i = 1; i < argc; ++i) {
    if (!absl::StartsWith(argv[i], kDepth)) {
      std::cerr << "unknown argument: " << argv[i] << std::endl;
      return 1;
    }
    refreshable::depth = std::atoi(argv[i] + kDepth.size());
  }
  return RUN_ALL_TESTS();
}
