// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/request.h"

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

constexpr char kUrl[] = "https://idp.example/token";
constexpr char kForm[] = "application/x-www-form-urlencoded";

Endpoint At(std::string url) {
  Endpoint endpoint;
  endpoint.url = std::move(url);
  return endpoint;
}

ClientAuthentication Basic() { return BasicAuthentication("me", Secret("s")); }

std::string BodyOf(const absl::StatusOr<TokenRequest>& request) {
  if (!request.ok()) return request.status().ToString();
  return std::string(request->body.reveal());
}

std::string HeaderOf(const absl::StatusOr<TokenRequest>& request,
                     absl::string_view name) {
  if (!request.ok()) return request.status().ToString();
  for (const auto& [header, value] : request->headers) {
    if (header == name) return std::string(value.reveal());
  }
  return "none";
}

TEST(TokenRequestTest, ClientCredentials) {
  Endpoint endpoint = At(kUrl);
  endpoint.scope = "read write";
  endpoint.parameters.emplace_back("audience", Secret("https://api/?a=1"));
  endpoint.parameters.emplace_back("resource", Secret("a"));
  endpoint.parameters.emplace_back("resource", Secret("b"));
  endpoint.headers.emplace_back("X-Tenant", Secret("7"));
  const auto request = ClientCredentialsRequest(endpoint, Basic());
  EXPECT_EQ(BodyOf(request),
            "grant_type=client_credentials&scope=read+write&"
            "audience=https%3A%2F%2Fapi%2F%3Fa%3D1&resource=a&resource=b");
  EXPECT_EQ(request->url, kUrl);
  EXPECT_EQ(HeaderOf(request, "Accept"), "application/json");
  EXPECT_EQ(HeaderOf(request, "Content-Type"), kForm);
  // The header is the base64 of "me:s".
  EXPECT_EQ(HeaderOf(request, "Authorization"), "Basic bWU6cw==");
  EXPECT_EQ(HeaderOf(request, "X-Tenant"), "7");
}

TEST(TokenRequestTest, TheClientProvesWhoItIs) {
  const struct {
    ClientAuthentication client;
    absl::string_view body;
    absl::string_view authorization;
  } cases[] = {
      // RFC 6749, section 2.3.1: the id and the secret are form-encoded first.
      // The header is the base64 of "a%3A+%25:%C3%BC%2B%26".
      {BasicAuthentication("a: %", Secret("\xC3\xBC+&")), "",
       "Basic YSUzQSslMjU6JUMzJUJDJTJCJTI2"},
      {BasicAuthentication("me", Secret()), "", "Basic bWU6"},
      {PostAuthentication("me", Secret("a&b=c")),
       "&client_id=me&client_secret=a%26b%3Dc", "none"},
      {PublicClient("me"), "&client_id=me", "none"},
      {ClientAuthentication(), "", "none"},
      {AssertionAuthentication("me", Secret("h.p.s")),
       "&client_id=me&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A"
       "client-assertion-type%3Ajwt-bearer&client_assertion=h.p.s",
       "none"},
      {AssertionAuthentication("", Secret("h.p.s"), "t"),
       "&client_assertion_type=t&client_assertion=h.p.s", "none"},
  };
  for (const auto& c : cases) {
    const auto request = RefreshTokenRequest(At(kUrl), c.client, Secret("r"));
    EXPECT_EQ(BodyOf(request),
              absl::StrCat("grant_type=refresh_token&refresh_token=r", c.body));
    EXPECT_EQ(HeaderOf(request, "Authorization"), c.authorization);
  }
}

TEST(TokenRequestTest, OtherGrants) {
  EXPECT_EQ(BodyOf(JwtBearerRequest(At(kUrl), ClientAuthentication(),
                                    Secret("h.p.s"))),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
            "&assertion=h.p.s");
  ExchangeTokens tokens;
  tokens.subject_token = Secret("s");
  EXPECT_EQ(
      BodyOf(TokenExchangeRequest(At(kUrl), ClientAuthentication(), tokens)),
      "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
      "&subject_token=s&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3A"
      "token-type%3Ajwt");
  tokens.subject_token_type = "x";
  tokens.actor_token = Secret("a");
  tokens.actor_token_type = "y";
  tokens.requested_token_type = "z";
  EXPECT_EQ(
      BodyOf(TokenExchangeRequest(At(kUrl), PublicClient("me"), tokens)),
      "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
      "&subject_token=s&subject_token_type=x&actor_token=a&actor_token_type=y"
      "&requested_token_type=z&client_id=me");
}

TEST(TokenRequestTest, AForm) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  const std::string encoded = FormEncode(all);
  EXPECT_TRUE(absl::StrContains(encoded, "%00%01"));
  EXPECT_TRUE(absl::StrContains(encoded, "%1F+%21"));
  EXPECT_TRUE(absl::StrContains(encoded, "%29*%2B%2C-.%2F0123456789%3A"));
  EXPECT_TRUE(absl::StrContains(encoded, "XYZ%5B%5C%5D%5E_%60abc"));
  EXPECT_TRUE(absl::StrContains(encoded, "xyz%7B%7C%7D%7E%7F%80"));
  EXPECT_TRUE(absl::EndsWith(encoded, "%FE%FF"));
}

TEST(TokenRequestTest, AnEndpointThatIsNotValidIsRefused) {
  const struct {
    absl::string_view url;
    // A part of the message; empty if the URL is valid.
    absl::string_view error;
  } cases[] = {
      {"https://idp.example/token", ""},
      {"HTTPS://idp.example:8443/token?tenant=1", ""},
      {"https://[2001:db8::1]:8443", ""},
      {"http://localhost/token", ""},
      {"http://127.0.0.1:80/token", ""},
      {"http://[::1]:80/token", ""},
      {"", "URL is empty"},
      {"idp.example/token", "does not begin with https://"},
      {"ftp://idp.example/", "does not begin with https://"},
      {"https://", "no host"},
      {"https://:443/", "no host"},
      {"https://a:0/", "port"},
      {"https://a:99999/", "port"},
      {"https://a:x/", "port"},
      {"https://me:hunter2@a/", "user name"},
      {"https://a/#f", "fragment"},
      {"https://a/ b", "space"},
      {"https://a/\r\nX: y", "control character"},
      {"http://idp.example/token", "in the clear"},
      {"http://127.0.0.1.evil.example/", "in the clear"},
      {"http://127.evil.example.com/", "in the clear"},
      {"http://localhost.evil.example/", "in the clear"},
  };
  for (const auto& c : cases) {
    const absl::Status status =
        ClientCredentialsRequest(At(std::string(c.url)), Basic()).status();
    EXPECT_EQ(status.ok(), c.error.empty()) << c.url << ": " << status;
    if (c.error.empty()) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), c.error)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "hunter2"));
    EXPECT_FALSE(absl::StrContains(status.message(), "\n"));
  }
  Endpoint plain = At("http://metadata.internal/token");
  plain.allow_plain_http = true;
  EXPECT_TRUE(ClientCredentialsRequest(plain, Basic()).ok());
}

TEST(TokenRequestTest, FieldsThatAreNotValidAreRefused) {
  const struct {
    absl::string_view scope;
    absl::string_view parameter;
    absl::string_view header;
    absl::string_view value;
    absl::string_view error;
  } cases[] = {
      {"", "p", "X-A", "v", ""},
      {"a\nb", "p", "X-A", "v", "the scope"},
      {"a\"b", "p", "X-A", "v", "the scope"},
      {"", "", "X-A", "v", "the name of a parameter is empty"},
      {"", "refresh_token", "X-A", "v", "the parameter refresh_token"},
      {"", "client_secret", "X-A", "v", "the parameter client_secret"},
      {"", "p", "", "v", "the name of a header"},
      {"", "p", "X A", "v", "the name of a header"},
      {"", "p", "X-A", "hunter2\r\nX-B: c", "the value of the header X-A"},
      {"", "p", "authorization", "v", "the header authorization"},
      {"", "p", "X-Other", "v", "occurs twice"},
  };
  for (const auto& c : cases) {
    Endpoint endpoint = At(kUrl);
    endpoint.scope = std::string(c.scope);
    endpoint.parameters.emplace_back(std::string(c.parameter), Secret("v"));
    endpoint.headers.emplace_back("x-other", Secret("1"));
    endpoint.headers.emplace_back(std::string(c.header), Secret(c.value));
    const absl::Status status =
        ClientCredentialsRequest(endpoint, Basic()).status();
    EXPECT_EQ(status.ok(), c.error.empty()) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.error)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "hunter2"));
  }
}

TEST(TokenRequestTest, MissingPartsAreRefused) {
  const Endpoint endpoint = At(kUrl);
  const std::vector<absl::Status> all = {
      ClientCredentialsRequest(endpoint, ClientAuthentication()).status(),
      ClientCredentialsRequest(endpoint, PublicClient("me")).status(),
      ClientCredentialsRequest(endpoint, BasicAuthentication("", Secret("s")))
          .status(),
      ClientCredentialsRequest(endpoint, PostAuthentication("", Secret("s")))
          .status(),
      ClientCredentialsRequest(endpoint,
                               AssertionAuthentication("me", Secret()))
          .status(),
      ClientCredentialsRequest(endpoint,
                               AssertionAuthentication("me", Secret("a"), ""))
          .status(),
      RefreshTokenRequest(endpoint, Basic(), Secret()).status(),
      JwtBearerRequest(endpoint, Basic(), Secret()).status(),
      TokenExchangeRequest(endpoint, Basic(), ExchangeTokens()).status(),
  };
  for (const absl::Status& status : all) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "OAuth 2.0: ")) << status;
  }
}

TEST(TokenRequestTest, S3ARequestShowsNoSecret) {
  Endpoint endpoint = At(absl::StrCat(kUrl, "?key=hunter2"));
  endpoint.parameters.emplace_back("p", Secret("hunter2"));
  const auto request = ClientCredentialsRequest(
      endpoint, PostAuthentication("me", Secret("hunter2")));
  ASSERT_TRUE(request.ok()) << request.status();
  std::ostringstream shown;
  shown << *request << request->body << testing::PrintToString(*request)
        << testing::PrintToString(request->headers);
  EXPECT_FALSE(absl::StrContains(shown.str(), "hunter2")) << shown.str();
  EXPECT_TRUE(absl::StrContains(shown.str(), kUrl)) << shown.str();
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
