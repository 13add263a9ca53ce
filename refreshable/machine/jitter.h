// SPDX-License-Identifier: Apache-2.0
//
// Jitter: the random numbers that vary moments and waits.

#ifndef REFRESHABLE_MACHINE_JITTER_H_
#define REFRESHABLE_MACHINE_JITTER_H_

#include <cstdint>

namespace refreshable {
namespace internal {

// A sequence of numbers that look random and depend on the seed alone. A copy
// continues the sequence.
class Jitter {
 public:
  explicit Jitter(uint64_t seed) : state_(seed) {}

  // Returns the next number, in [0, 1), from SplitMix64 (Steele, Lea and Flood,
  // OOPSLA 2014).
  double Draw() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
  }

 private:
  uint64_t state_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_JITTER_H_
