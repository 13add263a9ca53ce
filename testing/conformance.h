// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites share: the subjects that they test, and the
// functions with which they wait.

#ifndef REFRESHABLE_TESTING_CONFORMANCE_H_
#define REFRESHABLE_TESTING_CONFORMANCE_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable_testing {

// One implementation that a suite tests. `make` returns a new rig, through
// which the suite uses the implementation. Each test of the suite calls `make`
// at least once. `name` becomes a part of test names, so it may contain only
// letters and digits.
template <typename Rig>
struct Subject {
  std::string name;
  std::function<std::unique_ptr<Rig>()> make;

  friend void PrintTo(const Subject& subject, std::ostream* os) {
    *os << subject.name;
  }
};

// Names the tests after their subjects. Pass `SubjectName()` as the last
// argument of INSTANTIATE_TEST_SUITE_P.
struct SubjectName {
  template <typename Rig>
  std::string operator()(
      const ::testing::TestParamInfo<Subject<Rig>>& info) const {
    return info.param.name;
  }
};

// `AwaitOrGiveUp` and `DoOrGiveUp` wait for an event that comes soon if the
// implementation is correct. After 30 s they call `GiveUp`. The environment
// variable REFRESHABLE_TIMEOUT_SECONDS sets another number of seconds. `GiveUp`
// ends the program. If it only failed the test, threads and tasks of the test
// would live on and use its destroyed variables.

// Prints that the current test "waited in vain for" `what`, and ends the
// program.
[[noreturn]] void GiveUp(absl::string_view what);
// Blocks until `n` is notified.
void AwaitOrGiveUp(const absl::Notification& n, absl::string_view what);
// Calls `f` on a new thread, and blocks until that thread has ended.
void DoOrGiveUp(absl::string_view what, absl::FunctionRef<void()> f);

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CONFORMANCE_H_
