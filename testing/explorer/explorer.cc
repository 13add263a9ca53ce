// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/testing/explorer/crash_report.h"
#include "refreshable/testing/schedule_explorer.h"

namespace refreshable_testing {
namespace schedule {

using PendingKind = refreshable::ManualExecutor::PendingStep::Kind;

// A scenario, and what can happen next in it. If actions of different steps
// have the same name, numbers tell them apart.
class Search {
 public:
  explicit Search(const Scenario& scenario) : scenario_(scenario) {
    for (size_t i = 0; i < scenario.steps.size(); ++i) {
      names_.emplace_back();
      for (const auto& action : scenario.steps[i].actions_) {
        int same = 1;
        for (size_t j = 0; j < i; ++j) {
          const auto& others = scenario.steps[j].actions_;
          same += std::any_of(others.begin(), others.end(), [&](const auto& a) {
            return a.name == action.name;
          });
        }
        names_.back().push_back(
            same == 1 ? action.name : absl::StrCat(action.name, " #", same));
      }
    }
  }

  const Scenario& scenario() const { return scenario_; }

  struct Choice {
    enum Kind { kAction, kPending, kLose, kAnswer, kDeadline } kind;
    size_t index;  // The step, the pending task or timer, or the held call.
    size_t which;  // The action of that step, or the answer to that call.
    // For a task or timer: its kind, and its number among its kind, from 1.
    PendingKind pending = PendingKind::kRun;
    int number = 0;
  };

  // Returns what can happen next in `world`, after `done[i]` actions of each
  // step i and `losses` lost tasks or timers.
  std::vector<Choice> Choices(const World& world,
                              const std::vector<size_t>& done,
                              int losses) const;
  std::string Name(const Choice& choice) const;
  // Returns a number that identifies `choice`, for `World::Begin`.
  static int Label(const Choice& choice) {
    return static_cast<int>(1 + choice.kind + 8 * choice.which +
                            1024 * choice.index);
  }
  void Take(const Choice& choice, World& world, std::vector<size_t>& done,
            int& losses) const;

 private:
  const Scenario& scenario_;
  std::vector<std::vector<std::string>> names_;
};

namespace {

using Choice = Search::Choice;

}  // namespace

std::vector<Choice> Search::Choices(const World& world,
                                    const std::vector<size_t>& done,
                                    int losses) const {
  std::vector<Choice> choices;
  for (size_t i = 0; i < scenario_.steps.size(); ++i) {
    const auto& actions = scenario_.steps[i].actions_;
    if (done[i] == actions.size()) continue;
    const auto& ready = actions[done[i]].ready;
    if (ready == nullptr || ready(world)) {
      choices.push_back({Choice::kAction, i, done[i]});
    }
  }
  if (!scenario_.runs_at_once) {
    const auto pending = world.executor().PendingSteps();
    int tasks = 0;
    int timers = 0;
    for (size_t i = 0; i < pending.size(); ++i) {
      const auto kind = pending[i].kind;
      const int number = ++(kind == PendingKind::kRun ? tasks : timers);
      if (pending[i].due == refreshable::BootTime::InfiniteFuture()) continue;
      choices.push_back({Choice::kPending, i, 0, kind, number});
      if (losses < scenario_.losses) {
        choices.push_back({Choice::kLose, i, 0, kind, number});
      }
    }
  }
  for (size_t i = 0; i < world.held_calls(); ++i) {
    for (size_t j = 0; j < scenario_.answers.size(); ++j) {
      choices.push_back({Choice::kAnswer, i, j});
    }
  }
  if (!world.blocked().empty() &&
      world.blocked().back() < refreshable::BootTime::InfiniteFuture() &&
      world.blocked().back() > world.Now().boot) {
    choices.push_back({Choice::kDeadline, 0, 0});
  }
  return choices;
}

std::string Search::Name(const Choice& choice) const {
  if (choice.kind == Choice::kAction) return names_[choice.index][choice.which];
  if (choice.kind == Choice::kDeadline) return "deadline";
  if (choice.kind == Choice::kAnswer) {
    return absl::StrCat(scenario_.answers[choice.which].name, " ",
                        choice.index + 1);
  }
  return absl::StrCat(choice.kind == Choice::kLose ? "lose " : "",
                      choice.pending == PendingKind::kRun ? "task " : "timer ",
                      choice.number);
}

void Search::Take(const Choice& choice, World& world, std::vector<size_t>& done,
                  int& losses) const {
  switch (choice.kind) {
    case Choice::kAction:
      ++done[choice.index];
      scenario_.steps[choice.index].actions_[choice.which].run(world);
      break;
    case Choice::kPending:
      world.RunPending(choice.index);
      break;
    case Choice::kLose:
      ++losses;
      world.LosePending(choice.index);
      break;
    case Choice::kAnswer:
      world.AnswerCall(choice.index, scenario_.answers[choice.which]);
      break;
    case Choice::kDeadline:
      world.Pass(world.blocked().back() - world.Now().boot);
      break;
  }
}

namespace {

class Run {
 public:
  // Returns the index of the next choice, or nullopt to end the schedule.
  using Chooser = std::function<std::optional<size_t>(
      World& world, const std::vector<Choice>& choices)>;
  // Called at the end of a schedule if no check has failed. Returns whether to
  // call `World::CheckRecovers(*reset)`.
  using AtEnd =
      std::function<bool(World& world, std::string fingerprint,
                         const std::vector<Choice>& choices, bool* reset)>;

  Run(const Search& search, CrashReport& crash_report, Chooser choose,
      AtEnd at_end)
      : search_(search),
        crash_report_(crash_report),
        choose_(std::move(choose)),
        at_end_(std::move(at_end)),
        done_(search.scenario().steps.size()),
        world_(search.scenario().policy) {}

  // Returns what is wrong, or an empty string.
  std::string Play() {
    crash_report_.NewSchedule();
    if (search_.scenario().given) search_.scenario().given(world_);
    world_.set_driver([this] { return Next(); });
    while (Next()) {
    }
    return world_.failure();
  }

 private:
  // Takes the next step. At the end of the schedule, checks the world and
  // returns false. Called by `Play`, and by a read that blocks.
  bool Next() {
    if (over_) return false;
    if (search_.scenario().runs_at_once) world_.RunUntilIdle();
    world_.Note();
    const std::vector<Choice> choices = search_.Choices(world_, done_, losses_);
    const std::optional<size_t> next = choose_(world_, choices);
    if (next.has_value()) {
      world_.Begin(search_.Label(choices[*next]));
      crash_report_.Step(search_.Name(choices[*next]));
      search_.Take(choices[*next], world_, done_, losses_);
      return true;
    }
    over_ = true;
    world_.Check();
    if (search_.scenario().check) search_.scenario().check(world_);
    if (!world_.failure().empty()) return false;
    std::string fingerprint = absl::StrCat(
        world_.Fingerprint(), "|", absl::StrJoin(done_, ","), "|", losses_);
    bool reset = false;
    if (at_end_(world_, std::move(fingerprint), choices, &reset)) {
      crash_report_.Recovery();
      world_.CheckRecovers(reset);
    }
    return false;
  }

  const Search& search_;
  CrashReport& crash_report_;
  const Chooser choose_;
  const AtEnd at_end_;
  std::vector<size_t> done_;
  int losses_ = 0;
  bool over_ = false;
  World world_;
};

std::string Show(const Schedule& schedule) {
  if (schedule.empty()) return "{}";
  return absl::StrCat("{\"", absl::StrJoin(schedule, "\", \""), "\"}");
}

// A schedule. Each char is an index into the result of `Search::Choices`.
using Path = std::string;

// Searches all schedules, breadth first, so the first failure has a shortest
// schedule. The *looks* of a state are a hash of what is known of it. States
// with the same looks may be merged. If two such states continue differently,
// their looks are *ambiguous*. The search then starts again, and compares such
// states also by the states that follow.
class Explorer {
 public:
  Explorer(const Scenario& scenario, const ExploreOptions& options)
      : search_(scenario), options_(options), crash_report_(options.timeout) {}

  Report Explore() {
    for (int pass = 0; pass == 0 || (report_.ok() && !newly_ambiguous_.empty());
         ++pass) {
      ambiguous_.merge(newly_ambiguous_);
      newly_ambiguous_.clear();
      known_.clear();
      states_.clear();
      const int64_t runs = report_.runs;
      report_ = {};
      report_.runs = runs;
      merges_ = 0;
      ExploreOnce();
      if (pass == kMostPasses && report_.ok() && !newly_ambiguous_.empty()) {
        report_.failure = "the scenario does not go the same each time";
      }
    }
    report_.states = static_cast<int64_t>(states_.size());
    if (report_.ok()) report_.schedules = CountSchedules();
    return std::move(report_);
  }

 private:
  using Hash = std::pair<size_t, size_t>;
  using Hashes = std::unordered_set<Hash, absl::Hash<Hash>>;
  struct State {
    Hash looks;
    size_t choices;
    Path path;  // The path after which the state was first expanded.
    bool expanded = false;
    std::vector<int> next;
  };
  struct Node {
    Path path;
    int state;
    bool recheck;  // Whether to take only one more step, to check a merge.
  };
  struct Reached {
    Node node;
    bool again;  // Whether the state had been reached before.
  };
  struct End {
    Hash looks{};
    size_t choices = 0;
  };
  static constexpr int kMostPasses = 100;
  // The recovery that `Play` checks, if not kNone (`World::CheckRecovers`). It
  // is with Reset(), unless the way is kSuccessIfNew and the state looks new.
  enum class Way { kNone, kReset, kSuccessIfNew };

  void ExploreOnce();
  Reached Reach(Path path);
  End Play(const Path& path, Way way);
  Hash HashWithSuccessors(const Path& path, const End& end, int depth);
  void Expand(const Node& node, std::vector<Node>& next);
  void MarkAmbiguous(const State& state, const Path& path);
  Schedule NamesOf(const Path& path);
  double CountSchedules() const;

  const Search search_;
  const ExploreOptions options_;
  CrashReport crash_report_;
  Report report_;
  Hashes ambiguous_;        // Looks that different states share.
  Hashes newly_ambiguous_;  // Looks that were found ambiguous in this pass.
  std::unordered_map<Hash, int, absl::Hash<Hash>> known_;
  std::vector<State> states_;
  int64_t merges_ = 0;
};

void Explorer::ExploreOnce() {
  std::vector<Node> layer;
  layer.push_back(Reach(Path()).node);
  for (int depth = 0; depth < options_.depth; ++depth) {
    std::vector<Node> next;
    for (const Node& node : layer) {
      if (!report_.ok()) return;
      Expand(node, next);
    }
    layer = std::move(next);
  }
}

// Runs `path`, and returns the looks of its last state. If `way` is not kNone,
// checks the recovery that `way` names, and records any failure.
Explorer::End Explorer::Play(const Path& path, Way way) {
  ++report_.runs;
  size_t step = 0;
  End end;
  Run run(
      search_, crash_report_,
      [&](World&, const std::vector<Choice>&) -> std::optional<size_t> {
        if (step == path.size()) return std::nullopt;
        return static_cast<unsigned char>(path[step++]);
      },
      [&](World&, const std::string& fingerprint,
          const std::vector<Choice>& choices, bool* reset) {
        end.choices = choices.size();
        end.looks = Hash(absl::HashOf(fingerprint, end.choices, 1),
                         absl::HashOf(fingerprint, end.choices, 2));
        *reset = way == Way::kReset ||
                 (way == Way::kSuccessIfNew && known_.count(end.looks) > 0);
        return way != Way::kNone;
      });
  std::string failure = run.Play();
  if (way != Way::kNone) report_.failure = std::move(failure);
  return end;
}

// Returns the looks of `end`, the state after `path`. If they are ambiguous,
// mixes in the looks of the states at most `depth` steps ahead.
Explorer::Hash Explorer::HashWithSuccessors(const Path& path, const End& end,
                                            int depth) {
  Hash leads = end.looks;
  if (depth == 0 || ambiguous_.count(end.looks) == 0) return leads;
  for (size_t i = 0; i < end.choices; ++i) {
    const Path longer = path + static_cast<char>(i);
    const Hash next =
        HashWithSuccessors(longer, Play(longer, Way::kNone), depth - 1);
    leads = Hash(absl::HashOf(leads, next, 1), absl::HashOf(leads, next, 2));
  }
  return leads;
}

Explorer::Reached Explorer::Reach(Path path) {
  End end = Play(path, Way::kSuccessIfNew);
  Reached reached{{std::move(path), -1, false}, false};
  const Path& way = reached.node.path;
  if (report_.ok() && ambiguous_.count(end.looks) > 0) Play(way, Way::kReset);
  if (!report_.ok()) {
    report_.schedule = NamesOf(way);
    return reached;
  }
  if (end.choices > 255) {
    report_.failure = "more than 255 steps can happen next";
    report_.schedule = NamesOf(way);
    return reached;
  }
  const auto [it, inserted] =
      known_.emplace(HashWithSuccessors(way, end, options_.depth),
                     static_cast<int>(states_.size()));
  if (inserted) states_.push_back({end.looks, end.choices, {}, false, {}});
  reached.node.state = it->second;
  reached.again = !inserted;
  return reached;
}

void Explorer::Expand(const Node& node, std::vector<Node>& next) {
  std::vector<int> children;
  const size_t choices = states_[node.state].choices;
  for (size_t i = 0; i < choices; ++i) {
    Reached reached = Reach(node.path + static_cast<char>(i));
    if (!report_.ok()) return;
    children.push_back(reached.node.state);
    if (node.recheck && options_.merge) continue;
    if (!reached.again || !options_.merge) {
      next.push_back(std::move(reached.node));
    } else if (options_.recheck > 0 && ++merges_ % options_.recheck == 0) {
      reached.node.recheck = true;
      next.push_back(std::move(reached.node));
    }
  }
  State& state = states_[node.state];
  if (!state.expanded) {
    state.expanded = true;
    state.path = node.path;
    state.next = std::move(children);
    return;
  }
  ++report_.rechecked;
  if (state.next != children) MarkAmbiguous(state, node.path);
}

void Explorer::MarkAmbiguous(const State& state, const Path& path) {
  newly_ambiguous_.insert(state.looks);
  if (ambiguous_.count(state.looks) == 0) return;
  report_.schedule = NamesOf(path);
  report_.failure = absl::StrCat(
      "the explorer takes for the same (or the scenario does not go the same "
      "each time) what does not go on the same after ",
      Show(NamesOf(state.path)));
}

Schedule Explorer::NamesOf(const Path& path) {
  Schedule names;
  schedule::Run(
      search_, crash_report_,
      [&](World&, const std::vector<Choice>& choices) -> std::optional<size_t> {
        if (names.size() == path.size()) return std::nullopt;
        const size_t index = static_cast<unsigned char>(path[names.size()]);
        names.push_back(search_.Name(choices[index]));
        return index;
      },
      [](auto&&...) { return false; })
      .Play();
  return names;
}

double Explorer::CountSchedules() const {
  std::vector<double> schedules(states_.size(), 1);
  for (int depth = 0; depth < options_.depth; ++depth) {
    std::vector<double> longer(states_.size(), 1);
    for (size_t i = 0; i < states_.size(); ++i) {
      if (states_[i].next.empty()) continue;
      longer[i] = 0;
      for (const int child : states_[i].next) longer[i] += schedules[child];
    }
    schedules = std::move(longer);
  }
  return schedules.front();
}

}  // namespace

Report Explore(const Scenario& scenario, const ExploreOptions& options) {
  return Explorer(scenario, options).Explore();
}

std::string Replay(const Scenario& scenario, const Schedule& schedule) {
  const Search search(scenario);
  CrashReport crash_report(absl::InfiniteDuration());
  for (const bool reset : {false, true}) {
    size_t step = 0;
    std::string wrong;
    std::string failure =
        Run(
            search, crash_report,
            [&](World&,
                const std::vector<Choice>& choices) -> std::optional<size_t> {
              if (step == schedule.size() || !wrong.empty())
                return std::nullopt;
              for (size_t i = 0; i < choices.size(); ++i) {
                if (search.Name(choices[i]) != schedule[step]) continue;
                ++step;
                return i;
              }
              wrong = absl::StrCat("step ", step + 1,
                                   " cannot happen: ", schedule[step]);
              return std::nullopt;
            },
            [&](World&, const std::string&, const std::vector<Choice>&,
                bool* with_reset) {
              *with_reset = reset;
              return wrong.empty();
            })
            .Play();
    if (!failure.empty()) return failure;
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::ostream& operator<<(std::ostream& os, const Report& report) {
  os << absl::StrCat(static_cast<int64_t>(report.schedules), " schedules, ",
                     report.runs, " runs, ", report.states, " states, ",
                     report.rechecked, " rechecked");
  if (report.ok()) return os;
  return os << "\n  " << report.failure << "\n  after "
            << Show(report.schedule);
}

}  // namespace schedule
}  // namespace refreshable_testing
