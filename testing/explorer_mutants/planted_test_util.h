// SPDX-License-Identifier: Apache-2.0
//
// Functions that activate a fault in copies of library files. plant.awk makes
// these copies, which include this header and call `Planted`.

#ifndef REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
#define REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_

#include "absl/strings/string_view.h"

namespace planted_faults {

// Plants `fault` in place of the fault planted before. `Plant("")` only removes
// that fault. `Plant`, `Planted` and `Reached` must be called by the same
// thread.
void Plant(absl::string_view fault);
// Returns whether `fault` is planted.
bool Planted(absl::string_view fault);
// Returns whether the program has reached the planted fault since `Plant` was
// called.
bool Reached();

}  // namespace planted_faults

namespace refreshable {
using planted_faults::Planted;
}  // namespace refreshable

#endif  // REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
