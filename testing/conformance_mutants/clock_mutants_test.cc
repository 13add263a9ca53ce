// SPDX-License-Identifier: Apache-2.0
//
// Checks that each clause of ClockConformanceTest finds a clock that breaks it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/testing/clock_conformance.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/conformance_mutants/mutant_runner_test_util.h"

namespace refreshable_testing {
namespace {

using ::refreshable::BootTime;
using ::refreshable::Clock;
using ::refreshable::CoarseBootClock;
using ::refreshable::CoarseWallClock;
using ::refreshable::Executor;
using ::refreshable::FloorToUnixNanos;
using ::refreshable::Instant;
using ::refreshable::ManualExecutor;
using ::refreshable::ThreadExecutor;

enum class Fault {
  kNone,
  kInfinite,
  kBootTimeStands,
  kWallStands,
  kWallRunsFast,
  kGoesBack,
  kGoesBackInOtherThreads,
  kTorn,
  kBootTimeIsTheWall,
  kCoarseStands,
  kCoarseStandsAfterSteps,
  kCoarseLags,
  kCoarseBootStands,
  kCoarseBootIsTheWall,
  kAsksATask,
};

// An executor's clock with a fault.
class FaultyClock final : public Clock {
 public:
  FaultyClock(Fault fault, Executor* executor)
      : fault_(fault), executor_(executor), start_(executor->clock().Now()) {
    Set(start_.wall);
  }

  Instant Now() const override {
    Instant now = executor_->clock().Now();
    switch (fault_) {
      case Fault::kInfinite:
        now.boot = BootTime::InfiniteFuture();
        break;
      case Fault::kBootTimeStands:
        now.boot = start_.boot;
        break;
      case Fault::kWallStands:
        now.wall = start_.wall;
        break;
      case Fault::kWallRunsFast:
        now.wall += now.boot - start_.boot;
        break;
      case Fault::kGoesBack:
        if (++reads_ % 50 == 0) now.boot -= absl::Milliseconds(5);
        break;
      case Fault::kGoesBackInOtherThreads: {
        // Each thread reads the time only in every 101st call. So a call may
        // return an earlier time than another thread has already returned.
        thread_local Instant cached;
        thread_local int left = 0;
        if (left-- <= 0) {
          cached = now;
          left = 100;
        }
        now = cached;
        break;
      }
      case Fault::kTorn: {
        // The wall time is that of the previous call of `Now`, on any thread.
        const int64_t wall = last_wall_.exchange(absl::ToUnixNanos(now.wall));
        now.wall = absl::FromUnixNanos(wall);
        break;
      }
      case Fault::kBootTimeIsTheWall:
        now.boot = BootTime() + (now.wall - absl::UnixEpoch());
        break;
      case Fault::kAsksATask: {
        absl::Notification asked;
        executor_->Run([&] { asked.Notify(); });
        asked.WaitForNotification();
        break;
      }
      default:
        break;
    }
    return now;
  }

  CoarseWallClock CoarseWall() const override {
    switch (fault_) {
      case Fault::kCoarseStands:
      case Fault::kCoarseStandsAfterSteps:
      case Fault::kCoarseLags:
        return CoarseWallClock::Exact(&wall_nanos_);
      default:
        return executor_->clock().CoarseWall();
    }
  }

  CoarseBootClock CoarseBoot() const override {
    switch (fault_) {
      case Fault::kCoarseBootStands:
      case Fault::kCoarseBootIsTheWall:
        return CoarseBootClock::Exact(&boot_nanos_);
      default:
        return executor_->clock().CoarseBoot();
    }
  }

  // `Moved` and `Stepped` set the coarse clocks anew, unless the fault makes
  // them stand still.
  void Moved() {
    const absl::Time wall = executor_->clock().Now().wall;
    if (fault_ == Fault::kCoarseLags) {
      Set(wall - absl::Milliseconds(1));
    } else if (fault_ != Fault::kCoarseStands) {
      Set(wall);
    }
  }
  void Stepped() {
    if (fault_ != Fault::kCoarseStandsAfterSteps) Moved();
  }

 private:
  void Set(absl::Time wall) {
    wall_nanos_ = FloorToUnixNanos(wall);
    if (fault_ == Fault::kCoarseBootStands && boot_nanos_ != 0) return;
    boot_nanos_ =
        CoarseBootClock::TicksBefore(start_.boot + (wall - start_.wall));
  }

  const Fault fault_;
  Executor* const executor_;
  const Instant start_;
  std::atomic<int64_t> wall_nanos_{0};
  std::atomic<int64_t> boot_nanos_{0};
  mutable std::atomic<int> reads_{0};
  mutable std::atomic<int64_t> last_wall_{absl::ToUnixNanos(start_.wall)};
};

class FaultyRig final : public ClockRig {
 public:
  FaultyRig(Fault fault, bool threads) {
    if (threads) {
      executor_ = std::make_unique<ThreadExecutor>();
    } else {
      auto manual = std::make_unique<ManualExecutor>();
      manual_ = manual.get();
      executor_ = std::move(manual);
    }
    clock_ = std::make_unique<FaultyClock>(fault, executor_.get());
  }

  const Clock& clock() override { return *clock_; }
  bool Advance(absl::Duration d) override {
    if (manual_ == nullptr) return false;
    manual_->AdvanceBy(d);
    clock_->Moved();
    return true;
  }
  bool StepWall(absl::Duration d) override {
    if (manual_ == nullptr) return false;
    manual_->StepWall(d);
    clock_->Stepped();
    return true;
  }
  Executor* executor() override { return executor_.get(); }

 private:
  std::unique_ptr<Executor> executor_;
  ManualExecutor* manual_ = nullptr;
  std::unique_ptr<FaultyClock> clock_;
};

struct Row {
  Fault fault;
  bool threads;  // A ThreadExecutor's clock if true, else a ManualExecutor's.
  const char* name;
  std::vector<const char*> clauses;  // The clauses that must find the fault.
};

const std::vector<Row>& Rows() {
  static const auto* const rows = new std::vector<Row>{
      {Fault::kInfinite, false, "Infinite", {"BothClocksAreFinite"}},
      {Fault::kBootTimeStands, true, "BootTimeStands", {"BothClocksMoveOn"}},
      {Fault::kWallStands,
       false,
       "WallStands",
       {"BothClocksMoveOn", "BothClocksMoveTogether"}},
      {Fault::kWallRunsFast, false, "WallRunsFast", {"BothClocksMoveTogether"}},
      {Fault::kGoesBack, true, "GoesBack", {"BootTimeNeverDecreases"}},
      {Fault::kGoesBackInOtherThreads,
       true,
       "GoesBackInOtherThreads",
       {"BootTimeNeverDecreasesFromThreadToThread"}},
      {Fault::kTorn, false, "Torn", {"BothClocksAreReadAtOneMoment"}},
      {Fault::kBootTimeIsTheWall,
       false,
       "BootTimeIsTheWall",
       {"AStepOfTheWallLeavesBootTimeAlone"}},
      {Fault::kCoarseStands,
       false,
       "CoarseStands",
       {"CoarseWallIsNeverAhead", "CoarseWallIsNeverAheadInAnotherThread"}},
      {Fault::kCoarseStandsAfterSteps,
       false,
       "CoarseStandsAfterSteps",
       {"CoarseWallFollowsSteps"}},
      {Fault::kCoarseLags, false, "CoarseLags", {"CoarseWallIsNeverAhead"}},
      {Fault::kCoarseBootStands,
       false,
       "CoarseBootStands",
       {"CoarseBootIsNeverAhead", "CoarseBootIsNeverAheadInAnotherThread"}},
      {Fault::kCoarseBootIsTheWall,
       false,
       "CoarseBootIsTheWall",
       {"CoarseBootIgnoresSteps"}},
      {Fault::kAsksATask, false, "AsksATask", {"NowWaitsForNoTask"}},
      {Fault::kNone, false, "SoundManual", {}},
      {Fault::kNone, true, "SoundThread", {}},
  };
  return *rows;
}

std::vector<ClockSubject> Subjects() {
  std::vector<ClockSubject> subjects;
  for (const Row& row : Rows()) {
    subjects.push_back({row.name, [&row] {
                          return std::make_unique<FaultyRig>(row.fault,
                                                             row.threads);
                        }});
  }
  return subjects;
}

INSTANTIATE_TEST_SUITE_P(Faults, ClockConformanceTest,
                         ::testing::ValuesIn(Subjects()), SubjectName());

TEST(ClockSelfTest, T3EachClauseFindsAClockThatBreaksIt) {
  std::vector<Breach> breaches;
  for (const Row& row : Rows()) {
    for (const char* clause : row.clauses) {
      breaches.push_back({row.name, clause});
    }
  }
  ExpectBreachesAreFound("ClockConformanceTest", breaches,
                         {"SoundManual", "SoundThread"});
}

}  // namespace
}  // namespace refreshable_testing

int main(int argc, char** argv) {
  return refreshable_testing::SelfTestMain(argc, argv);
}
