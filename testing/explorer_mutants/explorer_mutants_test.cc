// SPDX-License-Identifier: Apache-2.0
//
// Plants faults in the library, and checks that the explorer finds each fault.

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/testing/explorer_mutants/planted_test_util.h"
#include "refreshable/testing/schedule_explorer.h"
#include "refreshable/tests/explorer/scenarios_test_util.h"

namespace planted_faults {
namespace {

using refreshable::NamedScenario;
using refreshable::Scenarios;
using refreshable_testing::schedule::Explore;
using refreshable_testing::schedule::ExploreOptions;
using refreshable_testing::schedule::ReadAsync;
using refreshable_testing::schedule::Replay;
using refreshable_testing::schedule::Report;
using refreshable_testing::schedule::Scenario;

ExploreOptions Depth(int depth) {
  ExploreOptions options;
  options.depth = depth;
  return options;
}

struct Fault {
  const char* name;
  const char* scenario;  // The scenario in which the explorer must find it.
};

std::ostream& operator<<(std::ostream& os, const Fault& fault) {
  return os << fault.name;
}

std::string CamelCase(absl::string_view name) {
  std::string result;
  for (const absl::string_view word : absl::StrSplit(name, '_')) {
    result += absl::ascii_toupper(word[0]);
    absl::StrAppend(&result, word.substr(1));
  }
  return result;
}

class PlantedFaultsTest : public testing::Test {
 protected:
  // Abseil's deadlock detection would take a fifth of the running time.
  static void SetUpTestSuite() {
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  }
  ~PlantedFaultsTest() override { Plant(""); }
};

// The library files in this program contain all faults, but a fault is active
// only while it is planted.
TEST_F(PlantedFaultsTest, T4NothingIsFoundWhereNothingIsPlanted) {
  for (const NamedScenario& s : Scenarios()) {
    const Report report = Explore(s.scenario, Depth(4));
    EXPECT_TRUE(report.ok()) << s << ": " << report;
  }
}

class FoundFaultsTest : public PlantedFaultsTest,
                        public testing::WithParamInterface<Fault> {};

TEST_P(FoundFaultsTest, T4IsFoundPrintedAndReplayed) {
  const auto named =
      std::find_if(Scenarios().begin(), Scenarios().end(),
                   [](const auto& s) { return s.name == GetParam().scenario; });
  ASSERT_NE(named, Scenarios().end()) << GetParam().scenario;
  Plant(GetParam().name);
  const Report report = Explore(named->scenario, Depth(8));
  std::cout << GetParam() << ": " << report << std::endl;
  EXPECT_TRUE(Reached());
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(Replay(named->scenario, report.schedule), report.failure);
  Plant("");
  EXPECT_EQ(Replay(named->scenario, report.schedule), "");
}

INSTANTIATE_TEST_SUITE_P(
    All, FoundFaultsTest,
    testing::ValuesIn(std::vector<Fault>{
        // An answer is accepted although its attempt was superseded.
        {"generation_check", "A2InvalidatedBesideAnAttempt"},
        // A refresh never ends if the executor loses its task.
        {"stuck_flag", "E2LostTasks"},
        // Invalidate does not affect the running attempt.
        {"attempt_ignored", "A2InvalidatedBesideAnAttempt"},
        // The destructor drops all waiting asynchronous reads but one.
        {"waiter_dropped", "E1Destroy"},
        // A fault of attempts that do not run.
        {"queued_for_good", "F1FirstReads"},
        // Faults of calls and their answers.
        {"bound_for_good", "F6CallsThatNeverReturn"},
        {"late_success", "F6AttemptsThatTimeOut"},
        {"life_from_answer", "F1FirstReads"},
        {"discard_ends_backoff", "F2LateAnswersOnceATimerWasLost"},
        {"unbounded_calls", "F6AttemptsThatTimeOut"},
        {"inside_lost", "R9AnswersInsideFetch"},
        {"invalidated_forgotten", "A2InvalidatedBesideAnAttempt"},
        // Faults of the token.
        {"served_at_the_edge", "R4TheVeryEdges"},
        {"wall_ignored", "R6TwoClocks"},
        {"degraded_for_good", "B10Degraded"},
        {"install_leaves_flight", "F9InstallBesideAnAttempt"},
        // Faults of rejecting reads.
        {"rejected_served", "A7WhatAReadRejects"},
        {"queued_not_told", "A8RejectingReadsBeforeAnAttempt"},
        {"untold_fails", "A8RejectingReadsBesideAnAttempt"},
        {"rejection_waits", "A9PermissionOfRejectingReads"},
        {"rejection_counts", "A10FailuresOfRejectingReads"},
        {"unchanged_published", "A11TheSameTokenAgain"},
        {"report_starts", "A12Reports"},
        {"no_row", "A13TheRow"},
        // Faults of the schedule.
        {"no_interval", "F6AttemptsThatTimeOut"},
        {"exempt_for_good", "F7RefreshAhead"},
        {"no_backoff", "B1Backoff"},
        {"retry_after_ignored", "B1Backoff"},
        {"no_probe_interval", "B7SelfHeal"},
        {"background_retries", "B3Cooldown"},
        {"young_forgets", "A5InvalidatedYoung"},
        {"reset_leaves_spent", "B8ResetBetweenAttempts"},
        // Faults of retries.
        {"one_retry_more", "B5BudgetsOfReads"},
        {"not_promoted", "R2StaleReads"},
        {"permanent_retried", "B1Backoff"},
        // Faults of waiting reads.
        {"deadline_missed", "F1FirstReads"},
        {"cancelled_and_called", "R8Cancel"},
        {"not_woken", "F1FirstReads"},
        {"settled_twice", "B3Cooldown"},
    }),
    [](const auto& info) { return CamelCase(info.param.name); });

#ifndef ABSL_HAVE_THREAD_SANITIZER  // TSan would end the program first.
// With this fault, the Refreshable holds a lock while it calls the source. The
// explorer's source calls the Refreshable, and so waits forever.
TEST(PlantedFaultsDeathTest, T4WhatWaitsForItselfIsShownWithItsSchedule) {
  Scenario scenario;
  scenario.steps = {ReadAsync()};
  ExploreOptions options = Depth(2);
  options.timeout = absl::Seconds(1);
  Plant("fetch_under_lock");
  EXPECT_DEATH(Explore(scenario, options),
               R"(step does not end, in \{\} and its recovery)");
  Plant("");
}
#endif

}  // namespace
}  // namespace planted_faults
