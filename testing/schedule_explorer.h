// SPDX-License-Identifier: Apache-2.0
//
// Explore: runs every schedule of a scenario's steps, up to a given length, and
// checks the promises of docs/contract.md after each step.

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

// A step of a scenario: a sequence of one or more actions. They happen in this
// sequence, each at most once. Actions of other steps may happen in between.
// Copyable and movable.
class Step {
 public:
  // Creates a step of one action. `name` is the action's name in a `Schedule`.
  Step(std::string name, std::function<void(World&)> run);

  // Lets the first action of this step happen only while `ready(world)` is
  // true. Earlier conditions still apply.
  Step When(std::function<bool(const World&)> ready) &&;
  // Appends the actions of `next` to the actions of this step.
  Step Then(Step next) &&;
  // Returns a step that repeats the whole sequence of this step's actions `n`
  // times. Requires: n >= 1.
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

// The steps that a scenario can have. A step that calls the Refreshable can
// happen only while the Refreshable exists.
Step ReadAsync(absl::Duration timeout = absl::InfiniteDuration(),
               std::optional<int> max_retries = std::nullopt);
Step ReadBlocking(absl::Duration timeout = absl::InfiniteDuration());
Step ReadNow();
// RejectAsync and RejectBlocking make a read that rejects a token, by default
// the token published last. ReportRejected reports that the token published
// last was rejected.
Step RejectAsync(Rejects rejects = Rejects::kLast,
                 absl::Duration timeout = absl::InfiniteDuration());
Step RejectBlocking(absl::Duration timeout = absl::InfiniteDuration(),
                    Rejects rejects = Rejects::kLast);
Step ReportRejected();
// Cancels the `index`-th GetAsync, counted from 0. Can happen only after that
// GetAsync, and only once.
Step CancelRead(size_t index);
Step Invalidate();
Step InvalidateOld();
Step Install(absl::Duration lifetime = absl::Seconds(400));
Step Reset();
Step Destroy();
// RefuseTasks makes the executor refuse all tasks, and RefuseTimers all timers.
// Each of these two steps has a second action, which ends the refusal.
Step RefuseTasks();
Step RefuseTimers();
// Makes the source answer every call with `answer` before Fetch returns. The
// step has a second action: from then on, the source leaves calls unanswered.
Step AnswerInside(const Answer& answer);
// `Pass` moves both clocks, as a suspend does. Timers that become due do not
// run yet, and so are late. `StepWall` moves only the wall clock, forward or
// back.
Step Pass(absl::Duration d);
Step StepWall(absl::Duration d);
// Can happen even if the Refreshable does not exist.
Step Do(std::string name, std::function<void(World&)> run);

// Answers of the source, besides `Succeed()` in schedule_world.h. FailFor
// returns a failure with a Retry-After.
Answer Fail(const absl::Status& status = absl::UnavailableError("down"));
Answer FailFor(absl::Duration retry_after);
// Returns an answer with the token that was invalidated. The token is new if
// none was invalidated or a later token has been published.
Answer BringInvalidated();
// Returns an answer with the token that the Refreshable holds. The token is new
// if the Refreshable holds none or may have released it (R12).
Answer BringSame(absl::Duration lifetime = absl::Seconds(400));
// Returns an Answer that makes the source drop the call.
Answer Drop();

// A scenario to explore. Besides its steps, these may happen at any time:
//
// - Any pending task or timer of the executor runs. If the timer is not due
//   yet, time first moves to its due time.
// - The source gives any of `answers` to any call that it holds.
// - Time moves to the deadline of the blocking read that is waiting. If another
//   blocking read was made during this wait, its deadline counts instead.
struct Scenario {
  // Must be valid. `jitter` counts as 0.
  refreshable::RefreshPolicy policy;
  // Prepares the world before the first step. May be null.
  std::function<void(World&)> given;
  std::vector<Step> steps;
  std::vector<Answer> answers = {Succeed(), Fail()};
  // How many pending tasks and timers may be lost in a schedule. Has no effect
  // if `runs_at_once` is true.
  int losses = 0;
  // If true, tasks and timers are not steps. Instead, all that are due run
  // before each step and after the last step, in the executor's own order.
  bool runs_at_once = false;
  // Makes additional checks (`World::Expect`) after each step. May be null.
  std::function<void(World&)> check;
};

struct ExploreOptions {
  // The greatest number of steps in a schedule; >= 0.
  int depth = 8;
  // If true, a state that is reached again is *merged*: the exploration does
  // not continue from it again. If false, every schedule is run.
  bool merge = true;
  // From every `recheck`-th merged state, each possible step is run once more,
  // to check that it leads to the same state as before. 0 turns this check off.
  int recheck = 1;
  // If a schedule takes longer than this, its steps are written to stderr, and
  // SIGALRM aborts the program. The timeout is rounded up to whole seconds. If
  // it is 0, or 24 hours or more, there is no limit.
  absl::Duration timeout = absl::Seconds(60);
};

// The names of the steps of a schedule, in order. Such a step is an action, an
// answer, a deadline, or a task or timer that runs or is lost.
using Schedule = std::vector<std::string>;

struct Report {
  // What is wrong, or an empty string. If a check has failed, `schedule` is a
  // shortest schedule after which it fails.
  std::string failure;
  Schedule schedule;

  // The number of schedules, 0 after a failure. Each schedule ends after
  // `depth` steps or when nothing more can happen.
  double schedules = 0;
  // The number of runs, each in a new world.
  int64_t runs = 0;
  // The number of different states, including the first one.
  int64_t states = 0;
  // How often the steps after a state were run again, to check that they lead
  // to the same states.
  int64_t rechecked = 0;

  bool ok() const { return failure.empty(); }
};

// Writes the figures. If something failed, also writes what is wrong, and the
// schedule as C++ source.
std::ostream& operator<<(std::ostream& os, const Report& report);

// Runs the scenario in every schedule, up to options.depth steps, until a check
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
// - Each read ends once. A rejecting read (A7) never waits until an attempt is
//   permitted.
// - Refreshing recovers from each state (`World::CheckRecovers`). The first
//   time the state is reached, successful answers of the source must be enough.
//   Every later time, Reset() is called as well.
//
// If the program is aborted or hangs, Explore writes the schedule to stderr.
//
// Each schedule runs in a new `World`. All schedules share what a step
// captures, so the behaviour of a step must depend only on the world.
//
// Two states count as the same if they have the same steps left and the same
// `World::Fingerprint`. A recheck may show that a step leads from two such
// states to different states. The exploration then begins anew. This time, two
// states like these count as the same only if the states that follow them do.
Report Explore(const Scenario& scenario, const ExploreOptions& options = {});

// Runs one schedule, and makes the checks of `Explore` after its last step.
// Also checks that refreshing recovers, both without and with Reset(). Returns
// what is wrong, or an empty string.
std::string Replay(const Scenario& scenario, const Schedule& schedule);

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_EXPLORER_H_
