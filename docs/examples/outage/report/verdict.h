// SPDX-License-Identifier: Apache-2.0
//
// The limits that Refreshable promises to keep in an outage, and a check of
// them.

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
  // The maximum number of token requests during the outage.
  int64_t requests = 0;
  // The maximum time from the recovery to the first successful call. The next
  // attempt starts within one probe interval, and may take until its timeout.
  absl::Duration recovery;
};

// Returns the limits for an outage of the length `outage`. There may be one
// request at the beginning and one after each wait that `policy` demands,
// however many threads there are.
//
// `revoking` is the length of the part of the outage in which the endpoint
// issues tokens that the API rejects. These rejections may start further
// attempts, with the same waits but on a schedule of their own.
Promise PromiseOf(const refreshable::RefreshPolicy& policy,
                  absl::Duration outage,
                  absl::Duration revoking = absl::ZeroDuration());

// Returns one sentence for each broken limit of `promise`, and one if an
// expired token was sent. `outage_requests` is the number of token requests
// during the outage.
std::vector<std::string> BrokenPromises(const Promise& promise,
                                        const Tally& tally,
                                        int64_t outage_requests);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_VERDICT_H_
