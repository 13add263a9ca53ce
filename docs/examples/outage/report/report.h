// SPDX-License-Identifier: Apache-2.0
//
// What the outage prints: a line each second, and the table at the end.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "docs/examples/outage/report/timeline.h"
#include "docs/examples/outage/report/verdict.h"

namespace refreshable_examples {

// Two lines that head the progress lines. The first client of a sample is
// shown with its state and generation.
std::string ProgressHeader(const Sample& sample);

// Returns what happened from `before` to `now`, in one line.
std::string ProgressLine(const Sample& before, const Sample& now);

// One client's row of the table.
struct Row {
  std::string name;
  int64_t outage_requests = 0;
  Tally tally;
};

// Returns the table and, below it, what `promise` allows.
std::string Table(const std::vector<Row>& rows, const Promise& promise);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_REPORT_H_
