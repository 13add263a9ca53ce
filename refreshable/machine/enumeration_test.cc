// SPDX-License-Identifier: Apache-2.0
//
// This test enumerates the states of the machine. After each of several
// beginnings it applies every sequence of inputs up to a length, the depth.
// CheckedMachine checks each step. States with equal
// ReferenceModel::Fingerprint count as one state.
//
// To save time, some policies have a smaller depth. `--test_arg=--depth=4`
// tests every policy to depth 4.

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <set>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/machine/checked_machine_test_util.h"
#include "refreshable/machine/reference_model_test_util.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {

int depth = 0;  // If positive, it replaces the depth of each policy.

namespace {

using Input = MachineInput;

constexpr Ms kSecond = 1000;
absl::Duration S(int64_t n) { return absl::Seconds(n); }
constexpr int kTransient = static_cast<int>(FailureClass::kTransient);
constexpr int kThrottled = static_cast<int>(FailureClass::kThrottled);
constexpr int kPermanent = static_cast<int>(FailureClass::kPermanent);

// Under this policy, a token that lives for 8 s is fresh for 4 s and then stale
// for 3 s.
RefreshPolicy SmallPolicy() {
  RefreshPolicy policy;
  policy.jitter = 0;
  policy.expiry_margin = S(1);
  policy.background_cooldown = S(2);
  policy.min_interval = S(1);
  policy.attempt_timeout = S(3);
  policy.young_token_age = S(2);
  policy.retry.initial_backoff = S(1);
  policy.retry.max_backoff = S(3);
  policy.retry.max_retries = 2;
  policy.retry.max_consecutive_failures = 3;
  policy.retry.probe_interval = S(4);
  policy.retry.max_retry_after = S(5);
  return policy;
}

class Enumeration {
 public:
  explicit Enumeration(const RefreshPolicy& policy) : rules_(policy) {
    EXPECT_TRUE(Validate(policy).ok()) << Validate(policy);
  }

  void Run(int steps_left) {
    CheckedMachine begin(&rules_, &counts_);
    for (const std::vector<Input>& beginning : Beginnings()) {
      CheckedMachine machine = begin;
      int node = -1;
      for (Input input : beginning) {
        // Under this policy, the attempt to which `input` applies may not
        // exist. If so, skip the rest of the beginning.
        if (!SetAttempt(machine.facts(), input)) break;
        node = Try(machine, input, node);
        if (node < 0) return;
      }
      Meet(machine, node);
    }
    for (; steps_left > 0 && !level_.empty(); --steps_left) {
      std::vector<std::pair<CheckedMachine, int>> level;
      level.swap(level_);
      for (const auto& [machine, node] : level) {
        NoteClass(machine.facts());
        for (const Input& input : Inputs(machine.facts())) {
          CheckedMachine next = machine;
          const int at = Try(next, input, node);
          if (at < 0) return;
          ++steps_;
          Meet(next, at);
        }
      }
    }
  }

  int64_t states() const { return static_cast<int64_t>(seen_.size()); }
  int64_t steps() const { return steps_; }
  const ClauseCounts& counts() const { return counts_; }
  size_t classes() const { return classes_.size(); }

 private:
  // `before` is the index of the previous input in `nodes_`, or -1.
  struct Node {
    int before;
    Input input;
  };

  // Sets `input.id` if `input` applies to an attempt. Returns false if that
  // attempt does not exist.
  static bool SetAttempt(const ReferenceModel& f, Input& input) {
    if (input.kind == Input::kStart) input.id = f.queued;
    if (input.kind == Input::kSucceed || input.kind == Input::kFail) {
      input.id = f.running.value_or(ReferenceModel::Call()).id;
    }
    return input.id != AttemptId::kNone || input.kind == Input::kRead ||
           input.kind == Input::kTime || input.kind == Input::kWallStep ||
           input.kind == Input::kWake || input.kind == Input::kInvalidate ||
           input.kind == Input::kInstall || input.kind == Input::kReport;
  }

  // Returns sequences that end in different parts of the state space.
  static std::vector<std::vector<Input>> Beginnings() {
    const Input read = {Input::kRead, {}, kNever, -1};
    const Input start = {Input::kStart};
    const Input token = {Input::kSucceed, {}, 8 * kSecond};
    const Input rejects = {Input::kRead, {}, kNever, -1, false, false, 0};
    const Input fails = {Input::kFail, {}, -1, kPermanent};
    const auto wait = [](int seconds) {
      return Input{Input::kTime, {}, seconds * kSecond};
    };
    return {
        {wait(0)},
        // The next three beginnings end with a token that is fresh, stale or
        // expired.
        {read, start, token},
        {read, start, token, wait(4)},
        {read, start, token, wait(7)},
        // The token is expired by the wall clock alone, which may step back.
        {read,
         start,
         token,
         wait(4),
         {Input::kWallStep, {}, 3 * kSecond},
         read,
         start},
        // In the next three beginnings, an outage begins. There is no token, a
        // stale token, or a token that expires during the outage.
        {read, start, fails, wait(1), read, start, fails},
        {read, start, token, wait(4), read, start, fails},
        {read, start, token, wait(4), read, start, fails, wait(2), read, start,
         fails, wait(2), read, start},
        // Refreshing is exhausted.
        {read, start, fails, wait(1), read, start, fails, wait(2), read, start,
         fails},
        // A probe is running. The token has expired, but can still be
        // invalidated.
        {read, start, token, wait(4), read, start, fails, wait(3), read, start,
         fails, wait(2), read, start, fails, wait(4), read, start},
        // A call is abandoned.
        {read, start, wait(3), {Input::kWake}},
        // A call was abandoned. Then a token was installed, and its refresh is
        // running.
        {read,
         start,
         wait(3),
         {Input::kWake},
         {Input::kInstall, {}, 8 * kSecond},
         wait(4),
         read,
         start},
        // Two calls are abandoned, and a third is made. By default it is the
        // first call beyond `max_abandoned_calls`.
        {read,
         start,
         wait(3),
         {Input::kWake},
         wait(1),
         read,
         start,
         wait(3),
         {Input::kWake},
         wait(3),
         read,
         start},
        // A call is abandoned. The answer to the next call asks the client to
        // wait.
        {read,
         start,
         wait(3),
         {Input::kWake},
         wait(1),
         {Input::kWake},
         start,
         {Input::kFail, {}, 5 * kSecond, kThrottled}},
        // In the next three beginnings, the token replaces a withdrawn token,
        // comes after a failure, or is installed.
        {read, start, token, {Input::kInvalidate}, wait(1), read, start, token},
        {read, start, fails, wait(1), read, start, token, wait(1)},
        {{Input::kInstall, {}, 8 * kSecond}, wait(4), read, start},
        // A server has rejected two tokens in succession, and the attempt after
        // the second rejection is running.
        {read, start, token, wait(1), rejects, start, token, wait(2), rejects,
         start},
        // The token is rejected while a refresh of the stale token is running.
        {read, start, token, wait(5), read, start, rejects},
    };
  }

  std::vector<Input> Inputs(const ReferenceModel& f) const {
    std::vector<Input> inputs = {
        {Input::kTime, {}, kSecond},
        {Input::kRead, {}, kNever, -1},
        {Input::kRead, {}, 0, 0},
        {Input::kRead, {}, kSecond, 1},
        {Input::kWake},
        {Input::kWakeLost},
        {Input::kInvalidate},
        {Input::kInvalidate, {}, 0, 1},
        {Input::kInstall, {}, 8 * kSecond},
        {Input::kInstall, {}, kNever},
        {Input::kInstall, {}, 0},
        {Input::kReset},
        {Input::kFork},
    };
    if (f.generation > 0) {
      inputs.push_back({Input::kRead, {}, kSecond, 1, false, false, 0});
    }
    if (f.generation > 0 && f.flight == ReferenceModel::kNone) {
      if (!f.CurrentRejected()) inputs.push_back({Input::kReport});
      // This read rejects an earlier generation, or one that was never
      // published.
      inputs.push_back({Input::kRead,
                        {},
                        kNever,
                        -1,
                        false,
                        false,
                        f.generation > 1 ? 1 : -2});
    }
    // Time passes until something is due, or until 1 ms before that.
    for (const Ms at :
         {f.WakeAt(), f.NotBefore(), f.RejectedNotBefore(), f.CheckAt().boot}) {
      if (at > f.t && at < kNever) {
        inputs.push_back({Input::kTime, {}, at - f.t});
        if (at - f.t > 1) inputs.push_back({Input::kTime, {}, at - f.t - 1});
      }
    }
    if (f.wall_step != 0)
      inputs.push_back({Input::kWallStep, {}, -f.wall_step});
    if (rules_.grace > 0 && f.wall_step == 0) {
      inputs.push_back({Input::kWallStep, {}, 3 * kSecond});
      inputs.push_back({Input::kWallStep, {}, -3 * kSecond});
    }
    if (f.queued != AttemptId::kNone) {
      inputs.push_back({Input::kStart, f.queued});
      inputs.push_back({Input::kLost, f.queued});
    }
    // These inputs name an attempt that was never submitted.
    inputs.push_back({Input::kStart, AttemptId{99}});
    inputs.push_back({Input::kLost, AttemptId{99}});
    inputs.push_back({Input::kSucceed, AttemptId{99}, 8 * kSecond});
    inputs.push_back({Input::kFail, AttemptId{99}, -1, kTransient});
    std::vector<ReferenceModel::Call> calls(f.abandoned.begin(),
                                            f.abandoned.end());
    if (f.running.has_value()) calls.push_back(*f.running);
    for (const ReferenceModel::Call& call : calls) {
      const AttemptId id = call.id;
      // A relative expiry counts from the start of the call, so `elapsed` is
      // added to it. Then every lifetime is whole seconds from now. A quarter
      // of it (F4) must be whole milliseconds.
      const Ms elapsed = f.t - call.started;
      inputs.push_back({Input::kSucceed, id, 8 * kSecond});
      inputs.push_back({Input::kFail, id, -1, kTransient});
      // Every answer to a call that is not current is discarded (F2).
      if (!call.current) continue;
      inputs.push_back({Input::kSucceed, id, 8 * kSecond + elapsed, 0, true});
      inputs.push_back({Input::kSucceed, id, elapsed, 0, true});
      inputs.push_back({Input::kSucceed, id, 2 * kSecond});
      inputs.push_back({Input::kSucceed, id, 0});
      inputs.push_back({Input::kSucceed, id, 8 * kSecond, 0, false, true});
      inputs.push_back({Input::kFail, id, -1, kPermanent});
      inputs.push_back({Input::kFail, id, 0, kThrottled});
      inputs.push_back({Input::kFail, id, kSecond, kThrottled});
      inputs.push_back({Input::kFail, id, 4 * kSecond, kThrottled});
      inputs.push_back({Input::kFail, id, 9 * kSecond, kTransient});
    }
    return inputs;
  }

  // Applies `input` to `machine`, and returns the node of this step. If the
  // step breaks a rule, fails the test and returns -1.
  int Try(CheckedMachine& machine, const Input& input, int before) {
    const std::string broken = machine.Apply(input);
    nodes_.push_back({before, input});
    const int node = static_cast<int>(nodes_.size()) - 1;
    if (broken.empty()) return node;
    ADD_FAILURE() << broken << "\nafter: " << Story(node)
                  << "\nwith: " << rules_.policy;
    return -1;
  }

  // These properties determine the class of a state.
  void NoteClass(const ReferenceModel& f) {
    classes_.emplace(f.flight, f.foreground, f.State(), f.generation > 0,
                     f.withdrawn, f.Grace(), f.Exhausted(),
                     std::min(f.failures, 1), f.abandoned.size());
  }

  // If the state of `machine` is new, checks that the machine recovers (B8),
  // and lets the next round continue from the state.
  void Meet(const CheckedMachine& machine, int node) {
    if (!seen_.insert(machine.facts().Fingerprint()).second) {
      if (node + 1 == static_cast<int>(nodes_.size())) nodes_.pop_back();
      return;
    }
    const std::string broken = machine.CheckRecovers();
    if (!broken.empty()) {
      ADD_FAILURE() << broken << "\nafter: " << Story(node)
                    << "\nwith: " << rules_.policy;
    }
    level_.emplace_back(machine, node);
  }

  std::string Story(int node) const {
    std::string story;
    for (; node >= 0; node = nodes_[node].before) {
      story = absl::StrCat(ToString(nodes_[node].input), "; ", story);
    }
    return story;
  }

  const ModelPolicy rules_;
  ClauseCounts counts_{};
  int64_t steps_ = 0;
  std::unordered_set<std::string> seen_;
  std::vector<Node> nodes_;  // The inputs that led to each state.
  // The states from which the next round continues, with their nodes.
  std::vector<std::pair<CheckedMachine, int>> level_;
  std::set<
      std::tuple<int, bool, Freshness, bool, bool, bool, bool, int, size_t>>
      classes_;
};

struct NamedPolicy {
  const char* name;
  RefreshPolicy policy;
  // The least number of classes of states that the test must reach.
  size_t classes;
  int depth = 4;  // The maximum number of inputs after a beginning.
};

std::vector<NamedPolicy> Policies() {
  const RefreshPolicy small = SmallPolicy();
  RefreshPolicy fatal = small;
  fatal.retry.max_retries = 0;
  fatal.retry.max_consecutive_failures = 2;
  fatal.retry.on_exhausted = OnExhausted::kFatal;
  RefreshPolicy passive = small;
  passive.background_refresh = false;
  passive.max_abandoned_calls = 1;
  RefreshPolicy ahead = small;
  ahead.refresh_ahead = true;
  RefreshPolicy grace = small;
  grace.max_stale_on_error = S(3);
  RefreshPolicy grace_ahead = small;
  grace_ahead.max_stale_on_error = S(3);
  grace_ahead.refresh_ahead = true;
  grace_ahead.stale_window = S(3);
  grace_ahead.min_interval = S(2);
  grace_ahead.retry.on_exhausted = OnExhausted::kFatal;
  // Here the margin, the stale window and the young age are longer than a token
  // lives.
  RefreshPolicy cut = small;
  cut.expiry_margin = S(40);
  cut.stale_window = S(30);
  cut.young_token_age = S(30);
  cut.background_cooldown = S(1);
  cut.max_rejection_backoff = S(1);
  cut.retry.max_retry_after = S(1);
  RefreshPolicy bare = small;
  bare.expiry_margin = S(0);
  bare.stale_window = S(0);
  bare.background_cooldown = S(0);
  bare.min_interval = S(0);
  bare.young_token_age = S(0);
  bare.retry.multiplier = 1;
  RefreshPolicy narrow = small;
  narrow.max_stale_window = S(3);
  narrow.max_stale_on_error = S(1);
  narrow.retry.multiplier = 3;
  narrow.retry.max_consecutive_failures = 4;
  // Here the cooldown depends on the token, and may be longer than the backoff.
  RefreshPolicy adaptive = small;
  adaptive.background_cooldown.reset();
  adaptive.min_interval = S(0);
  adaptive.retry.multiplier = 1;
  adaptive.retry.initial_backoff = absl::Milliseconds(500);
  return {{"small", small, 79},        {"fatal", fatal, 62},
          {"passive", passive, 50, 3}, {"ahead", ahead, 85, 3},
          {"grace", grace, 87, 3},     {"grace, ahead", grace_ahead, 65},
          {"cut", cut, 79, 3},         {"bare", bare, 35, 3},
          {"narrow", narrow, 60, 3},   {"adaptive", adaptive, 82, 3}};
}

TEST(RefreshMachineEnumerationTest, S1EveryStepIsWhatTheClausesSay) {
  ClauseCounts counts{};
  int64_t states = 0, steps = 0;
  for (const NamedPolicy& p : Policies()) {
    SCOPED_TRACE(p.name);
    Enumeration all(p.policy);
    all.Run(depth > 0 ? depth : p.depth);
    if (HasFailure()) return;
    std::cout << p.name << ": " << all.steps() << " steps from " << all.states()
              << " states of " << all.classes() << " classes\n";
    EXPECT_GE(all.classes(), p.classes);
    states += all.states();
    steps += all.steps();
    for (int i = 0; i < kClauses; ++i) counts[i] += all.counts()[i];
  }
  std::cout << "in all: " << steps << " steps, " << states << " states\n";
  for (int i = 0; i < kClauses; ++i) {
    std::cout << ClauseName(Clause(i)) << ": " << counts[i] << "\n";
    EXPECT_GT(counts[i], 0) << ClauseName(Clause(i)) << " never applied";
  }
}

}  // namespace
}  // namespace internal
}  // namespace refreshable

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--depth=") ||
        !absl::SimpleAtoi(argument, &refreshable::internal::depth)) {
      std::cerr << "bad argument: " << argv[i] << std::endl;
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
