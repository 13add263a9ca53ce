// SPDX-License-Identifier: Apache-2.0
//
// RunOutage: runs three clients during an outage of a token endpoint, and shows
// what happens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_

#include <string>

#include "absl/status/status.h"

namespace refreshable_examples {

// Runs the script of the outage (script.h) with a server and three clients.
// Prints a line each second, and at the end a table of the results. Writes the
// timeline (report/timeline.h) to `csv_path`. Draws the timeline with gnuplot
// as a PNG file beside `csv_path`, or prints why there is no picture.
//
// Returns FAILED_PRECONDITION if Refreshable broke its promise
// (report/verdict.h). Returns another error if the run failed or `csv_path`
// could not be written. The message is one line.
absl::Status RunOutage(const std::string& csv_path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
