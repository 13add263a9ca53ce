// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/explorer_mutants/planted_test_util.h"

namespace planted_faults {
namespace {

absl::string_view planted;
bool reached = false;

}  // namespace

void Plant(absl::string_view fault) {
  planted = fault;
  reached = false;
}

bool Planted(absl::string_view fault) {
  if (fault != planted) return false;
  reached = true;
  return true;
}

bool Reached() { return reached; }

}  // namespace planted_faults
