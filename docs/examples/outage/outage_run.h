// SPDX-License-Identifier: Apache-2.0
//
// RunOutage: the whole demonstration.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_

#include <string>

#include "absl/status/status.h"

namespace refreshable_examples {

// Starts the server and the three clients, plays the script, prints what
// happens and the table, writes the timeline to `csv_path`, and, where gnuplot
// is installed, the picture beside it. Takes as long as the script.
//
// FAILED_PRECONDITION, after the table, if Refreshable broke its promise.
// Another code, with a message of one line, if something did not work.
absl::Status RunOutage(const std::string& csv_path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OUTAGE_RUN_H_
