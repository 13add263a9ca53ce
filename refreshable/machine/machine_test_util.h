// SPDX-License-Identifier: Apache-2.0
//
// MachineDriver: a RefreshMachine with two clocks that the test controls.

#ifndef REFRESHABLE_MACHINE_MACHINE_TEST_UTIL_H_
#define REFRESHABLE_MACHINE_MACHINE_TEST_UTIL_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/testing/exact_policy.h"

namespace refreshable {
namespace internal {

// The smallest difference between two durations.
inline absl::Duration Tick() { return absl::Nanoseconds(1) / 4; }

inline absl::Duration S(int64_t n) { return absl::Seconds(n); }
inline absl::Duration Ms(int64_t n) { return absl::Milliseconds(n); }

using ::refreshable_testing::ExactPolicy;

// A moment that is an absl::Duration counts from the start of the test. `out`
// holds the decisions of the last input.
class MachineDriver {
 public:
  using Answer = RefreshMachine::ReadAnswer;

  explicit MachineDriver(const RefreshPolicy& policy = ExactPolicy(),
                         uint64_t seed = 1)
      : machine(policy, seed) {}

  Instant now() const { return {WallAt(t) + wall_step, kBoot + t}; }
  // Returns `at` as wall time, as if the wall clock were never set.
  absl::Time WallAt(absl::Duration at) const { return kWall + at; }
  MachineDriver& At(absl::Duration time) {
    t = time;
    return *this;
  }

  // ---- Inputs ----

  Answer Read(absl::Duration deadline = absl::InfiniteDuration(),
              std::optional<int> max_retries = std::nullopt) {
    Begin();
    const Answer answer =
        machine.OnRead(now(), {kBoot + deadline, max_retries, {}}, out);
    End();
    return answer;
  }
  // By default, rejects the last published generation.
  Answer ReadRejecting(std::optional<uint64_t> generation = std::nullopt,
                       std::optional<int> max_retries = std::nullopt) {
    Begin();
    const Answer answer =
        machine.OnRead(now(),
                       {BootTime::InfiniteFuture(), max_retries,
                        generation.has_value() ? Generation(*generation)
                                               : machine.generation()},
                       out);
    End();
    return answer;
  }
  void Report(Generation generation) {
    Begin();
    machine.OnReportRejected(now(), generation, out);
    End();
  }
  // Start, Succeed, Fail and Lost apply to the attempt that was submitted last,
  // unless `id` names another.
  std::optional<AttemptStart> Start() {
    Begin();
    const auto start = machine.OnAttemptStart(now(), attempt, out);
    if (start.has_value()) starts.push_back(absl::ToDoubleSeconds(t));
    End();
    return start;
  }
  void Succeed(Expiry expiry, std::optional<Generation> same_as = std::nullopt,
               AttemptId id = AttemptId::kNone) {
    Begin();
    machine.OnAttemptSuccess(now(), Or(id), expiry, same_as, out);
    End();
  }
  void Fail(absl::Status status = absl::UnavailableError("down"),
            std::optional<absl::Duration> retry_after = std::nullopt,
            AttemptId id = AttemptId::kNone) {
    Begin();
    const FailureClass kind = ClassifyFailure(status);
    machine.OnAttemptFailure(now(), Or(id), {status, kind, retry_after}, out);
    End();
  }
  void Lost(AttemptId id = AttemptId::kNone) {
    Begin();
    machine.OnAttemptLost(now(), Or(id), out);
    End();
  }
  void Wake() {
    Begin();
    machine.OnWake(now(), out);
    End();
  }
  void WakeLost() {
    Begin();
    machine.OnWakeLost(now(), out);
    End();
  }
  bool Invalidate() { return Invalidate(machine.generation()); }
  bool Invalidate(Generation generation) {
    Begin();
    const bool acted = machine.OnInvalidate(now(), generation, out);
    End();
    return acted;
  }
  bool Install(Expiry expiry) {
    Begin();
    const bool installed = machine.OnInstall(now(), expiry, out);
    End();
    return installed;
  }
  void Reset() {
    Begin();
    machine.OnReset(now(), out);
    End();
  }

  // ---- Several inputs ----

  std::optional<AttemptStart> ReadAndStart() {
    return Read() == Answer::kWait ? Start() : std::nullopt;
  }
  // Makes an attempt that brings a token. Requires: a read now would submit an
  // attempt and wait for it.
  void Hold(absl::Duration lifetime) {
    ReadAndStart();
    Succeed(Expiry::In(lifetime));
  }
  // Makes `n` attempts that fail permanently, each as early as permitted.
  // Requires: no token can be served, no refresh is in flight, and
  // `machine.fatal(now())` is false before each attempt.
  void FailTimes(int n) {
    for (int i = 0; i < n; ++i) {
      if (next_start() > t) t = next_start();
      ReadAndStart();
      Fail(absl::UnknownError("permanent"));
    }
  }
  // Simulates an outage until `end`, and returns the starts of the attempts in
  // seconds. Reads come at intervals of `every`, each with the timeout
  // `timeout`. Every attempt starts at once and fails `latency` later, unless
  // another attempt starts before that. Timers fire on time.
  std::vector<double> Outage(
      absl::Duration end, absl::Duration every = S(1),
      absl::Duration latency = absl::ZeroDuration(),
      absl::Duration timeout = absl::InfiniteDuration(),
      std::optional<absl::Duration> retry_after = std::nullopt) {
    starts.clear();
    absl::Duration read_at = t, fail_at = absl::InfiniteDuration();
    for (;;) {
      const absl::Duration next =
          std::min({read_at, fail_at, std::max(wake_at(), t)});
      if (next > end) return starts;
      t = next;
      if (next == fail_at) {
        fail_at = absl::InfiniteDuration();
        Fail(absl::UnavailableError("502"), retry_after);
      } else if (next == read_at) {
        Read(t + timeout);
        read_at += every;
      } else {
        Wake();
      }
      if (out.submit != AttemptId::kNone && Start()) fail_at = t + latency;
    }
  }

  // ---- What is known ----

  absl::Duration wake_at() const { return machine.wake_at(now()) - kBoot; }
  // The BootTime from which reads must ask the machine.
  absl::Duration check_at() const {
    return machine.check_at(now()).boot - kBoot;
  }
  absl::Duration next_start() const {
    return machine.next_start(now()) - kBoot;
  }
  // When the next attempt may start, as `out.failure` reports it.
  absl::Duration told_next() const {
    return out.failure.next_attempt_at - kBoot;
  }
  // A waiting read gets `out.failure` if its deadline is before this time.
  absl::Duration fail_deadlines_before() const {
    return out.fail_deadlines_before - kBoot;
  }
  Freshness freshness() const { return machine.freshness(now()); }
  bool submitted() const { return out.submit != AttemptId::kNone; }
  std::vector<std::string> events() const {
    std::vector<std::string> names;
    for (const Event& event : out.events) {
      names.emplace_back(EventKindName(event.kind));
    }
    return names;
  }
  // Returns the first event of this kind, or an empty event.
  const Event& event(EventKind kind) const {
    static const Event& none = *new Event;
    for (const Event& event : out.events) {
      if (event.kind == kind) return event;
    }
    return none;
  }

  RefreshMachine machine;
  absl::Duration t = absl::ZeroDuration();
  // How far the wall clock has been set ahead.
  absl::Duration wall_step = absl::ZeroDuration();
  Decisions out;
  AttemptId attempt = AttemptId::kNone;  // The attempt submitted last.
  std::vector<double> starts;            // Starts of attempts, in seconds.

 private:
  static inline const BootTime kBoot = BootTime() + absl::Seconds(1000);
  static constexpr absl::Time kWall = absl::FromUnixSeconds(1'700'000'000);

  AttemptId Or(AttemptId id) const {
    return id == AttemptId::kNone ? attempt : id;
  }
  void Begin() { out = Decisions(); }
  void End() {
    if (out.submit != AttemptId::kNone) attempt = out.submit;
  }
};

// Returns a driver with a stale token and a queued attempt. A read of the token
// has queued the attempt.
inline MachineDriver StaleAndQueued(
    const RefreshPolicy& policy = ExactPolicy()) {
  MachineDriver d(policy);
  d.Hold(S(1000));
  d.At(S(600)).Read();
  return d;
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_MACHINE_TEST_UTIL_H_
