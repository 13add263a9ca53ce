// SPDX-License-Identifier: Apache-2.0
//
// KeepToken: keeps a token of a real OAuth 2.0 server valid, and prints what
// happens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_KEEP_TOKEN_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_KEEP_TOKEN_H_

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

struct KeepTokenOptions {
  OAuthOptions oauth;
  // An API to call about once a second with the token.
  std::optional<Url> api_url;
};

// Requests a token and, if `options.api_url` is set, calls the API once. If the
// request fails or the API cannot be reached, returns an error whose message is
// one line. Otherwise keeps the token valid until `stop()` returns true, even
// if nobody reads the token.
//
// Until then, prints each failed call of the API, each event that `Describe`
// describes and, from time to time, the current state. Between calls of the
// API, calls `stop` about ten times per second, and writes about one row per
// second to `csv`. Returns UNAVAILABLE at the end if `csv` could not be
// written.
absl::Status KeepToken(const KeepTokenOptions& options, CsvFile& csv,
                       const std::function<bool()>& stop);

// Returns an empty string if the event says that the token has become fresh.
std::string Describe(const refreshable::Event& event);

// Reads a secret from a file, without the line breaks at its end. Returns
// INVALID_ARGUMENT if the file cannot be read, has 64 KiB or more, or holds no
// secret. The message names the file.
absl::StatusOr<refreshable::Secret> ReadSecretFile(const std::string& path);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_KEEP_TOKEN_H_
