// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/oauth_source.h"

#include <utility>

#include "docs/examples/outage/http_transport.h"
#include "refreshable/integrations/oauth2_json/read_json.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/oauth2/transport.h"

namespace refreshable_examples {

namespace oauth2 = refreshable::oauth2;
using Result = absl::StatusOr<refreshable::Credential<std::string>>;

Result ReadTokenAnswer(const oauth2::HttpAnswer& answer) {
  const auto token = oauth2::InterpretAnswer(
      answer, oauth2::ReadJson(answer.body.reveal()), {});
  if (!token.ok()) return token.status();
  return refreshable::Credential<std::string>(
      std::string(token->credential.token.reveal()), token->credential.expiry);
}

Result RequestToken(const OAuthOptions& options, absl::Duration timeout) {
  oauth2::Endpoint endpoint;
  endpoint.url = options.token_url.origin + options.token_url.target;
  endpoint.scope = options.scope;
  const auto request = oauth2::ClientCredentialsRequest(
      endpoint,
      oauth2::BasicAuthentication(options.client_id, options.client_secret));
  if (!request.ok()) return request.status();
  oauth2::SendOptions send;
  send.timeout = timeout;
  const auto answer = SendWithHttplib(*request, send);
  if (!answer.ok()) return answer.status();
  return ReadTokenAnswer(*answer);
}

std::shared_ptr<refreshable::TokenSource<std::string>> OAuthSource(
    OAuthOptions options) {
  return refreshable::BlockingSource<std::string>(
      [options = std::move(options)](const refreshable::FetchContext& context) {
        return RequestToken(options, context.timeout());
      });
}

}  // namespace refreshable_examples
