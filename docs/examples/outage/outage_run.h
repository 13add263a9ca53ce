// SPDX-License-Identifier: Apache-2.0
//
// RunOutage: runs the whole demonstration.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_

#include <string>

#include "absl/status/status.h"

namespace refreshable_examples {

// Starts the server and the three clients, runs the script, prints what happens
// and the table, writes the timeline to `csv_path` and, if gnuplot is
// installed, draws the picture next to it. Takes as long as the script.
//
// Returns FAILED_PRECONDITION, after printing the table, if Refreshable broke
// its promise. Returns another code, with a message of one line, if something
// else failed.
absl::Status RunOutage(const std::string& csv_path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
