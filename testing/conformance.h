// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites have in common: the subjects they are held
// against, and their patience.

#ifndef REFRESHABLE_TESTING_CONFORMANCE_H_
#define REFRESHABLE_TESTING_CONFORMANCE_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace refreshable_testing {

// One implementation that a suite is held against. `make` is called afresh for
// each clause. `name` becomes a part of the test's name: letters and digits.
template <typename Rig>
struct Subject {
  std::string name;
  std::function<std::unique_ptr<Rig>()> make;

  friend void PrintTo(const Subject& subject, std::ostream* os) {
    *os << subject.name;
  }
};

// Names the tests after their subjects: `SubjectName()` is the last argument of
// INSTANTIATE_TEST_SUITE_P.
struct SubjectName {
  template <typename Rig>
  std::string operator()(
      const ::testing::TestParamInfo<Subject<Rig>>& info) const {
    return info.param.name;
  }
};

// How a suite, or a rig, waits for what a sound implementation does at once.
// After half a minute it gives up: it says which test waited for what and ends
// the program. (What has not happened may happen yet, and would find the test's
// variables gone.) The environment variable REFRESHABLE_PATIENCE_SECONDS sets
// another time. `what` completes "waited in vain for".
[[noreturn]] void GiveUp(absl::string_view what);
void AwaitOrGiveUp(const absl::Notification& n, absl::string_view what);
// Calls `f` in a thread of its own and returns when that has ended.
void DoOrGiveUp(absl::string_view what, absl::FunctionRef<void()> f);

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CONFORMANCE_H_
