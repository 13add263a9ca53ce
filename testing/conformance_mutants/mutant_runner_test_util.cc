// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/conformance_mutants/mutant_runner_test_util.h"

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace refreshable_testing {
namespace {

std::string* program = nullptr;

struct Outcome {
  bool passed = false;
  std::string output;
};

// Runs this program's tests that match `filter` in a child process.
// `environment` is an environment variable ("NAME=value"), or empty. The
// command removes Bazel's variables that select tests or name output files.
Outcome RunTests(absl::string_view filter, absl::string_view environment) {
  const std::string command = absl::StrCat(
      "env -u XML_OUTPUT_FILE -u TEST_PREMATURE_EXIT_FILE "
      "-u TESTBRIDGE_TEST_ONLY -u TEST_TOTAL_SHARDS -u TEST_SHARD_INDEX ",
      environment, " '", *program, "' '--gtest_filter=", filter, "' 2>&1");
  Outcome outcome;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) {
    outcome.output.append(buffer, n);
  }
  outcome.passed = pclose(pipe) == 0;
  return outcome;
}

// Calls all functions, four at a time, because some wait for a timeout.
void CallAll(const std::vector<std::function<void()>>& functions) {
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (size_t f = next++; f < functions.size(); f = next++) functions[f]();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Returns the names of the suite's tests, without the subjects' names.
std::set<std::string> ClausesOf(const std::string& suite) {
  std::set<std::string> clauses;
  const ::testing::UnitTest& all = *::testing::UnitTest::GetInstance();
  for (int s = 0; s < all.total_test_suite_count(); ++s) {
    const ::testing::TestSuite& tests = *all.GetTestSuite(s);
    if (tests.name() != absl::StrCat("Faults/", suite)) continue;
    for (int t = 0; t < tests.total_test_count(); ++t) {
      const std::string name = tests.GetTestInfo(t)->name();
      clauses.insert(name.substr(0, name.find('/')));
    }
  }
  return clauses;
}

}  // namespace

void ExpectBreachesAreFound(const std::string& suite,
                            const std::vector<Breach>& breaches,
                            const std::vector<std::string>& sound) {
  std::set<std::string> unbroken = ClausesOf(suite);
  EXPECT_FALSE(unbroken.empty()) << suite << " is not instantiated as Faults";
  for (const Breach& breach : breaches) unbroken.erase(breach.clause);
  for (const std::string& clause : unbroken) {
    ADD_FAILURE() << "no subject breaks " << clause;
  }
  std::vector<std::function<void()>> checks;
  for (const Breach& breach : breaches) {
    checks.push_back([&suite, &breach] {
      const std::string test = absl::StrCat("Faults/", suite, ".",
                                            breach.clause, "/", breach.subject);
      const Outcome outcome = RunTests(test, "REFRESHABLE_TIMEOUT_SECONDS=3");
      EXPECT_TRUE(absl::StrContains(outcome.output,
                                    absl::StrCat("[ RUN      ] ", test)))
          << outcome.output;
      EXPECT_FALSE(outcome.passed) << test << " finds nothing";
    });
  }
  for (const std::string& name : sound) {
    checks.push_back([&suite, &name] {
      const Outcome outcome =
          RunTests(absl::StrCat("Faults/", suite, ".*/", name), "");
      EXPECT_TRUE(outcome.passed) << outcome.output;
      EXPECT_TRUE(absl::StrContains(outcome.output, "[  PASSED  ] "));
    });
  }
  CallAll(checks);
}

int SelfTestMain(int argc, char** argv) {
  program = new std::string(argv[0]);
  GTEST_FLAG_SET(filter, "*SelfTest.*");
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace refreshable_testing
