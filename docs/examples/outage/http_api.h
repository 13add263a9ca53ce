// SPDX-License-Identifier: Apache-2.0
//
// HttpApi: calls an API with a token, over HTTP.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_

#include "absl/time/time.h"
#include "docs/examples/outage/url.h"
#include "docs/examples/outage/workload.h"

namespace refreshable_examples {

// Returns a function that sends GET requests to the API at `url`. The function
// and its copies share one connection. `timeout` limits the wait for the
// connection, and the wait for each part of an answer.
Api HttpApi(const Url& url, absl::Duration timeout);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_
