// SPDX-License-Identifier: Apache-2.0
//
// RunRealServer: keeps a token of any OAuth 2.0 server valid, and prints what
// happens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "docs/examples/outage/oauth_source.h"
#include "docs/examples/outage/report/timeline.h"
#include "docs/examples/outage/url.h"
#include "refreshable/event.h"
#include "refreshable/secret.h"

namespace refreshable_examples {

struct RealServerOptions {
  OAuthOptions oauth;
  // An API to call once a second with the token. If unset, no API is called.
  std::optional<Url> api_url;
};

// Keeps a token valid until `stop()` returns true. Calls `stop` ten times per
// second. The policy is the library's default, with `refresh_ahead` switched
// on. Prints each event that `Describe` describes and, from time to time, a
// line with the current state. Writes one row per second to `csv`.
//
// If the first request for a token fails, or the API cannot be reached at the
// beginning, returns the reason in one line. If that happens later, only prints
// it. At the end, returns UNAVAILABLE if `csv` could not be written.
absl::Status RunRealServer(const RealServerOptions& options, CsvFile& csv,
                           const std::function<bool()>& stop);

// Returns the event as a sentence without a full stop; empty for events that
// add no information.
std::string Describe(const refreshable::Event& event);

// Reads a secret from a file, without the line breaks at its end. Returns
// INVALID_ARGUMENT, naming the file, if the file cannot be read, is empty, or
// has 64 KiB or more and so is no secret.
absl::StatusOr<refreshable::Secret> ReadSecretFile(const std::string& path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_
