// SPDX-License-Identifier: Apache-2.0
//
// Tests of the conformance suites: each clause must find a fault.

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

// Expects that each breach's clause fails for the breach's subject, and that
// each clause of the suite has a breach. Each subject named in `sound` must
// pass the whole suite.
//
// The calling program must contain INSTANTIATE_TEST_SUITE_P(Faults, `suite`,
// ...) with the subjects of `breaches` and of `sound`. The clauses run in child
// processes, because a clause that fails may have to end the program.
void ExpectBreachesAreFound(const std::string& suite,
                            const std::vector<Breach>& breaches,
                            const std::vector<std::string>& sound);

// The `main` function of a program that calls ExpectBreachesAreFound. By
// default, runs only the tests named *SelfTest.*.
int SelfTestMain(int argc, char** argv);

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_
