// SPDX-License-Identifier: Apache-2.0
//
// RunRealServer: keeps a token of any OAuth 2.0 server valid, and says what
// happens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "docs/examples/outage/oauth_source.h"
#include "docs/examples/outage/timeline.h"
#include "docs/examples/outage/url.h"
#include "refreshable/event.h"
#include "refreshable/secret.h"

namespace refreshable_examples {

struct RealServerOptions {
  OAuthSource::Options oauth;
  // Called once a second, with the token; unset: the token is only kept.
  std::optional<Url> api_url;
};

// Until `stop()` is true, which is asked ten times a second: keeps a token
// valid with the library's default policy, prints each event, and a line now
// and then of how things stand; writes a row a second into `csv`.
//
// If the first request to either server fails, returns why, in one line; later
// failures are only reported.
absl::Status RunRealServer(const RealServerOptions& options, CsvFile& csv,
                           const std::function<bool()>& stop);

// The event as a sentence without a full stop; empty for those that say nothing
// beyond their neighbours.
std::string Describe(const refreshable::Event& event);

// A secret's file without the line feed at its end. INVALID_ARGUMENT, naming
// the file, if it cannot be read or is empty.
absl::StatusOr<refreshable::Secret> ReadSecretFile(const std::string& path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REAL_SERVER_H_
