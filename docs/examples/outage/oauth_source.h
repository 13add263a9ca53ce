// SPDX-License-Identifier: Apache-2.0
//
// OAuthSource: a token source for any OAuth 2.0 server. A model to copy.

#ifndef DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
#define DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "docs/examples/outage/url.h"
#include "refreshable/credential.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {

// Obtains access tokens by the client credentials grant (RFC 6749, section
// 4.4). The client authenticates by HTTP Basic. Thread-safe; every call opens a
// connection of its own and gives up at the attempt's deadline.
//
// No status of it holds the secret or a token, not even where the server's
// answer does.
class OAuthSource final : public refreshable::TokenSource<std::string> {
 public:
  struct Options {
    Url token_url;
    std::string client_id;
    std::string client_secret;
    std::string scope;  // Empty: whatever the server gives.
  };

  explicit OAuthSource(Options options);

  void Fetch(const refreshable::FetchContext& context,
             refreshable::FetchDone<std::string> done) override;

  // The same without a Refreshable around it: one request.
  absl::StatusOr<refreshable::Credential<std::string>> Request(
      absl::Duration timeout) const;

 private:
  absl::StatusOr<refreshable::Credential<std::string>> Send(
      absl::Duration timeout) const;

  const Options options_;
};

// What the answer of a token endpoint means. `retry_after` is the value of that
// header, empty if there is none; `now` is what a date in it is measured from.
//
//   200 with an access token      the credential (RFC 6749, section 5.1)
//   429                           RESOURCE_EXHAUSTED   wait as long as it says
//   502, 503, 504                 UNAVAILABLE          try again
//   other, by its `error` (RFC 6749, section 5.2):
//     invalid_client              UNAUTHENTICATED      a retry will not help
//     invalid_scope, ...          INVALID_ARGUMENT     the same
//     anything else               FAILED_PRECONDITION  the same
absl::StatusOr<refreshable::Credential<std::string>> ReadTokenAnswer(
    int http_status, absl::string_view body, absl::string_view retry_after,
    absl::Time now);

}  // namespace refreshable_examples

#endif  // DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
