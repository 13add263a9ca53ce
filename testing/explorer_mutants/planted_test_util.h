// SPDX-License-Identifier: Apache-2.0
//
// Selects which fault is planted. The copies of library files that plant.awk
// makes include this header.

#ifndef REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
#define REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_

#include "absl/strings/string_view.h"

namespace planted_faults {

// Plants this fault, and removes the fault planted before; "" plants none. All
// of these functions must be called by the same thread.
void Plant(absl::string_view fault);
// Returns whether this fault is planted.
bool Planted(absl::string_view fault);
// Returns whether the program has reached the planted fault since `Plant` was
// called.
bool Reached();

}  // namespace planted_faults

namespace refreshable {
using planted_faults::Planted;
}  // namespace refreshable

#endif  // REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
