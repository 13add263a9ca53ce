// SPDX-License-Identifier: Apache-2.0
//
// Explore: runs every schedule in which the steps of a scenario can happen, up
// to a given length, and checks the promises of docs/contract.md after each
// step.

#ifndef REFRESHABLE_TESTING_SCHEDULE_EXPLORER_H_
#define REFRESHABLE_TESTING_SCHEDULE_EXPLORER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/policy.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {

// A step of a scenario: one action or a sequence of actions, each of which
// happens at most once, at any time after the one before it. Copyable and
// movable.
class Step {
 public:
  // Creates a step of one action: `run` acts on the world, and `name` is the
  // action's name in a `Schedule`.
  Step(std::string name, std::function<void(World&)> run);

  // Lets the first action of this step happen only while `ready(world)` is true
  // and the conditions that the action had before hold.
  Step When(std::function<bool(const World&)> ready) &&;
  // Appends the actions of `next`. They happen at any time after those of this
  // step.
  Step Then(Step next) &&;
  // Returns a step in which the actions of this step happen `n` times, one
  // after another. Requires: n >= 1.
  Step Times(int n) &&;

 private:
  friend class Search;
  struct Action {
    std::string name;
    std::function<void(World&)> run;
    std::function<bool(const World&)> ready;
  };
  std::vector<Action> actions_;
};

// The steps that a scenario can have. All that call the Refreshable, except
// `Do`, are possible only while the Refreshable exists.
Step ReadAsync(absl::Duration timeout = absl::InfiniteDuration(),
               std::optional<int> max_retries = std::nullopt);
Step ReadBlocking(absl::Duration timeout = absl::InfiniteDuration());
Step ReadNow();
// RejectAsync and RejectBlocking make a read that rejects a token, by default
// the one published last. ReportRejected rejects the token published last,
// without a read.
Step RejectAsync(Rejects rejects = Rejects::kLast,
                 absl::Duration timeout = absl::InfiniteDuration());
Step RejectBlocking(absl::Duration timeout = absl::InfiniteDuration(),
                    Rejects rejects = Rejects::kLast);
Step ReportRejected();
// Cancels the `index`-th GetAsync, counted from 0. Possible while the
// Refreshable exists, once that GetAsync has been called and until it is
// cancelled.
Step CancelRead(size_t index);
Step Invalidate();
Step InvalidateOld();
Step Install(absl::Duration lifetime = absl::Seconds(400));
Step Reset();
Step Destroy();
// RefuseTasks makes the executor refuse all tasks, and RefuseTimers all timers.
// The second action of each step, at any later time, makes the executor accept
// them again.
Step RefuseTasks();
Step RefuseTimers();
// Makes the source answer every call with `answer` before Fetch returns. The
// second action of the step, at any later time, makes the source hold calls
// again.
Step AnswerInside(const Answer& answer);
// `Pass` moves both clocks, as a suspend does: timers that become due do not
// run meanwhile, and are late. `StepWall` moves the wall clock only, forward or
// back.
Step Pass(absl::Duration d);
Step StepWall(absl::Duration d);
Step Do(std::string name, std::function<void(World&)> run);

// Answers of the source; `Succeed()` is in schedule_world.h. Fail returns an
// answer that is a failure, and FailFor one with a Retry-After.
Answer Fail(const absl::Status& status = absl::UnavailableError("down"));
Answer FailFor(absl::Duration retry_after);
// Returns an answer with the withdrawn token, or with a new token if none was
// withdrawn or another token has replaced it.
Answer BringRejected();
// Returns an answer with the token that the Refreshable holds. If it holds
// none, or may already have released it (R12), the answer is a new token.
Answer BringSame(absl::Duration lifetime = absl::Seconds(400));
// Returns an Answer that drops the call without an answer.
Answer Drop();

// A scenario to explore. Besides its steps, these may happen at any time:
//
// - Unless `runs_at_once` is true: any pending task or timer of the executor
//   runs, even before others that are due. If a timer is not due yet, time
//   moves to its due time first.
// - Any call that the source holds gets any of `answers`.
// - Time moves to the deadline of the blocking read that is waiting (the
//   innermost one).
struct Scenario {
  // Must be valid. `jitter` is ignored; it counts as 0.
  refreshable::RefreshPolicy policy;
  // Prepares the world before the first step. A blocking read in `given` runs
  // tasks and timers in the executor's own order. May be null.
  std::function<void(World&)> given;
  std::vector<Step> steps;
  std::vector<Answer> answers = {Succeed(), Fail()};
  // In each schedule, at most this many pending tasks or timers are lost
  // instead of run. Has no effect if `runs_at_once` is true.
  int losses = 0;
  // If true, all tasks and due timers run before each step and after the last,
  // in the executor's own order, and are not steps themselves.
  bool runs_at_once = false;
  // An additional check after each step, which calls `World::Expect`. May be
  // null.
  std::function<void(World&)> check;
};

struct ExploreOptions {
  // The greatest number of steps in a schedule (`Schedule`); >= 0.
  int depth = 8;
  // If true, a state that is reached again is *merged*: it is not continued,
  // because it was continued the first time. If false, every schedule is run,
  // which is feasible only for small depths.
  bool merge = true;
  // As a check, every `recheck`-th merged state is continued by one step after
  // all, once for each step that can happen next. Each must lead to the same
  // state as it did the first time. 0 turns this check off.
  int recheck = 1;
  // A schedule that takes longer than this is considered hung: its steps are
  // written to stderr, and the program is aborted (by means of SIGALRM). Most
  // schedules take less than a millisecond. The timeout is rounded up to whole
  // seconds. If it is 0, or 24 hours or more, there is no limit.
  absl::Duration timeout = absl::Seconds(60);
};

// The names of what happens, in order: actions of the scenario's steps, tasks,
// timers, answers, deadlines. Each of these is called a step of the schedule.
using Schedule = std::vector<std::string>;

struct Report {
  // What is wrong, or an empty string. If a check has failed, `schedule` is a
  // shortest schedule after which it fails.
  std::string failure;
  Schedule schedule;

  // The number of schedules, each of which ends after `depth` steps or when
  // nothing more can happen. 0 if there was a failure.
  double schedules = 0;
  // The number of runs that the exploration took. Each run begins in a new
  // world.
  int64_t runs = 0;
  // The number of different states, including the first one.
  int64_t states = 0;
  // How often a state that had been reached before was continued again, and
  // compared with the first time.
  int64_t rechecked = 0;

  bool ok() const { return failure.empty(); }
};

// Writes one line with the figures and, if something failed, the failure and
// its schedule as C++ source.
std::ostream& operator<<(std::ostream& os, const Report& report);

// Runs the scenario in every schedule, up to options.depth steps, until one
// fails:
//
//   schedule::Scenario scenario;
//   scenario.given = [](World& world) { world.Hold(); };
//   scenario.steps = {schedule::ReadAsync().Times(2), schedule::Invalidate(),
//                     schedule::Pass(absl::Seconds(210)), schedule::Destroy()};
//   const schedule::Report report = schedule::Explore(scenario);
//   EXPECT_TRUE(report.ok()) << report;
//
// After each step, Explore checks (`World::Check`, `Oracle`):
//
// - No expired and no withdrawn token is handed out. Generations rise.
// - Attempts do not overlap and do not start too early.
// - A discarded answer changes nothing.
// - Each read ends once. A rejecting read (A7) never waits for permission.
// - Refreshing recovers from each state (`World::CheckRecovers`): by a success
//   when the state is reached for the first time, and by Reset() and a success
//   when it is reached again.
//
// If the program is aborted during a schedule, or hangs (perhaps because user
// code was called under a lock), that schedule is written to stderr.
//
// Each schedule runs in a new `World`. Whatever a step captures is shared by
// all schedules, so everything on which a schedule depends must come from the
// world.
//
// States are told apart by the steps that are left and by `World::Fingerprint`:
// both clocks, the executor's queue, the calls that are held and what is known
// of each, the waiting reads and their deadlines, health(), and the oracle's
// record of the token, the failures and the permitted starts. If a recheck
// shows that two states that agree in all of this continue differently, the
// exploration begins anew. States that look like these are then told apart by
// where they lead.
Report Explore(const Scenario& scenario, const ExploreOptions& options = {});

// Runs one schedule, makes the checks of `Explore` after its last step, and
// checks that refreshing recovers from there both without and with Reset().
// Returns what is wrong, or an empty string if nothing is. A step that cannot
// happen is an error too.
std::string Replay(const Scenario& scenario, const Schedule& schedule);

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_EXPLORER_H_
