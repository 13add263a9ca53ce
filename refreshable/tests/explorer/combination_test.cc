// SPDX-License-Identifier: Apache-2.0
//
// Combines every situation with every pair of events that can follow it. The
// executor becomes idle between the two. The schedule explorer's checks run
// after each event.

#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/policy.h"
#include "refreshable/testing/schedule_explorer.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable {
namespace {

using namespace refreshable_testing::schedule;  // NOLINT: its vocabulary.

absl::Duration S(double seconds) { return absl::Seconds(seconds); }

// The token of `World::Hold` becomes stale at 200 s and expires at 360 s.
constexpr absl::Duration kStale = absl::Seconds(210);
constexpr absl::Duration kExpired = absl::Seconds(370);

void Read(World& w) {
  w.ReadAsync();
  w.RunUntilIdle();
}

void FailOnce(World& w) {
  w.AnswerCall(0, Fail());
  w.RunUntilIdle();
}

struct Situation {
  std::string name;
  std::function<void(World&)> given;
};

const std::vector<Situation>& Situations() {
  static const auto* const all = new std::vector<Situation>{
      {"NothingHeld", [](World&) {}},
      {"Fresh", [](World& w) { w.Hold(); }},
      {"Stale",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(kStale);
       }},
      {"Expired",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(kExpired);
       }},
      {"RefreshingInTheBackground",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(kStale);
         Read(w);
       }},
      {"RefreshingTwoWait",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(kExpired);
         Read(w);
         w.ReadAsync(S(20));
       }},
      {"BackingOffOneWaits",
       [](World& w) {
         Read(w);
         FailOnce(w);
       }},
      {"OnCooldown",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(kStale);
         Read(w);
         FailOnce(w);
       }},
      {"Exhausted",
       [](World& w) {
         Read(w);
         for (int i = 0; i < 3; ++i) {
           FailOnce(w);
           w.AdvanceBy(S(10));
         }
       }},
      {"Withdrawn",
       [](World& w) {
         w.Hold();
         w.AdvanceBy(S(40));
         w.Invalidate();
       }},
      {"AnAbandonedCallIsOut",
       [](World& w) {
         Read(w);
         w.AdvanceBy(S(31));
       }},
  };
  return *all;
}

class CombinationTest
    : public testing::TestWithParam<std::tuple<Situation, OnExhausted>> {};

TEST_P(CombinationTest, NothingEverBreaksAPromise) {
  Scenario scenario;
  scenario.policy.retry.max_retries = 2;
  scenario.policy.retry.max_consecutive_failures = 3;
  scenario.policy.retry.on_exhausted = std::get<1>(GetParam());
  scenario.given = std::get<0>(GetParam()).given;
  scenario.runs_at_once = true;
  scenario.answers = {Succeed(), Fail(), FailFor(S(90)),
                      Fail(absl::PermissionDeniedError("no"))};
  const auto twice = [&](Step step) {
    scenario.steps.push_back(std::move(step).Times(2));
  };
  twice(Invalidate());
  twice(InvalidateOld());
  twice(Install());
  twice(Reset());
  twice(ReadNow());
  twice(ReadAsync());
  twice(ReadAsync(S(1)));
  twice(ReadAsync(absl::InfiniteDuration(), 0));
  twice(StepWall(-absl::Hours(1)));
  twice(StepWall(absl::Hours(1)));
  twice(Pass(absl::Hours(1)));
  twice(Pass(S(1.5)));
  twice(Pass(kStale));
  scenario.steps.push_back(CancelRead(0));
  scenario.steps.push_back(CancelRead(1));
  ExploreOptions options;
  options.depth = 2;
  const Report report = Explore(scenario, options);
  EXPECT_TRUE(report.ok()) << report;
}

INSTANTIATE_TEST_SUITE_P(
    All, CombinationTest,
    testing::Combine(testing::ValuesIn(Situations()),
                     testing::Values(OnExhausted::kSelfHeal,
                                     OnExhausted::kFatal)),
    [](const auto& info) {
      return std::get<0>(info.param).name +
             (std::get<1>(info.param) == OnExhausted::kFatal ? "Fatal" : "");
    });

}  // namespace
}  // namespace refreshable
