// SPDX-License-Identifier: Apache-2.0
//
// Whether the explorer finds faults is tested in explorer_mutants_test.cc.

#include "refreshable/testing/schedule_explorer.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {
namespace {

// [explorer]
TEST(ScheduleExplorerTest, T4ATokenIsInvalidatedWhileItIsRefreshed) {
  Scenario scenario;
  scenario.policy.retry.max_retries = 1;
  scenario.given = [](World& world) {
    world.Hold(absl::Seconds(400));
    world.AdvanceBy(absl::Seconds(210));  // The token is stale now.
  };
  scenario.steps = {ReadAsync(), Invalidate(), Pass(absl::Seconds(150))};
  const Report report = Explore(scenario);
  EXPECT_TRUE(report.ok()) << report;
}
// [/explorer]

ExploreOptions Depth(int depth, bool merge = true) {
  ExploreOptions options;
  options.depth = depth;
  options.merge = merge;
  return options;
}

Step Nothing(const char* name) {
  return Do(name, [](World&) {});
}

TEST(ScheduleExplorerTest, T4EveryOrderIsRun) {
  Scenario scenario;
  scenario.steps = {Nothing("a"), Nothing("b"), Nothing("c")};
  const Report each = Explore(scenario, Depth(3, /*merge=*/false));
  EXPECT_EQ(each.schedules, 6);
  EXPECT_EQ(each.runs, 1 + 3 + 6 + 6);
  // With merging, a state is the set of the steps that have happened.
  ExploreOptions options = Depth(3);
  options.recheck = 0;
  const Report merged = Explore(scenario, options);
  EXPECT_EQ(merged.schedules, 6);
  EXPECT_EQ(merged.states, 8);
  EXPECT_EQ(merged.runs, 1 + 3 + 6 + 3);
}

TEST(ScheduleExplorerTest, T4AnOrderEndsAtTheDepth) {
  Scenario scenario;
  scenario.steps = {Nothing("a").Times(5)};
  EXPECT_EQ(Explore(scenario, Depth(3)).states, 4);
  EXPECT_EQ(Explore(scenario, Depth(9)).states, 6);
}

TEST(ScheduleExplorerTest, T4ThenAndTimesKeepTheirOrder) {
  Scenario scenario;
  scenario.steps = {Nothing("a").Then(Nothing("b")), Nothing("c").Times(2)};
  EXPECT_EQ(Explore(scenario, Depth(4)).schedules, 6);  // 4! / (2! * 2!)
  EXPECT_EQ(Replay(scenario, {"c", "a", "b", "c"}), "");
  EXPECT_EQ(Replay(scenario, {"c", "b"}), "step 2 cannot happen: b");
}

TEST(ScheduleExplorerTest, T4StepsOfOneNameAreToldApart) {
  Scenario scenario;
  scenario.steps = {Nothing("a"), Nothing("a")};
  EXPECT_EQ(Replay(scenario, {"a #2", "a"}), "");
  EXPECT_EQ(Explore(scenario, Depth(2)).states, 4);
}

TEST(ScheduleExplorerTest, T4MergedOrdersAreCountedAsIfTheyWereRun) {
  Scenario scenario;
  scenario.steps = {ReadAsync().Times(2), ReadBlocking(absl::Seconds(5)),
                    Invalidate(), Destroy()};
  const Report each = Explore(scenario, Depth(5, /*merge=*/false));
  const Report merged = Explore(scenario, Depth(5));
  EXPECT_TRUE(each.ok()) << each;
  EXPECT_TRUE(merged.ok()) << merged;
  EXPECT_EQ(merged.schedules, each.schedules);
  EXPECT_EQ(merged.states, each.states);
  EXPECT_LT(merged.runs, each.runs);
}

// Step "d" depends on the variable `last`, which is not part of the world. So
// two worlds that look the same may continue differently.
TEST(ScheduleExplorerTest, T4StatesThatLookTheSameAreToldApartByWhatFollows) {
  std::string last;
  Scenario scenario;
  scenario.given = [&](World&) { last.clear(); };
  const auto note = [&](std::string name) {
    return Do(name, [&last, name](World&) { last = name; });
  };
  scenario.steps = {note("a"), note("b"),
                    Nothing("c").Then(Nothing("d").When(
                        [&](const World&) { return last == "a"; })),
                    Nothing("e").Times(2)};
  const Report each = Explore(scenario, Depth(6, /*merge=*/false));
  const Report merged = Explore(scenario, Depth(6));
  EXPECT_TRUE(merged.ok()) << merged;
  EXPECT_EQ(merged.schedules, each.schedules);
  EXPECT_LT(merged.runs, each.runs);
  // Without rechecks, the explorer merges two worlds that look the same but
  // continue differently. So its number of schedules is wrong.
  ExploreOptions options = Depth(6);
  options.recheck = 0;
  EXPECT_NE(Explore(scenario, options).schedules, each.schedules);
}

TEST(ScheduleExplorerTest, T4AFailureIsShownByAShortestOrder) {
  Scenario scenario;
  scenario.steps = {ReadAsync().Times(2), Nothing("a").Times(3)};
  scenario.check = [](World& world) {
    world.Expect(world.held_calls() == 0, "never so");
  };
  const Report report = Explore(scenario);
  EXPECT_EQ(report.failure, "never so");
  EXPECT_EQ(report.schedule, (Schedule{"read", "task 1"}));
  EXPECT_EQ(Replay(scenario, report.schedule), "never so");
  std::ostringstream shown;
  shown << report;
  EXPECT_THAT(shown.str(),
              testing::HasSubstr("never so\n  after {\"read\", \"task 1\"}"));
}

// The step "end" can happen while the source holds a call.
Scenario EndsAfterACall(std::function<void(World&)> end) {
  Scenario scenario;
  scenario.steps = {ReadAsync(),
                    Do("end", std::move(end)).When([](const World& world) {
                      return world.held_calls() > 0;
                    })};
  return scenario;
}

TEST(ScheduleExplorerDeathTest, T4WhatEndsTheProgramIsShown) {
  const Scenario scenario = EndsAfterACall([](World&) { std::abort(); });
  EXPECT_DEATH(Explore(scenario),
               R"(program ends in \{"read", "task 1", "end"\})");
  EXPECT_DEATH(Replay(scenario, {"read", "task 1", "end"}),
               R"(program ends in \{"read", "task 1", "end"\})");
}

TEST(ScheduleExplorerDeathTest, T4WhatHangsIsShown) {
  const Scenario scenario = EndsAfterACall([](World&) {
    for (;;) pause();
  });
  ExploreOptions options;
  options.timeout = absl::Seconds(1);
  EXPECT_DEATH(Explore(scenario, options),
               R"(step does not end, in \{"read", "task 1", "end"\})");
}

TEST(ScheduleExplorerTest, T4SignalsAreAsBeforeAfterwards) {
  const auto before = std::signal(SIGABRT, SIG_IGN);
  Explore(EndsAfterACall([](World&) {}));
  EXPECT_EQ(std::signal(SIGABRT, before), SIG_IGN);
}

}  // namespace
}  // namespace schedule
}  // namespace refreshable_testing
