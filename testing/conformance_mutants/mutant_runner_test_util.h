// SPDX-License-Identifier: Apache-2.0
//
// Tests of the conformance suites themselves: each clause must find an
// implementation that has one fault.

#ifndef REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_
#define REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_

#include <string>
#include <vector>

namespace refreshable_testing {

// The name of a subject, and the clause that it breaks.
struct Breach {
  std::string subject;
  std::string clause;
};

// `suite` must be instantiated in this program, as `Faults`, with every subject
// named here. Each clause runs in a child process, which runs this program
// again, because a broken clause may have to end the program.
//
// Expects that the clause of each breach fails for its subject, that every
// clause of the suite is broken by some subject, and that each subject named in
// `sound`, which has no fault, passes the whole suite.
void ExpectBreachesAreFound(const std::string& suite,
                            const std::vector<Breach>& breaches,
                            const std::vector<std::string>& sound);

// The `main` of such a program. Runs the tests named *SelfTest.*, and other
// tests only if the command line selects them.
int SelfTestMain(int argc, char** argv);

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CONFORMANCE_MUTANTS_MUTANT_RUNNER_TEST_UTIL_H_
