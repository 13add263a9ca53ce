// SPDX-License-Identifier: Apache-2.0
//
// Functions that activate a fault in copies of library files. The copies, which
// plant.awk makes, call `Planted`.

#ifndef REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
#define REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_

#include "absl/strings/string_view.h"

namespace planted_faults {

// Plants `fault` in place of the fault planted before. `Plant("")` only removes
// that fault. The same thread must call all three functions.
void Plant(absl::string_view fault);
bool Planted(absl::string_view fault);
// Returns whether the program has reached the fault since `Plant`.
bool Reached();

}  // namespace planted_faults

namespace refreshable {
using planted_faults::Planted;
}  // namespace refreshable

#endif  // REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
