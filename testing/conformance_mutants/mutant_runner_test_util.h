// SPDX-License-Identifier: Apache-2.0
//
// Tests of the conformance suites themselves: for each clause there must be an
// implementation with one fault that the clause finds.

#ifndef REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_
#define REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_

#include <string>
#include <vector>

namespace refreshable_testing {

// A subject that has a fault, and a clause that must find the fault.
struct Breach {
  std::string subject;
  std::string clause;
};

// Expects three things. The clause of each breach fails for the breach's
// subject. Each clause of the suite is the clause of some breach. Each subject
// named in `sound` passes the whole suite.
//
// This program must contain INSTANTIATE_TEST_SUITE_P(Faults, `suite`, ...) with
// every subject named in `breaches` and `sound`. The clauses run in child
// processes, which run this program again, because a clause that fails may have
// to end the program.
void ExpectBreachesAreFound(const std::string& suite,
                            const std::vector<Breach>& breaches,
                            const std::vector<std::string>& sound);

// The `main` function of a program that calls ExpectBreachesAreFound. Runs the
// tests that --gtest_filter selects, by default the tests named *SelfTest.*.
int SelfTestMain(int argc, char** argv);

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_
