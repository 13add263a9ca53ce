// SPDX-License-Identifier: Apache-2.0
//
// Selects the planted fault. Included by the copies that plant.awk makes.

#ifndef REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
#define REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_

#include "absl/strings/string_view.h"

namespace planted_faults {

// Plants this fault; "" plants none. For one thread only.
void Plant(absl::string_view fault);
// Whether this fault is planted.
bool Planted(absl::string_view fault);
// Whether the code has reached the fault since it was planted.
bool Reached();

}  // namespace planted_faults

namespace refreshable {
using planted_faults::Planted;
}  // namespace refreshable

#endif  // REFRESHABLE_TESTING_EXPLORER_MUTANTS_PLANTED_TEST_UTIL_H_
