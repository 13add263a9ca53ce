// SPDX-License-Identifier: Apache-2.0
//
// DrawSeed: seeds for the jitter.

#ifndef REFRESHABLE_SHELL_SEED_H_
#define REFRESHABLE_SHELL_SEED_H_

#include <cstdint>

namespace refreshable {
namespace internal {

// Returns a random number. The generator is seeded by std::random_device once
// per process, and again in the child of a fork(); the other calls cost one
// atomic addition. Thread-safe. Not for cryptography.
uint64_t DrawSeed();

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SEED_H_
