// SPDX-License-Identifier: Apache-2.0
//
// Draws the timeline as a picture, with gnuplot.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_PICTURE_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_PICTURE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace refreshable_examples {

// A period in which the token endpoint behaved in one way. The label says how.
struct Span {
  std::string label;
  bool outage;
  absl::Duration start;
  absl::Duration end;
};

// Returns a gnuplot program that draws the CSV file `csv` (timeline.h) as the
// PNG file `png`. `clients` has the clients' names, in the order of their
// columns in the CSV file. The upper half shows the token requests so far, the
// lower half the successful calls per second. Both show `spans`.
std::string GnuplotScript(const std::string& csv, const std::string& png,
                          const std::vector<std::string>& clients,
                          const std::vector<Span>& spans);

// Returns NOT_FOUND if $PATH has no gnuplot, and UNAVAILABLE if gnuplot fails.
absl::Status RunGnuplot(const std::string& script);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_PICTURE_H_
