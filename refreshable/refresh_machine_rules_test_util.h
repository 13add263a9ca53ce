// SPDX-License-Identifier: Apache-2.0
//
// RuledMachine: a RefreshMachine whose every step is held against the contract.

#ifndef REFRESHABLE_REFRESH_MACHINE_RULES_TEST_UTIL_H_
#define REFRESHABLE_REFRESH_MACHINE_RULES_TEST_UTIL_H_

#include <array>
#include <cstdint>
#include <string>

#include "refreshable/executors/clock.h"
#include "refreshable/refresh_machine.h"
#include "refreshable/refresh_machine_facts_test_util.h"

namespace refreshable {
namespace internal {

// The clauses of docs/contract.md that a step can break; kS1 is also "and
// nothing else happens".
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
// How often each had something to say.
using ClauseCounts = std::array<int64_t, kClauses>;

// One thing that can happen to a machine.
struct MachineInput {
  enum Kind {
    kTime,      // `ms` pass.
    kWallStep,  // The wall clock alone steps by `ms`.
    kRead,      // With a deadline `ms` from now; `number` retries, if >= 0.
    kStart,     // Of the attempt `id`, as are the next three.
    kSucceed,   // With a token that lives for `ms`; `relative`, `same_as`.
    kFail,      // In FailureClass `number`; the server asks for `ms`, if >= 0.
    kLost,
    kWake,
    kWakeLost,
    kInvalidate,  // The generation `number` before the present one.
    kReport,      // That it was rejected; likewise.
    kInstall,     // A token that lives for `ms`.
    kReset,
    kFork,
  };
  Kind kind = kWake;
  AttemptId id = AttemptId::kNone;
  Ms ms = 0;
  int number = 0;
  bool relative = false;  // The lifetime, to the start of the attempt.
  bool same_as = false;   // It is the token held, or withdrawn.
  // A read: rejects the generation this many before the present one. None if
  // -1; -2 is one that has not been published.
  int rejects = -1;
};
std::string ToString(const MachineInput& input);

// Copyable, so that every way on can be tried.
class RuledMachine {
 public:
  // Both outlive it. `counts` may be null.
  RuledMachine(const Rules* rules, ClauseCounts* counts);

  // Lets `input` happen. Returns the first clause that the machine breaks and
  // how, or an empty string.
  std::string Apply(const MachineInput& input);
  // B8: from here, though no call under way ever returns, a read brings a
  // token; a fatal machine needs a reset first.
  std::string CheckWayOut() const;

  const Facts& facts() const { return facts_; }

 private:
  struct Step;
  class Judge;

  Instant Now() const;
  void Perform(const MachineInput& input, Step& step);
  std::string ApplyOne(const MachineInput& input, Step& step);
  std::string ApplyLate(const MachineInput& input);

  ClauseCounts* counts_;
  RefreshMachine machine_;
  Facts facts_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REFRESH_MACHINE_RULES_TEST_UTIL_H_
