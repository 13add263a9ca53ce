// SPDX-License-Identifier: Apache-2.0
//
// ClockConformanceTest: what every Clock must do, clause by clause, to be held
// against your own.

#ifndef REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_
#define REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {

// How the suite makes a clock, and moves it where that can be done. `clock()`
// is called by several threads at the same time, also while the one that made
// the rig is inside `Advance`; everything else by that thread alone.
//
//   class MyRig : public refreshable_testing::ClockRig {
//    public:
//     const refreshable::Clock& clock() override { return clock_; }
//    ...
//   };
//
//   using refreshable_testing::ClockConformanceTest;
//   INSTANTIATE_TEST_SUITE_P(
//       Mine, ClockConformanceTest,
//       testing::Values(refreshable_testing::ClockSubject{
//           "MyClock", [] { return std::make_unique<MyRig>(); }}),
//       refreshable_testing::SubjectName());
class ClockRig {
 public:
  virtual ~ClockRig() = default;

  // The same each time; lives as long as the rig.
  virtual const refreshable::Clock& clock() = 0;

  // For a virtual clock: moves both clocks forward by `d` and returns true. The
  // default is for a clock that moves by itself.
  virtual bool Advance(absl::Duration) { return false; }

  // For a clock whose wall can be set: moves the wall alone by `d`, forward or
  // back, and returns true. Where it is not overridden, the clauses about steps
  // do not apply.
  virtual bool StepWall(absl::Duration) { return false; }

  // The executor whose clock this is; null if there is none, and the clause
  // about its tasks does not apply.
  virtual refreshable::Executor* executor() { return nullptr; }
};

using ClockSubject = Subject<ClockRig>;

// The clauses are in clock_conformance.cc; the name of each says what it
// demands. Of clocks that move by themselves the suite expects that nobody
// steps the wall by a second or more while it runs.
class ClockConformanceTest : public ::testing::TestWithParam<ClockSubject> {
 protected:
  refreshable::Instant Now() { return rig_->clock().Now(); }
  // Moves a virtual clock by `d`; waits until another has moved at all.
  void LetTimePass(absl::Duration d);
  // Expects that `wall`, coarse, is certain of nothing that is not so.
  void ExpectNotAhead(const refreshable::CoarseWallClock& wall);

  const std::unique_ptr<ClockRig> rig_ = GetParam().make();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_
