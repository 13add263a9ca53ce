// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/http_server.h"

#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "httplib.h"

namespace refreshable_examples {
namespace {

constexpr char kHost[] = "127.0.0.1";

void Send(Answer answer, httplib::Response& response) {
  response.status = answer.status;
  if (!answer.www_authenticate.empty()) {
    response.set_header("WWW-Authenticate", answer.www_authenticate);
  }
  response.set_header("Cache-Control", "no-store");
  response.set_content(answer.body,
                       answer.status == 502 ? "text/html" : "application/json");
}

}  // namespace

struct HttpServer::Listener {
  httplib::Server http;
  std::thread thread;
};

HttpServer::HttpServer(OAuthServer* server)
    : server_(server), listener_(std::make_unique<Listener>()) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    OAuthServer* server, int threads) {
  std::unique_ptr<HttpServer> started(new HttpServer(server));
  httplib::Server& http = started->listener_->http;
  http.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  http.set_tcp_nodelay(true);  // Answers are small and waited for.
  http.set_keep_alive_max_count(1'000'000);
  http.Post("/token", [server](const httplib::Request& request,
                               httplib::Response& response) {
    Send(server->Token(request.get_header_value("Authorization"),
                       request.get_param_value("grant_type")),
         response);
  });
  http.Get("/api", [server](const httplib::Request& request,
                            httplib::Response& response) {
    Send(server->Api(request.get_header_value("Authorization")), response);
  });
  http.Get("/ready", [](const httplib::Request&, httplib::Response& response) {
    response.status = 204;
  });
  const int port = http.bind_to_any_port(kHost);
  if (port <= 0) {
    return absl::UnavailableError("no free port on 127.0.0.1");
  }
  started->base_url_ = absl::StrCat("http://", kHost, ":", port);
  started->listener_->thread =
      std::thread([&http] { http.listen_after_bind(); });
  // A server that does not listen yet cannot be stopped.
  httplib::Client self(kHost, port);
  if (!self.Get("/ready")) {
    return absl::UnavailableError("the server on 127.0.0.1 does not answer");
  }
  return started;
}

HttpServer::~HttpServer() {
  server_->Shutdown();
  listener_->http.stop();
  if (listener_->thread.joinable()) listener_->thread.join();
}

}  // namespace refreshable_examples
