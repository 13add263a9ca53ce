// SPDX-License-Identifier: Apache-2.0
//
// RequestToken and OAuthSource: get tokens by the client credentials grant (RFC
// 6749, section 4.4), with the library's OAuth 2.0 part.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "docs/examples/outage/url.h"
#include "refreshable/credential.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {

struct OAuthOptions {
  Url token_url;
  std::string client_id;
  refreshable::Secret client_secret;
  std::string scope;  // If empty, the server chooses the scope.
};

// Returns the token, or the reason why there is none.
absl::StatusOr<refreshable::Credential<std::string>> ReadTokenAnswer(
    const refreshable::oauth2::HttpAnswer& answer);

// Requests one token by the client credentials grant (RFC 6749, section 4.4),
// with HTTP Basic authentication. An error's message contains only two parts of
// the server's answer: the HTTP status, and what looks like an error code.
// `timeout` limits each step of the request (see SendWithHttplib). Meant to be
// copied.
absl::StatusOr<refreshable::Credential<std::string>> RequestToken(
    const OAuthOptions& options, absl::Duration timeout);

// The source calls RequestToken with the timeout of the attempt. Meant to be
// copied.
std::shared_ptr<refreshable::TokenSource<std::string>> OAuthSource(
    OAuthOptions options);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
