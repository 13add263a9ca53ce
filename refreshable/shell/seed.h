// SPDX-License-Identifier: Apache-2.0
//
// DrawSeed: seeds for the jitter.

#ifndef REFRESHABLE_SHELL_SEED_H_
#define REFRESHABLE_SHELL_SEED_H_

#include <cstdint>

namespace refreshable {
namespace internal {

// Returns a random number. The first call in a process, or in the child of a
// fork(), seeds the generator from the clock and from std::random_device, or
// from the clock alone if std::random_device throws. Each other call costs
// little more than an atomic addition. Thread-safe. Not for cryptography.
uint64_t DrawSeed();

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SEED_H_
