// SPDX-License-Identifier: Apache-2.0
//
// The promise of Refreshable in an outage, in numbers, and whether it was kept.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_VERDICT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_VERDICT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "docs/examples/outage/workload.h"
#include "refreshable/policy.h"

namespace refreshable_examples {

struct Promise {
  // How often the token endpoint may be asked during the outage.
  int64_t requests = 0;
  // Within this time of the recovery a call succeeds: the next attempt starts
  // within one probe interval, and may take as long as an attempt may.
  absl::Duration recovery;
};

// Returns what the schedule of `policy` allows in an outage of this length: one
// attempt when it begins, and another after each wait that fits, however many
// threads there are. For `revoking` of that time the endpoint issues tokens
// that the API rejects: rejections start attempts by the same schedule, from
// its beginning, beside those of failures.
Promise PromiseOf(const refreshable::RefreshPolicy& policy,
                  absl::Duration outage,
                  absl::Duration revoking = absl::ZeroDuration());

// Returns one sentence for each way in which the promise was broken; none if it
// was kept. `outage_requests` is the number that the endpoint counted.
std::vector<std::string> BrokenPromises(const Promise& promise,
                                        const Tally& tally,
                                        int64_t outage_requests);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_VERDICT_H_
