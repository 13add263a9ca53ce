// SPDX-License-Identifier: Apache-2.0
//
// The scenarios of two tests: schedule_test explores them in the library, and
// explorer_mutants_test explores them in a copy of the library with planted
// faults.

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
  // schedule_test explores at most this many steps, unless `--depth` is given.
  int depth = 5;
};

inline std::ostream& operator<<(std::ostream& os, const NamedScenario& s) {
  return os << s.name;
}

const std::vector<NamedScenario>& Scenarios();

}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_EXPLORER_SCENARIOS_TEST_UTIL_H_
