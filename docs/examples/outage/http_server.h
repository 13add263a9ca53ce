// SPDX-License-Identifier: Apache-2.0
//
// HttpServer: an OAuthServer on loopback.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "docs/examples/outage/http_listener.h"
#include "docs/examples/outage/oauth_server.h"

namespace refreshable_examples {

// Passes POST /token and GET /api on a free port of 127.0.0.1 to an
// OAuthServer. The destructor ends hanging requests, and waits until every
// connection is closed.
class HttpServer {
 public:
  // Returns UNAVAILABLE if the server cannot start. Each open connection needs
  // one of the `threads`. `server` must outlive the result.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(OAuthServer* server,
                                                           int threads);
  ~HttpServer();

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string token_url() const;
  std::string api_url() const;

 private:
  HttpServer(OAuthServer* server, int threads);

  OAuthServer* const server_;
  const std::unique_ptr<HttpListener> listener_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_SERVER_H_
