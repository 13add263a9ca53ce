// SPDX-License-Identifier: Apache-2.0
//
// TokenRequest: a request to an OAuth 2.0 token endpoint, as a value. A
// Transport sends it (transport.h).

#ifndef REFRESHABLE_OAUTH2_REQUEST_H_
#define REFRESHABLE_OAUTH2_REQUEST_H_

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {

// The parameters of a form, or header fields: names and values, in the order in
// which they are sent.
using Fields = std::vector<std::pair<std::string, Secret>>;

// One POST request.
struct TokenRequest {
  std::string url;
  // All header fields except those that an HTTP client adds by itself. No name
  // occurs twice.
  Fields headers;
  // The parameters of the form, encoded as application/x-www-form-urlencoded.
  Secret body;

  // Shows the URL without its query, and nothing else.
  friend std::ostream& operator<<(std::ostream& os, const TokenRequest& r) {
    return os << "TokenRequest(" << r.url.substr(0, r.url.find('?')) << ")";
  }
};

// How a client proves who it is (RFC 6749, section 2.3). The four functions
// below make the values of all methods except kNone.
struct ClientAuthentication {
  enum class Method {
    kNone,       // The request names no client.
    kPublic,     // The form has `client_id`.
    kBasic,      // A header has the id and the secret (HTTP Basic).
    kPost,       // The form has `client_id` and `client_secret`.
    kAssertion,  // The form has a signed assertion, and `client_id` if not "".
  };
  Method method = Method::kNone;
  std::string client_id;
  Secret secret;               // The client's secret, or the assertion.
  std::string assertion_type;  // Only for kAssertion.
};

// Returns kBasic with an id and a secret. A request form-encodes both before
// encoding them as HTTP Basic (RFC 6749, section 2.3.1). The form encoding
// changes every byte except letters, digits, "-", ".", "_" and "*".
ClientAuthentication BasicAuthentication(std::string client_id, Secret secret);

// Returns kPost with an id and a secret. Use it for servers that do not
// understand HTTP Basic.
ClientAuthentication PostAuthentication(std::string client_id, Secret secret);

// Returns kPublic with an id, for a client that has no secret.
ClientAuthentication PublicClient(std::string client_id);

// Returns kAssertion with an assertion that the client has signed (RFC 7523,
// section 2.2: "private_key_jwt" and "client_secret_jwt"). If `client_id` is
// empty, the server must find the id in the assertion.
ClientAuthentication AssertionAuthentication(
    std::string client_id, Secret assertion,
    std::string assertion_type =
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

// What all requests to one endpoint have in common.
struct Endpoint {
  // The address of the token endpoint, without a user name or a fragment. It
  // must be https, unless the host is this machine ("localhost", 127.0.0.0/8,
  // [::1]) or `allow_plain_http` is set.
  std::string url;
  bool allow_plain_http = false;
  // The scopes, separated by spaces. If empty, the server chooses.
  std::string scope;
  // Further parameters of the form, such as "audience" and "resource". A name
  // may occur several times. No name may be one that this library sends itself.
  Fields parameters;
  // Further header fields. No name may occur twice, or be Accept,
  // Authorization, Connection, Content-Length, Content-Type, Host or
  // Transfer-Encoding.
  Fields headers;
};

// The tokens of a token exchange (RFC 8693, section 2.1).
struct ExchangeTokens {
  Secret subject_token;
  std::string subject_token_type = "urn:ietf:params:oauth:token-type:jwt";
  Secret actor_token;  // If empty, there is no actor.
  std::string actor_token_type = "urn:ietf:params:oauth:token-type:jwt";
  std::string requested_token_type;  // If empty, the server chooses.
};

// Each of the next four functions returns the request of one grant. It returns
// INVALID_ARGUMENT if `endpoint` or `client` is not valid, or if a required
// token, assertion or type is empty. The message says what is wrong, and
// contains no value. Thread-safe. Never blocks.

// The client credentials grant: RFC 6749, section 4.4. Also returns
// INVALID_ARGUMENT if the method of `client` is kNone or kPublic.
absl::StatusOr<TokenRequest> ClientCredentialsRequest(
    const Endpoint& endpoint, const ClientAuthentication& client);

// The refresh token grant: RFC 6749, section 6.
absl::StatusOr<TokenRequest> RefreshTokenRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const Secret& refresh_token);

// The JWT bearer grant: RFC 7523, section 2.1. `assertion` is a signed JWT.
absl::StatusOr<TokenRequest> JwtBearerRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const Secret& assertion);

// The token exchange grant: RFC 8693, section 2.1.
absl::StatusOr<TokenRequest> TokenExchangeRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const ExchangeTokens& tokens);

// Each of these two functions returns OK if its argument is valid for at least
// one of the four functions above. Otherwise it returns INVALID_ARGUMENT.
absl::Status ValidateEndpoint(const Endpoint& endpoint);
absl::Status ValidateClient(const ClientAuthentication& client);

// Returns `text` encoded as application/x-www-form-urlencoded. The caller must
// wipe the result if `text` is a secret.
std::string FormEncode(absl::string_view text);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_REQUEST_H_
