// SPDX-License-Identifier: Apache-2.0
//
// OAuthSource: a token source for any OAuth 2.0 server. Meant to be copied.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "docs/examples/outage/url.h"
#include "refreshable/credential.h"
#include "refreshable/http_error.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {

// The maximum size in bytes of the body of a token endpoint's answer.
constexpr size_t kLongestAnswer = 64 * 1024;

// A token source that obtains access tokens by the client credentials grant
// (RFC 6749, section 4.4). The client authenticates by HTTP Basic. Thread-safe.
// Every call opens a new connection. A call fails at the attempt's deadline, or
// if the body of the answer is longer than `kLongestAnswer`. (If a server sends
// the headers of its answer very slowly, the call may fail only after the
// deadline.) The program should ignore SIGPIPE: cpp-httplib may write to a
// closed connection.
//
// No status of this source contains the secret or a token, even if the server's
// answer does.
class OAuthSource final : public refreshable::TokenSource<std::string> {
 public:
  struct Options {
    Url token_url;
    std::string client_id;
    refreshable::Secret client_secret;
    std::string scope;  // If empty, the server chooses the scope.
  };

  explicit OAuthSource(Options options);

  void Fetch(const refreshable::FetchContext& context,
             refreshable::FetchDone<std::string> done) override;

  // Makes one request, as `Fetch` does, and returns its result. Needs no
  // Refreshable.
  absl::StatusOr<refreshable::Credential<std::string>> Request(
      absl::Duration timeout) const;

 private:
  const Options options_;
};

// Interprets the answer of a token endpoint. Returns the credential for a 200
// with an access token (RFC 6749, section 5.1), and otherwise the result of
// `HttpErrorToStatus` with the `error` of the JSON body (section 5.2). `now` is
// the wall time at which the answer arrived.
absl::StatusOr<refreshable::Credential<std::string>> ReadTokenAnswer(
    int http_status, absl::string_view body,
    absl::Span<const refreshable::HttpHeader> headers, absl::Time now);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SOURCE_H_
