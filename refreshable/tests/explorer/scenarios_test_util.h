// SPDX-License-Identifier: Apache-2.0
//
// The scenarios that the schedule explorer runs in every order, here and with
// faults planted.

#ifndef REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_
#define REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_

#include <ostream>
#include <string>
#include <vector>

#include "refreshable/testing/schedule_explorer.h"

namespace refreshable {

struct NamedScenario {
  std::string name;  // Begins with the clause that it is about.
  refreshable_testing::schedule::Scenario scenario;
  // How many steps schedule_test goes, if it is not told otherwise.
  int depth = 5;
};

inline std::ostream& operator<<(std::ostream& os, const NamedScenario& s) {
  return os << s.name;
}

const std::vector<NamedScenario>& Scenarios();

}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_
