// SPDX-License-Identifier: Apache-2.0
//
// HttpApi: the API that the tokens are for, over HTTP.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_

#include "absl/time/time.h"
#include "docs/examples/outage/url.h"
#include "docs/examples/outage/workload.h"

namespace refreshable_examples {

// Sends GET requests to `url` over a connection of its own, which it keeps; it
// gives up on an answer after `timeout`.
Api HttpApi(const Url& url, absl::Duration timeout);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_API_H_
