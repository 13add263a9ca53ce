// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/explorer/scenarios_test_util.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/policy.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable {
namespace {

using namespace refreshable_testing::schedule;  // NOLINT: its vocabulary.

absl::Duration S(double seconds) { return absl::Seconds(seconds); }

// Returns a function that publishes a token and lets `since` pass. The token is
// stale after 200 s, unusable after 360 s and expired after 400 s.
std::function<void(World&)> Held(absl::Duration since) {
  return [=](World& world) {
    world.Hold(S(400));
    world.AdvanceBy(since);
  };
}

void FirstRead(World& world) {
  world.ReadAsync();
  world.RunUntilIdle();
}

// Starts a background attempt for a stale token.
void StaleAttempt(World& world) {
  Held(S(210))(world);
  world.ReadAsync();
  world.RunUntilIdle();
}

// Returns a function that publishes a token, lets `since` pass and starts the
// attempt of a rejecting read.
std::function<void(World&)> RejectedAttempt(absl::Duration since) {
  return [=](World& world) {
    Held(since)(world);
    world.ReadAsync(absl::InfiniteDuration(), std::nullopt, Rejects::kLast);
    world.RunUntilIdle();
  };
}

RefreshPolicy Exhausts(OnExhausted on_exhausted) {
  RefreshPolicy policy;
  policy.retry.max_retries = 1;
  policy.retry.max_consecutive_failures = 2;
  policy.retry.on_exhausted = on_exhausted;
  return policy;
}

// In the scenarios with this policy, the backoffs are longer than each `Pass`.
// So the explorer notices an attempt that starts after a `Pass`, but too early.
RefreshPolicy WaitsLong() {
  RefreshPolicy policy;
  policy.retry.initial_backoff = policy.retry.max_backoff = S(300);
  policy.retry.probe_interval = S(300);
  return policy;
}

std::vector<NamedScenario> Make() {
  std::vector<NamedScenario> all;
  const auto add = [&](std::string name) -> Scenario& {
    all.push_back({std::move(name), {}});
    return all.back().scenario;
  };
  // Scenarios of rejecting reads have many steps to choose from, so they are
  // explored to a smaller depth.
  const auto add_rejected = [&](std::string name) -> Scenario& {
    Scenario& scenario = add(std::move(name));
    all.back().depth = 4;
    return scenario;
  };

  Scenario& first = add("F1FirstReads");
  first.steps = {ReadAsync().Times(2), ReadAsync(S(5)), ReadNow(),
                 CancelRead(0)};

  Scenario& stale = add("R2StaleReads");
  stale.given = Held(S(210));
  stale.steps = {ReadAsync().Times(2), ReadNow(), Pass(S(150))};

  Scenario& edge = add("R4TheVeryEdges");
  edge.given = Held(S(199));
  edge.steps = {Pass(S(1)).Then(Pass(S(160))), ReadNow().Times(2),
                ReadAsync(S(1))};

  Scenario& clocks = add("R6TwoClocks");
  clocks.given = Held(S(100));
  clocks.steps = {StepWall(-absl::Hours(2)).Then(StepWall(absl::Hours(3))),
                  Pass(S(260)), ReadNow().Times(2), ReadAsync()};

  Scenario& overtaken = add("R6TimersOvertakenByCallbacks");
  overtaken.given = FirstRead;
  overtaken.steps = {Install(), StepWall(-absl::Hours(2)),
                     Pass(S(200)).Then(Pass(S(160))), ReadNow()};
  overtaken.answers = {Fail(absl::PermissionDeniedError("no"))};

  Scenario& waits = add("R7DeadlinesOfBlockingReads");
  waits.steps = {ReadBlocking(S(3)), ReadBlocking(), ReadAsync(S(1)),
                 Install()};

  Scenario& inside = add("R9AnswersInsideFetch");
  inside.given = Held(S(210));
  inside.steps = {AnswerInside(Succeed()), AnswerInside(Fail()), ReadAsync(),
                  Invalidate(), Destroy()};
  inside.answers = {Fail()};

  Scenario& cancels = add("R8Cancel");
  cancels.given = Held(S(360));
  cancels.steps = {ReadAsync().Times(2), CancelRead(1), CancelRead(2),
                   ReadAsync(S(2)), Invalidate()};

  Scenario& timeout = add("F6AttemptsThatTimeOut");
  timeout.policy.max_abandoned_calls = 1;
  timeout.given = FirstRead;
  timeout.steps = {ReadAsync(S(31)), Pass(S(30)), Invalidate()};

  Scenario& late = add("F2LateAnswersOnceATimerWasLost");
  late.given = [](World& world) {
    FirstRead(world);
    world.TakeTimers(false);
    world.TakeTimers(true);
    world.AdvanceBy(S(30));  // The attempt has timed out; a retry follows.
  };
  late.steps = {ReadAsync(), Pass(S(2))};

  Scenario& hung = add("F6CallsThatNeverReturn");
  hung.policy.max_abandoned_calls = 1;
  hung.given = [](World& world) {
    FirstRead(world);
    world.AdvanceBy(S(32));  // The call has hung, and no second call was made.
  };
  hung.steps = {Pass(S(60)), ReadAsync(), Reset()};

  Scenario& ahead = add("F7RefreshAhead");
  ahead.policy.refresh_ahead = true;
  ahead.given = Held(S(150));
  ahead.steps = {Pass(S(50)), Invalidate(), ReadAsync(), Reset()};

  Scenario& install = add("F9InstallBesideAnAttempt");
  install.given = StaleAttempt;
  install.steps = {Install(), Invalidate(), ReadAsync(), InvalidateOld()};

  Scenario& backoff = add("B1Backoff");
  backoff.given = FirstRead;
  backoff.steps = {ReadAsync(S(3)), Reset(), Pass(S(1.5))};
  backoff.answers = {Fail(), FailFor(S(90)),
                     Fail(absl::PermissionDeniedError("no"))};

  Scenario& wishes = add("B2WhatAServerAskedFor");
  wishes.policy = Exhausts(OnExhausted::kSelfHeal);
  wishes.policy.retry.max_retry_after = S(1.5);
  wishes.given = FirstRead;
  wishes.steps = {ReadAsync(), Pass(S(2))};
  wishes.answers = {FailFor(S(1)), FailFor(S(90))};

  Scenario& cooldown = add("B3Cooldown");
  cooldown.given = StaleAttempt;
  cooldown.steps = {ReadAsync(), ReadNow(), Pass(S(60)), Reset()};

  Scenario& budgets = add("B5BudgetsOfReads");
  budgets.given = Held(S(400));
  budgets.steps = {ReadAsync(absl::InfiniteDuration(), 0),
                   ReadAsync(absl::InfiniteDuration(), 1), ReadAsync(),
                   Pass(S(2)).Times(2)};

  Scenario& heals = add("B7SelfHeal");
  heals.policy = Exhausts(OnExhausted::kSelfHeal);
  heals.given = FirstRead;
  heals.steps = {ReadAsync(), Pass(S(60)), Invalidate()};

  Scenario& fatal = add("B7Fatal");
  fatal.policy = Exhausts(OnExhausted::kFatal);
  fatal.given = StaleAttempt;
  fatal.steps = {ReadAsync(), Pass(S(150)), Reset(), Install(S(100))};

  Scenario& between = add("B8ResetBetweenAttempts");
  between.policy.retry.max_retries = 0;
  between.steps = {ReadAsync(absl::InfiniteDuration(), 2), ReadAsync().Times(2),
                   Reset(), Pass(S(2))};

  Scenario& degraded = add("B10Degraded");
  degraded.policy.max_stale_on_error = S(60);
  degraded.given = Held(S(370));
  degraded.steps = {ReadAsync(), ReadNow().Times(2), Pass(S(50)).Times(2),
                    Invalidate()};

  Scenario& rejected = add("A2InvalidatedBesideAnAttempt");
  rejected.given = StaleAttempt;
  rejected.steps = {Invalidate().Times(2), ReadAsync(), ReadNow(),
                    InvalidateOld()};
  rejected.answers = {Succeed(), Fail(), BringInvalidated()};

  Scenario& young = add("A5InvalidatedYoung");
  young.given = Held(S(5));
  young.steps = {Invalidate().Times(2), ReadAsync().Times(2), Pass(S(2)),
                 Reset()};

  Scenario& generations = add_rejected("A7WhatAReadRejects");
  // Without background refreshes, rejecting reads still start attempts (A9).
  generations.policy.background_refresh = false;
  generations.given = [](World& world) {
    Held(S(5))(world);
    world.Install(S(400));
  };
  generations.steps = {RejectAsync(), RejectAsync(Rejects::kOld),
                       RejectAsync(Rejects::kNext), ReadNow()};

  Scenario& old = add_rejected("A7DegradedTokensAreRejected");
  old.policy.max_stale_on_error = S(60);
  old.given = [](World& world) {
    Held(S(370))(world);
    world.ReadAsync();
    world.RunUntilIdle();
    world.AnswerCall(0, Fail());
    world.RunUntilIdle();
  };
  old.steps = {RejectAsync(), RejectBlocking(S(3)), ReadNow()};

  Scenario& beside = add_rejected("A8RejectingReadsBesideAnAttempt");
  beside.given = StaleAttempt;
  beside.steps = {RejectAsync(), RejectBlocking(S(3)), ReadAsync(),
                  Pass(S(150))};
  beside.answers = {Succeed(), Fail(), BringSame()};

  Scenario& before = add_rejected("A8RejectingReadsBeforeAnAttempt");
  before.given = Held(S(210));
  before.steps = {ReadAsync(), RejectAsync(), Invalidate()};
  before.answers = {Succeed(), BringSame()};

  Scenario& permission = add_rejected("A9PermissionOfRejectingReads");
  permission.given = [](World& world) {
    StaleAttempt(world);
    world.AnswerCall(0, Fail());
    world.RunUntilIdle();  // The cooldown has begun.
  };
  permission.steps = {RejectAsync(), RejectBlocking(), Pass(S(2)), Reset()};

  Scenario& counts = add_rejected("A10FailuresOfRejectingReads");
  counts.given = RejectedAttempt(S(350));
  counts.steps = {ReadAsync(), RejectAsync(), Pass(S(10))};
  counts.answers = {Fail(), FailFor(S(20)), Succeed()};

  Scenario& same = add_rejected("A11TheSameTokenAgain");
  same.given = RejectedAttempt(S(195));
  same.steps = {RejectAsync(), ReadAsync(), Pass(S(10)), Invalidate()};
  same.answers = {BringSame(), BringSame(S(30))};

  Scenario& reports = add_rejected("A12Reports");
  reports.given = Held(S(199));
  reports.steps = {ReportRejected(), RejectAsync(), ReadAsync(), Pass(S(1))};

  Scenario& row = add_rejected("A13TheRow");
  row.policy = WaitsLong();
  row.given = [](World& world) {
    RejectedAttempt(S(5))(world);
    world.AnswerCall(0, Succeed());
    world.RunUntilIdle();
  };
  row.steps = {RejectAsync().Times(2), Pass(S(200)), Pass(S(100)), Reset(),
               Install()};

  Scenario& longer = add_rejected("A13LongerAndLonger");
  longer.given = [](World& world) {
    RejectedAttempt(S(5))(world);
    for (int i = 0; i < 2; ++i) {
      world.AnswerCall(0, Fail());
      world.AdvanceBy(S(2));
      world.ReadAsync(absl::InfiniteDuration(), std::nullopt, Rejects::kLast);
      world.RunUntilIdle();
    }
  };
  longer.steps = {Pass(S(2)), RejectAsync(), RejectAsync()};
  longer.answers = {Fail()};

  Scenario& lost_row = add_rejected("A13AttemptsThatAreLost");
  lost_row.policy = WaitsLong();
  lost_row.given = Held(S(5));
  lost_row.steps = {RejectAsync().Times(2)};
  lost_row.losses = 1;

  Scenario& destroy = add("E1Destroy");
  destroy.given = FirstRead;
  destroy.steps = {ReadAsync(S(5)), ReadBlocking(), CancelRead(0), Destroy()};

  Scenario& lost = add("E2LostTasks");
  lost.given = Held(S(210));
  lost.steps = {ReadAsync().Times(2), RefuseTasks(), Pass(S(150))};
  lost.losses = 1;

  Scenario& timers = add("E2RefusedTimers");
  timers.given = FirstRead;
  timers.steps = {ReadAsync(S(5)), RefuseTimers(), Pass(S(2))};

  Scenario& dropped = add("E3DroppedCalls");
  dropped.given = Held(S(400));
  dropped.steps = {ReadAsync().Times(2), Install(), Invalidate(), Destroy()};
  dropped.answers = {Succeed(), Drop(), Succeed(-S(1))};

  return all;
}

}  // namespace

const std::vector<NamedScenario>& Scenarios() {
  static const auto* const all = new std::vector<NamedScenario>(Make());
  return *all;
}

}  // namespace refreshable
