// SPDX-License-Identifier: Apache-2.0
//
// Url: an http or https URL, split into the parts that an HTTP client needs.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace refreshable_examples {

struct Url {
  std::string origin;  // "https://example.org:8443"
  std::string target;  // "/token?tenant=1"; begins with "/".
};

// Splits an http or https URL, and drops its fragment. Returns
// INVALID_ARGUMENT, with the reason, for any other URL and for a URL with a
// user name. A program built without TLS refuses https too.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_
