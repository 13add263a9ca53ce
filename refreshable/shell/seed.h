// SPDX-License-Identifier: Apache-2.0
//
// DrawSeed: seeds for the jitter.

#ifndef REFRESHABLE_SHELL_SEED_H_
#define REFRESHABLE_SHELL_SEED_H_

#include <cstdint>

namespace refreshable {
namespace internal {

// Returns a random number, which is not fit for cryptography. Thread-safe. The
// child of a fork() draws other numbers than its parent. Most calls cost little
// more than an atomic addition.
uint64_t DrawSeed();

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SEED_H_
