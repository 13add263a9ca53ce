// SPDX-License-Identifier: Apache-2.0
//
// Explores random scenarios, which are drawn from a seed. Runs every schedule
// (order of the steps) of up to `depth` steps.
//
// To explore more, pass for example
// `--config=deep --test_arg=--scenarios=1000 --test_arg=--seed=7
// --test_arg=--depth=6`. A failed test prints the arguments that run the
// scenario again.

#include <cstdint>
#include <functional>
#include <iostream>
#include <random>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/policy.h"
#include "refreshable/testing/schedule_explorer.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable {
namespace {

using namespace refreshable_testing::schedule;  // NOLINT: its vocabulary.

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
int scenarios = 4;  // Sanitizers make a scenario ten times slower.
#else
int scenarios = 20;
#endif
int seed = 1;
int depth = 4;

absl::Duration S(double seconds) { return absl::Seconds(seconds); }

// A generator of random scenarios with the seed `by`.
class Draw {
 public:
  explicit Draw(int by) : random_(static_cast<uint64_t>(by)) {}

  Scenario Any() {
    Scenario scenario;
    scenario.policy = Policy();
    scenario.given = Given();
    for (int n = 3 + OneOf(3); n > 0; --n) scenario.steps.push_back(AnyStep());
    scenario.answers = {Succeed(), Fail()};
    switch (OneOf(10)) {
      case 0:
        scenario.answers.push_back(Fail(absl::PermissionDeniedError("no")));
        break;
      case 1:
        scenario.answers.push_back(FailFor(S(20)));
        break;
      case 2:
        scenario.answers.push_back(BringInvalidated());
        break;
      case 3:
        scenario.answers.push_back(Drop());
        break;
      case 4:
        scenario.answers.push_back(Succeed(-S(1)));
        break;
      case 5:
        scenario.answers.front() = Succeed(S(3));
        break;
      case 6:
        scenario.answers.push_back(BringSame());
        break;
      case 7:
        scenario.answers.push_back(FailFor(S(1)));
        break;
      default:
        break;
    }
    if (Sometimes(2)) return scenario;
    if (Sometimes(2)) scenario.losses = 1;
    if (Sometimes(3)) scenario.steps.push_back(RefuseTasks());
    if (Sometimes(3)) scenario.steps.push_back(RefuseTimers());
    return scenario;
  }

 private:
  // Returns a number from 0 to n - 1.
  int OneOf(int n) {
    return static_cast<int>(random_() % static_cast<uint64_t>(n));
  }
  // Returns true with a probability of 1 in `of`.
  bool Sometimes(int of) { return OneOf(of) == 0; }

  RefreshPolicy Policy() {
    RefreshPolicy policy;
    RetryPolicy& retry = policy.retry;
    if (!Sometimes(4)) retry.max_retries = OneOf(3);
    if (Sometimes(2)) {
      retry.max_consecutive_failures = retry.max_retries + 1 + OneOf(2);
    }
    if (Sometimes(3)) retry.on_exhausted = OnExhausted::kFatal;
    if (Sometimes(3)) policy.min_interval = S(0);
    if (Sometimes(3)) policy.max_stale_on_error = S(60);
    if (Sometimes(4)) policy.max_abandoned_calls = 1;
    if (Sometimes(4)) policy.background_cooldown = S(0);
    if (Sometimes(4)) policy.max_rejection_backoff = S(600);
    if (Sometimes(3)) {
      policy.refresh_ahead = true;
    } else if (Sometimes(4)) {
      policy.background_refresh = false;
    }
    return policy;
  }

  std::function<void(World&)> Given() {
    switch (OneOf(5)) {
      case 0:
        return nullptr;
      case 1:
        return [](World& world) {
          world.ReadAsync();
          world.RunUntilIdle();
        };
      default: {
        const double age = std::vector<double>{5, 210, 370}[OneOf(3)];
        return [age](World& world) {
          world.Hold(S(400));
          world.AdvanceBy(S(age));
        };
      }
    }
  }

  Step AnyStep() {
    switch (OneOf(26)) {
      case 0:
        return ReadAsync();
      case 1:
        return ReadAsync().Times(2);
      case 2:
        return ReadAsync(S(5));
      case 3:
        return ReadAsync(absl::InfiniteDuration(), 0);
      case 4:
        return ReadAsync(absl::InfiniteDuration(), 3);
      case 5:
        return ReadBlocking();
      case 6:
        return ReadBlocking(S(3));
      case 7:
        return ReadNow().Times(2);
      case 8:
        return CancelRead(0);
      case 9:
        return CancelRead(1);
      case 10:
        return Invalidate().Times(2);
      case 11:
        return Install();
      case 12:
        return Reset();
      case 13:
        return Destroy();
      case 14:
        return Pass(S(2)).Times(2);
      case 15:
        return Pass(S(31));
      case 16:
        return Pass(S(200));
      case 17:
        return StepWall(-absl::Hours(1));
      case 18:
        return StepWall(S(200));
      case 19:
      case 20:
        return RejectAsync().Times(2);
      case 21:
        return RejectAsync(Rejects::kOld);
      case 22:
        return RejectAsync(Rejects::kNext);
      case 23:
        return RejectBlocking(S(3));
      case 24:
        return ReportRejected();
      default:
        return AnswerInside(Sometimes(2) ? Succeed() : Fail());
    }
  }

  std::mt19937_64 random_;
};

TEST(ScheduleRandomTest, T4EveryOrderOfScenariosDrawnByASeed) {
  ExploreOptions options;
  options.depth = depth;
  double schedules = 0;
  for (int i = 0; i < scenarios; ++i) {
    const Scenario scenario = Draw(seed + i).Any();
    const Report report = Explore(scenario, options);
    EXPECT_TRUE(report.ok())
        << "--seed=" << seed + i << " --scenarios=1 --depth=" << depth << ", "
        << scenario.policy << "\n"
        << report;
    schedules += report.schedules;
  }
  std::cout << scenarios << " scenarios from seed " << seed << ", " << schedules
            << " schedules" << std::endl;
}

}  // namespace
}  // namespace refreshable

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Deadlock detection is slow, and finds nothing in a program with one thread.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    int* option = nullptr;
    if (absl::ConsumePrefix(&argument, "--depth=")) {
      option = &refreshable::depth;
    } else if (absl::ConsumePrefix(&argument, "--seed=")) {
      option = &refreshable::seed;
    } else if (absl::ConsumePrefix(&argument, "--scenarios=")) {
      option = &refreshable::scenarios;
    }
    if (option == nullptr || !absl::SimpleAtoi(argument, option)) {
      std::cerr << "bad argument: " << argv[i] << std::endl;
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
