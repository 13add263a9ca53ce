// SPDX-License-Identifier: Apache-2.0
//
// The fault that is planted at present. plant.awk makes copies of library files
// that include this header and ask `Planted`.

#ifndef REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
#define REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_

#include "absl/strings/string_view.h"

namespace planted_faults {

// Plants `fault` in the place of the one planted before; "" plants none. This
// function, `Planted` and `Reached` must be called by the same thread.
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
