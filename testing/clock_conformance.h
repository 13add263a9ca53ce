// SPDX-License-Identifier: Apache-2.0
//
// ClockConformanceTest: tests your own Clock, clause by clause.

#ifndef REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_
#define REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_

#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {

// A rig provides a clock for the suite, and moves it if that is possible.
// Several threads may call `clock()` at the same time, even during `Advance`.
// Only the thread that made the rig calls the other methods.
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

  // Returns the clock. It must be the same each time, and live as long as the
  // rig.
  virtual const refreshable::Clock& clock() = 0;

  // Moves the wall time and the boot time of a virtual clock forward by `d`,
  // and returns true. The default returns false, which suits a clock that moves
  // by itself.
  virtual bool Advance(absl::Duration) { return false; }

  // Moves only the wall time by `d`, forward or back, and returns true. The
  // default returns false, which suits a clock whose wall time cannot be set.
  // The clauses about steps then do not apply.
  virtual bool StepWall(absl::Duration) { return false; }

  // Returns the executor to which this clock belongs. If this is null, as by
  // default, the clause about the executor's tasks does not apply.
  virtual refreshable::Executor* executor() { return nullptr; }
};

using ClockSubject = Subject<ClockRig>;

// The suite. Each test in clock_conformance.cc is a clause, named after what it
// demands. While the suite runs, only `StepWall` may step the wall time.
class ClockConformanceTest : public ::testing::TestWithParam<ClockSubject> {
 protected:
  refreshable::Instant Now() { return rig_->clock().Now(); }
  // Moves the clock by `d` if the rig can do so. Otherwise waits until both
  // times have moved, however little.
  void LetTimePass(absl::Duration d);
  // Reads a moment from `Now()`, and then asks the coarse clock about it. Fails
  // the test if the coarse clock is certain that the moment has not come yet.
  void ExpectNotAhead(const refreshable::CoarseWallClock& wall);
  void ExpectNotAhead(const refreshable::CoarseBootClock& boot);

  const std::unique_ptr<ClockRig> rig_ = GetParam().make();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_CLOCK_CONFORMANCE_H_
