// SPDX-License-Identifier: Apache-2.0
//
// Url: an http or https address, in the parts that an HTTP client asks for.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace refreshable_examples {

struct Url {
  std::string origin;  // "https://example.org:8443"
  std::string target;  // "/token?tenant=1"; "/" at least.
};

// INVALID_ARGUMENT, saying what is wrong, if `text` is no such address, holds a
// user name (credentials do not belong into an address), or is https where this
// program was built without TLS.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_URL_H_
