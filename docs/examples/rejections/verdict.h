// SPDX-License-Identifier: Apache-2.0
//
// Checks what this library promises, in a simulation (play.h).

#ifndef REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_
#define REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_

#include <string>
#include <vector>

#include "docs/examples/rejections/play.h"

namespace refreshable_examples {

// Returns a sentence for each promise of this library that `outcome`, the
// outcome of `play`, breaks. `lockstep` means that all callers call at the same
// moment.
std::vector<std::string> Broken(const Play& play, const Outcome& outcome,
                                bool lockstep);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_
