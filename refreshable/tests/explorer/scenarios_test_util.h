// SPDX-License-Identifier: Apache-2.0
//
// The scenarios for the schedule explorer. schedule_test explores them in the
// library itself. explorer_mutants_test explores them in copies of the library
// with planted faults.

#ifndef REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_
#define REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_

#include <ostream>
#include <string>
#include <vector>

#include "refreshable/testing/schedule_explorer.h"

namespace refreshable {

struct NamedScenario {
  std::string name;  // Begins with the clause that it tests.
  refreshable_testing::schedule::Scenario scenario;
  // The number of steps that schedule_test explores by default. (Under a
  // sanitizer it explores at most 4.)
  int depth = 5;
};

inline std::ostream& operator<<(std::ostream& os, const NamedScenario& s) {
  return os << s.name;
}

const std::vector<NamedScenario>& Scenarios();

}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_
