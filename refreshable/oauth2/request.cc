// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/request.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace refreshable {
namespace oauth2 {
namespace {

using Method = ClientAuthentication::Method;

// Parameters that the user may not set, because this library sends them.
constexpr std::array<absl::string_view, 13> kOwnParameters = {
    "grant_type",          "client_id",   "client_secret",
    "client_assertion",    "scope",       "client_assertion_type",
    "refresh_token",       "assertion",   "subject_token",
    "subject_token_type",  "actor_token", "actor_token_type",
    "requested_token_type"};
// Headers that this library or an HTTP client sends.
constexpr std::array<absl::string_view, 7> kOwnHeaders = {
    "Accept", "Authorization",  "Connection",       "Content-Type",
    "Host",   "Content-Length", "Transfer-Encoding"};

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("OAuth 2.0: ", what));
}

// The capacity of `out` must be large enough already: growing would leave
// copies of secrets in freed memory.
void AppendEncoded(absl::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) ||
        absl::string_view("-._*").find(c) != absl::string_view::npos) {
      out.push_back(c);
    } else if (c == ' ') {
      out.push_back('+');
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
}

class Form {
 public:
  // The bytes of `name` and `value` must stay valid until `Build` has returned.
  void Add(absl::string_view name, absl::string_view value) {
    parameters_.emplace_back(name, value);
  }
  void AddIfAny(absl::string_view name, absl::string_view value) {
    if (!value.empty()) Add(name, value);
  }

  Secret Build() const {
    size_t most = 0;
    for (const auto& [name, value] : parameters_) {
      most += 3 * (name.size() + value.size()) + 2;
    }
    std::string body;
    body.reserve(most);
    for (const auto& [name, value] : parameters_) {
      if (!body.empty()) body.push_back('&');
      AppendEncoded(name, body);
      body.push_back('=');
      AppendEncoded(value, body);
    }
    return Secret::TakeFrom(body);
  }

 private:
  std::vector<std::pair<absl::string_view, absl::string_view>> parameters_;
};

Secret BasicHeader(const ClientAuthentication& client) {
  std::string pair;
  pair.reserve(3 * (client.client_id.size() + client.secret.size()) + 1);
  AppendEncoded(client.client_id, pair);
  pair.push_back(':');
  AppendEncoded(client.secret.reveal(), pair);
  std::string encoded;
  absl::Base64Escape(pair, &encoded);
  const Secret wiped = Secret::TakeFrom(pair);
  std::string header;
  header.reserve(6 + encoded.size());
  absl::StrAppend(&header, "Basic ", encoded);
  const Secret wiped_too = Secret::TakeFrom(encoded);
  return Secret::TakeFrom(header);
}

bool IsThisMachine(absl::string_view host) {
  const std::string name = absl::AsciiStrToLower(host);
  if (name == "localhost" || name == "[::1]") return true;
  const std::vector<std::string> parts = absl::StrSplit(name, '.');
  return parts.size() == 4 && parts[0] == "127" &&
         std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
           int number = 0;
           return absl::SimpleAtoi(part, &number) && number >= 0 &&
                  number <= 255;
         });
}

absl::Status ValidateUrl(const Endpoint& endpoint) {
  const absl::string_view url = endpoint.url;
  if (url.empty()) return Invalid("the token URL is empty");
  if (!std::all_of(url.begin(), url.end(), [](char c) {
        return absl::ascii_isgraph(static_cast<unsigned char>(c));
      })) {
    return Invalid("the token URL contains a space or a control character");
  }
  const bool https = absl::StartsWithIgnoreCase(url, "https://");
  if (!https && !absl::StartsWithIgnoreCase(url, "http://")) {
    return Invalid("the token URL does not begin with https://");
  }
  if (absl::StrContains(url, "#")) {
    return Invalid("the token URL has a fragment (#)");
  }
  const absl::string_view rest = url.substr(https ? 8 : 7);
  const absl::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  if (absl::StrContains(authority, "@")) {
    return Invalid(
        "the token URL contains a user name; no secret belongs in a "
        "URL");
  }
  // A colon inside brackets belongs to an IPv6 address.
  const size_t bracket = authority.rfind(']');
  const size_t colon =
      authority.find(':', bracket == absl::string_view::npos ? 0 : bracket);
  const absl::string_view host = authority.substr(0, colon);
  if (host.empty()) return Invalid("the token URL has no host");
  if (colon != absl::string_view::npos) {
    int port = 0;
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 ||
        port > 65535) {
      return Invalid("the port of the token URL is not one of 1 to 65535");
    }
  }
  if (!https && !endpoint.allow_plain_http && !IsThisMachine(host)) {
    return Invalid(
        "the token URL is http, which would send secrets in the "
        "clear; use https, or set allow_plain_http");
  }
  return absl::OkStatus();
}

bool IsHeaderName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view("!#$%&'*+-.^_`|~").find(c) !=
               absl::string_view::npos;
  });
}

bool IsHeaderValue(absl::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    return c != '\t' && absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
}

absl::Status ValidateHeaders(const Fields& headers) {
  for (size_t i = 0; i < headers.size(); ++i) {
    const std::string& name = headers[i].first;
    // The message does not show the name: the user may have swapped it with the
    // value, which may be a secret.
    if (!IsHeaderName(name))
      return Invalid("the name of a header is not valid");
    if (!IsHeaderValue(headers[i].second.reveal())) {
      return Invalid(absl::StrCat("the value of the header ", name,
                                  " contains a control character"));
    }
    const auto same = [&](absl::string_view other) {
      return absl::EqualsIgnoreCase(other, name);
    };
    if (std::any_of(kOwnHeaders.begin(), kOwnHeaders.end(), same)) {
      return Invalid(absl::StrCat("the header ", name,
                                  " is sent by the library or the transport"));
    }
    for (size_t k = 0; k < i; ++k) {
      if (same(headers[k].first)) {
        return Invalid(absl::StrCat("the header ", name, " occurs twice"));
      }
    }
  }
  return absl::OkStatus();
}

// `form` has `grant_type` and the parameters of the grant. Build adds those of
// `endpoint` and `client`.
absl::StatusOr<TokenRequest> Build(const Endpoint& endpoint,
                                   const ClientAuthentication& client,
                                   Form form) {
  if (absl::Status status = ValidateEndpoint(endpoint); !status.ok()) {
    return status;
  }
  if (absl::Status status = ValidateClient(client); !status.ok()) return status;
  TokenRequest request;
  request.url = endpoint.url;
  request.headers = endpoint.headers;
  request.headers.emplace_back("Accept", Secret("application/json"));
  request.headers.emplace_back("Content-Type",
                               Secret("application/x-www-form-urlencoded"));
  form.AddIfAny("scope", endpoint.scope);
  for (const auto& [name, value] : endpoint.parameters) {
    form.Add(name, value.reveal());
  }
  switch (client.method) {
    case Method::kNone:
      break;
    case Method::kPublic:
      form.Add("client_id", client.client_id);
      break;
    case Method::kBasic:
      request.headers.emplace_back("Authorization", BasicHeader(client));
      break;
    case Method::kPost:
      form.Add("client_id", client.client_id);
      form.Add("client_secret", client.secret.reveal());
      break;
    case Method::kAssertion:
      form.AddIfAny("client_id", client.client_id);
      form.Add("client_assertion_type", client.assertion_type);
      form.Add("client_assertion", client.secret.reveal());
      break;
  }
  request.body = form.Build();
  return request;
}

ClientAuthentication Client(Method method, std::string client_id,
                            Secret secret) {
  ClientAuthentication client;
  client.method = method;
  client.client_id = std::move(client_id);
  client.secret = std::move(secret);
  return client;
}

}  // namespace

ClientAuthentication BasicAuthentication(std::string client_id, Secret secret) {
  return Client(Method::kBasic, std::move(client_id), std::move(secret));
}

ClientAuthentication PostAuthentication(std::string client_id, Secret secret) {
  return Client(Method::kPost, std::move(client_id), std::move(secret));
}

ClientAuthentication PublicClient(std::string client_id) {
  return Client(Method::kPublic, std::move(client_id), Secret());
}

ClientAuthentication AssertionAuthentication(std::string client_id,
                                             Secret assertion,
                                             std::string assertion_type) {
  ClientAuthentication client =
      Client(Method::kAssertion, std::move(client_id), std::move(assertion));
  client.assertion_type = std::move(assertion_type);
  return client;
}

absl::StatusOr<TokenRequest> ClientCredentialsRequest(
    const Endpoint& endpoint, const ClientAuthentication& client) {
  if (client.method == Method::kNone || client.method == Method::kPublic) {
    return Invalid(
        "client credentials need a client with a secret or an "
        "assertion");
  }
  Form form;
  form.Add("grant_type", "client_credentials");
  return Build(endpoint, client, std::move(form));
}

absl::StatusOr<TokenRequest> RefreshTokenRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const Secret& refresh_token) {
  if (refresh_token.empty()) return Invalid("the refresh token is empty");
  Form form;
  form.Add("grant_type", "refresh_token");
  form.Add("refresh_token", refresh_token.reveal());
  return Build(endpoint, client, std::move(form));
}

absl::StatusOr<TokenRequest> JwtBearerRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const Secret& assertion) {
  if (assertion.empty()) return Invalid("the assertion is empty");
  Form form;
  form.Add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
  form.Add("assertion", assertion.reveal());
  return Build(endpoint, client, std::move(form));
}

absl::StatusOr<TokenRequest> TokenExchangeRequest(
    const Endpoint& endpoint, const ClientAuthentication& client,
    const ExchangeTokens& tokens) {
  if (tokens.subject_token.empty()) {
    return Invalid("the subject token is empty");
  }
  if (tokens.subject_token_type.empty()) {
    return Invalid("the type of the subject token is empty");
  }
  if (!tokens.actor_token.empty() && tokens.actor_token_type.empty()) {
    return Invalid("the type of the actor token is empty");
  }
  Form form;
  form.Add("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
  form.Add("subject_token", tokens.subject_token.reveal());
  form.Add("subject_token_type", tokens.subject_token_type);
  if (!tokens.actor_token.empty()) {
    form.Add("actor_token", tokens.actor_token.reveal());
    form.Add("actor_token_type", tokens.actor_token_type);
  }
  form.AddIfAny("requested_token_type", tokens.requested_token_type);
  return Build(endpoint, client, std::move(form));
}

absl::Status ValidateEndpoint(const Endpoint& endpoint) {
  if (absl::Status status = ValidateUrl(endpoint); !status.ok()) return status;
  // RFC 6749, section 3.3, does not permit these bytes in a scope.
  for (const char c : endpoint.scope) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') {
      return Invalid(
          "the scope contains a character that no scope may contain");
    }
  }
  for (const auto& [name, value] : endpoint.parameters) {
    if (name.empty()) return Invalid("the name of a parameter is empty");
    if (std::find(kOwnParameters.begin(), kOwnParameters.end(), name) !=
        kOwnParameters.end()) {
      return Invalid(
          absl::StrCat("the parameter ", name, " is sent by the library"));
    }
  }
  return ValidateHeaders(endpoint.headers);
}

absl::Status ValidateClient(const ClientAuthentication& client) {
  switch (client.method) {
    case Method::kNone:
      break;
    case Method::kPublic:
    case Method::kBasic:
    case Method::kPost:
      // The secret may be empty.
      if (client.client_id.empty()) return Invalid("the client id is empty");
      break;
    case Method::kAssertion:
      if (client.secret.empty()) {
        return Invalid("the client assertion is empty");
      }
      if (client.assertion_type.empty()) {
        return Invalid("the type of the client assertion is empty");
      }
      break;
  }
  return absl::OkStatus();
}

std::string FormEncode(absl::string_view text) {
  std::string out;
  out.reserve(3 * text.size());
  AppendEncoded(text, out);
  return out;
}

}  // namespace oauth2
}  // namespace refreshable
