// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/http_server.h"

#include "absl/status/status.h"
#include "docs/examples/outage/http_listener.h"
#include "httplib.h"

namespace refreshable_examples {

HttpServer::HttpServer(OAuthServer* server, int threads)
    : server_(server), listener_(std::make_unique<HttpListener>(threads)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    OAuthServer* server, int threads) {
  std::unique_ptr<HttpServer> started(new HttpServer(server, threads));
  httplib::Server& http = started->listener_->http();
  http.Post("/token", [server](const httplib::Request& request,
                               httplib::Response& response) {
    SendAnswer(server->Token(request.get_header_value("Authorization"),
                             request.get_param_value("grant_type")),
               response);
  });
  http.Get("/api", [server](const httplib::Request& request,
                            httplib::Response& response) {
    SendAnswer(server->Api(request.get_header_value("Authorization")),
               response);
  });
  const absl::Status status = started->listener_->Start(/*port=*/0);
  if (!status.ok()) return status;
  return started;
}

std::string HttpServer::token_url() const {
  return listener_->origin() + "/token";
}

std::string HttpServer::api_url() const { return listener_->origin() + "/api"; }

HttpServer::~HttpServer() { server_->Shutdown(); }

}  // namespace refreshable_examples
