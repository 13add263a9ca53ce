// SPDX-License-Identifier: Apache-2.0
//
// The line that the outage example prints each second, and the table that it
// prints at the end.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "docs/examples/outage/report/timeline.h"
#include "docs/examples/outage/report/verdict.h"

namespace refreshable_examples {

// Returns the two header lines above the progress lines. Only the first client
// has columns for its state and generation.
std::string ProgressHeader(const Sample& sample);

// Says what happened between `before` and `now`.
std::string ProgressLine(const Sample& before, const Sample& now);

struct Row {
  std::string name;
  int64_t outage_requests = 0;
  Tally tally;
};

// The last line of the table shows what the library promises.
std::string Table(const std::vector<Row>& rows, const Promise& promise);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_
