// SPDX-License-Identifier: Apache-2.0
//
// Runs ClockConformanceTest on the library's own clocks and on the simplest
// clock that a user can write.

#include "refreshable/testing/clock_conformance.h"

#include <chrono>
#include <memory>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BootTime;
using ::refreshable::Clock;
using ::refreshable::Executor;
using ::refreshable::Instant;
using ::refreshable::ManualExecutor;
using ::refreshable::SystemClock;
using ::refreshable::ThreadExecutor;

class SystemRig final : public ClockRig {
 public:
  const Clock& clock() override { return SystemClock::Get(); }
};

class ManualRig final : public ClockRig {
 public:
  const Clock& clock() override { return executor_.clock(); }
  bool Advance(absl::Duration d) override {
    executor_.AdvanceBy(d);
    return true;
  }
  bool StepWall(absl::Duration d) override {
    executor_.StepWall(d);
    return true;
  }
  Executor* executor() override { return &executor_; }

 private:
  ManualExecutor executor_;
};

class ThreadRig final : public ClockRig {
 public:
  const Clock& clock() override { return executor_.clock(); }
  Executor* executor() override { return &executor_; }

 private:
  ThreadExecutor executor_;
};

// The simplest clock that a user can write.
class PlainClock final : public Clock {
 public:
  Instant Now() const override {
    return {
        absl::FromChrono(std::chrono::system_clock::now()),
        BootTime() + absl::FromChrono(
                         std::chrono::steady_clock::now().time_since_epoch())};
  }
};

class PlainRig final : public ClockRig {
 public:
  const Clock& clock() override { return clock_; }

 private:
  PlainClock clock_;
};

template <typename Rig>
std::unique_ptr<ClockRig> Make() {
  return std::make_unique<Rig>();
}

INSTANTIATE_TEST_SUITE_P(
    T3, ClockConformanceTest,
    ::testing::Values(ClockSubject{"System", Make<SystemRig>},
                      ClockSubject{"Manual", Make<ManualRig>},
                      ClockSubject{"Thread", Make<ThreadRig>},
                      ClockSubject{"Plain", Make<PlainRig>}),
    SubjectName());

}  // namespace
}  // namespace refreshable_testing
