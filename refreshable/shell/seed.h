// SPDX-License-Identifier: Apache-2.0
//
// DrawSeed: seeds for the jitter.

#ifndef REFRESHABLE_SHELL_SEED_H_
#define REFRESHABLE_SHELL_SEED_H_

#include <cstdint>

namespace refreshable {
namespace internal {

// Returns a random number. Not for cryptography. Thread-safe. The first call in
// a process seeds the generator, and so does the first call in the child of a
// fork(). Each other call costs little more than an atomic addition.
uint64_t DrawSeed();

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SEED_H_
