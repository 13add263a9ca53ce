// SPDX-License-Identifier: Apache-2.0
//
// Checks the outcome of a simulation (play.h) against the promises of this
// library.

#ifndef REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_
#define REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_

#include <string>
#include <vector>

#include "docs/examples/rejections/play.h"

namespace refreshable_examples {

// `outcome` is the outcome of `play`. Returns a sentence for each promise of
// this library that `outcome` breaks. `lockstep` means that all callers call at
// the same moment.
std::vector<std::string> Broken(const Play& play, const Outcome& outcome,
                                bool lockstep);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_VERDICT_H_
