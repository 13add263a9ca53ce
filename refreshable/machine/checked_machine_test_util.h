// SPDX-License-Identifier: Apache-2.0
//
// CheckedMachine: a RefreshMachine whose every step is checked against the
// contract.

#ifndef REFRESHABLE_MACHINE_CHECKED_MACHINE_TEST_UTIL_H_
#define REFRESHABLE_MACHINE_CHECKED_MACHINE_TEST_UTIL_H_

#include <array>
#include <cstdint>
#include <string>

#include "refreshable/executors/clock.h"
#include "refreshable/machine/reference_model_test_util.h"
#include "refreshable/machine/refresh_machine.h"

namespace refreshable {
namespace internal {

// The clauses of docs/contract.md that a step can break. kS1 also means that a
// step has only the effects that a clause requires.
enum class Clause {
  kR1,
  kR2,
  kR3,
  kR4,
  kR6,
  kR7,
  kR9,
  kR12,
  kF1,
  kF2,
  kF3,
  kF4,
  kF5,
  kF6,
  kF7,
  kF9,
  kB1,
  kB2,
  kB3,
  kB4,
  kB5,
  kB6,
  kB7,
  kB8,
  kB9,
  kB10,
  kA1,
  kA2,
  kA3,
  kA5,
  kA7,
  kA8,
  kA9,
  kA10,
  kA11,
  kA12,
  kA13,
  kE2,
  kE4,
  kS1,
};
inline constexpr int kClauses = static_cast<int>(Clause::kS1) + 1;
const char* ClauseName(Clause clause);
// How often each clause was checked.
using ClauseCounts = std::array<int64_t, kClauses>;

// One thing that can happen to a machine.
struct MachineInput {
  enum Kind {
    kTime,      // `ms` milliseconds pass.
    kWallStep,  // The wall clock steps by `ms`.
    // A read with timeout `ms`. If `number` >= 0, it permits that many retries.
    kRead,
    kStart,  // The executor runs the attempt `id`.
    // The attempt `id` brings a token that lives for `ms`.
    kSucceed,
    // The attempt `id` fails with the FailureClass `number`. If `ms` >= 0, the
    // server asks the client to wait for that time.
    kFail,
    kLost,      // The executor loses the attempt `id`.
    kWake,      // The timer fires.
    kWakeLost,  // The executor loses the timer.
    // Invalidates generation G - `number`, where G is the present generation.
    kInvalidate,
    // Reports a rejection of generation G - `number`.
    kReport,
    kInstall,  // Installs a token that lives for `ms`.
    kReset,
    kFork,
  };
  Kind kind = kWake;
  AttemptId id = AttemptId::kNone;
  Ms ms = 0;
  int number = 0;
  // kSucceed, kInstall: whether the expiry is relative (`Expiry::In`). In a
  // kSucceed with a relative expiry, `ms` counts from the start of the attempt.
  // Otherwise `ms` counts from now.
  bool relative = false;
  // kSucceed: whether the token equals the token that is held or was withdrawn.
  bool same_as = false;
  // kRead: the read rejects generation G - `rejects`, where G is the present
  // generation. -1: the read rejects no generation. -2: the read rejects a
  // generation that has not been published.
  int rejects = -1;
  // kSucceed, kInstall: the hint of when to replace the token; kNever if there
  // is none.
  Ms refresh_in = kNever;
};
std::string ToString(const MachineInput& input);

// A RefreshMachine and its reference model. Copyable, so that a test can try
// several continuations of one state.
class CheckedMachine {
 public:
  // Both arguments must outlive the machine. `counts` may be null.
  CheckedMachine(const ModelPolicy* rules, ClauseCounts* counts);

  // Returns an empty string, or the first clause that the machine breaks.
  std::string Apply(const MachineInput& input);
  // B8: checks that a few reads lead to a token. The check works on a copy of
  // this object. In the copy, the calls that are outstanding now never return.
  // If refreshing has given up for good (B7), the copy is reset before
  // each read. Returns an empty string, or what is broken.
  std::string CheckRecovers() const;

  const ReferenceModel& facts() const { return facts_; }

 private:
  struct Step;
  class StepChecker;

  Instant Now() const;
  void Perform(const MachineInput& input, Step& step);
  std::string CheckFailsUntil(const Decisions& out) const;
  std::string ApplyOne(const MachineInput& input, Step& step);
  std::string ApplyLate(const MachineInput& input);

  ClauseCounts* counts_;
  RefreshMachine machine_;
  ReferenceModel facts_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_CHECKED_MACHINE_TEST_UTIL_H_
