// SPDX-License-Identifier: Apache-2.0
//
// The schedule explorer: runs every order in which the steps of a scenario can
// happen, and checks the promises of docs/contract.md after each step.

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
#include "refreshable/policy.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {

// Something that happens once, at any time, or several such things that happen
// one after the other. A value.
class Step {
 public:
  // `run` acts on the world; `name` is what it is called in an order.
  Step(std::string name, std::function<void(World&)> run);

  // Only while `ready`: asked of the first thing, before it has happened.
  Step When(std::function<bool(const World&)> ready) &&;
  // At any time after this one.
  Step Then(Step next) &&;
  // This one, so often.
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

// What can happen. All but the last three wait until a Refreshable is there.
Step ReadAsync(absl::Duration timeout = absl::InfiniteDuration(),
               std::optional<int> max_retries = std::nullopt);
Step ReadBlocking(absl::Duration timeout = absl::InfiniteDuration());
Step ReadNow();
// Rejected reads: of the token last published, if not said otherwise.
Step RejectAsync(Rejects rejects = Rejects::kLast,
                 absl::Duration timeout = absl::InfiniteDuration());
Step RejectBlocking(absl::Duration timeout = absl::InfiniteDuration(),
                    Rejects rejects = Rejects::kLast);
Step ReportRejected();
Step CancelRead(size_t index);  // The index-th GetAsync, from 0, once made.
Step Invalidate();
Step InvalidateOld();
Step Install(absl::Duration lifetime = absl::Seconds(400));
Step Reset();
Step Destroy();
// The executor refuses what it is given (and later takes it again).
Step RefuseTasks();
Step RefuseTimers();
// The source gives this answer before its Fetch returns (and later does so no
// more).
Step AnswerInside(const Answer& answer);
// Time passes on both clocks, as in a suspend: what falls due is late. On the
// wall clock alone, forward or back.
Step Pass(absl::Duration d);
Step StepWall(absl::Duration d);
Step Do(std::string name, std::function<void(World&)> run);

// What else than `Succeed()` the source can answer: a failure, the token that
// was withdrawn, the one that is held, nothing at all (the call is dropped).
Answer Fail(const absl::Status& status = absl::UnavailableError("down"));
Answer FailFor(absl::Duration retry_after);
Answer BringRejected();
Answer BringSame(absl::Duration lifetime = absl::Seconds(400));
Answer Drop();

// What there is to explore. Besides the steps, at any time: any pending task
// or timer of the executor runs, even before others that are due and before
// its time (time then moves there); any call of the source gets any of the
// answers; and the deadline of the blocking read that waits comes.
struct Scenario {
  // Valid; without jitter, whatever it says.
  refreshable::RefreshPolicy policy;
  // What has happened before, in the executor's own order. May be null.
  std::function<void(World&)> given;
  std::vector<Step> steps;
  std::vector<Answer> answers = {Succeed(), Fail()};
  // So many times a pending task or timer is lost instead of being run.
  int losses = 0;
  // The executor is idle before each step: tasks and due timers run at once,
  // in its own order, and are no steps.
  bool runs_at_once = false;
  // Checked after each step, besides. May be null; complains by
  // `World::Expect`.
  std::function<void(World&)> check;
};

struct ExploreOptions {
  // Steps in an order; >= 0.
  int depth = 8;
  // Whether what follows a state is run once only, however often that state is
  // reached. If not, each order is run: for small depths.
  bool merge = true;
  // Of so many merges one is run on for a step nonetheless, to see whether it
  // goes where the state merged into went. 0: none.
  int recheck = 1;
  // An order that takes longer hangs, and ends the program (by SIGALRM); most
  // take less than a millisecond. In whole seconds; infinite: none does.
  absl::Duration patience = absl::Seconds(60);
};

// The names of the steps, in the order in which they happen.
using Order = std::vector<std::string>;

struct Report {
  // What is wrong; empty: nothing. And the order that shows it, of which no
  // shorter one exists.
  std::string failure;
  Order order;

  // Orders that end after `depth` steps, or where nothing more can happen;
  // those that began like an order with a failure are not among them.
  double orders = 0;
  // What was run for that, each from scratch, in all passes.
  int64_t runs = 0;
  // States told apart, the first among them.
  int64_t states = 0;
  int64_t rechecked = 0;

  bool ok() const { return failure.empty(); }
};

// One line of figures; if something failed, what, and the order, as C++.
std::ostream& operator<<(std::ostream& os, const Report& report);

// Runs the scenario in every order, up to options.depth steps, until one fails:
//
//   schedule::Scenario scenario;
//   scenario.given = [](World& world) { world.Hold(); };
//   scenario.steps = {schedule::ReadAsync().Times(2), schedule::Invalidate(),
//                     schedule::Pass(absl::Seconds(210)), schedule::Destroy()};
//   const schedule::Report report = schedule::Explore(scenario);
//   EXPECT_TRUE(report.ok()) << report;
//
// After each step, see `World::Check` and ScheduleReferee: no expired and no
// withdrawn token is handed out, generations rise, one attempt at a time, none
// too early, a discarded answer changes nothing, each read ends once; rejected
// reads take nothing from anybody else, and never wait for permission. And from
// each state there is a way out (`World::CheckWayOut`): by success when a state
// is reached for the first time, by Reset() and success when it is reached
// again, or by both.
//
// If the program is aborted meanwhile, or hangs, because user code was called
// under a lock perhaps, the order that it was in is written to stderr.
//
// An order is run from scratch, in a `World` of its own, so all that it depends
// on must come from the world: what a step captures is shared by all orders.
//
// States are told apart by `World::Fingerprint`: the steps that are left; both
// clocks; the executor's queue; the calls held, and what is known of each; who
// waits, and until when; health(); and the referee's account of the token, the
// failures and the permitted starts. Where two that agree in all of it turn out
// to go on differently (`recheck`), all states that look like them are told
// apart by where they lead, and the exploration begins anew.
Report Explore(const Scenario& scenario, const ExploreOptions& options = {});

// Runs one order, checking after each step, and where it ends, both ways out.
// Returns what is wrong, or nothing. A step that cannot happen is wrong too.
std::string Replay(const Scenario& scenario, const Order& order);

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_EXPLORER_H_
