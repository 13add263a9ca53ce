// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/http_listener.h"

#include "absl/strings/str_cat.h"

namespace refreshable_examples {
namespace {

constexpr char kHost[] = "127.0.0.1";

}  // namespace

HttpListener::HttpListener(int threads) {
  http_.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  http_.set_tcp_nodelay(true);  // Sends small answers at once.
  http_.set_keep_alive_max_count(1'000'000);
  http_.Get("/ready", [](const httplib::Request&, httplib::Response& response) {
    response.status = 204;
  });
}

absl::Status HttpListener::Start(int port) {
  const int bound = port == 0 ? http_.bind_to_any_port(kHost)
                    : http_.bind_to_port(kHost, port) ? port
                                                      : -1;
  if (bound <= 0) {
    return absl::UnavailableError(
        port == 0 ? std::string("no free port on 127.0.0.1")
                  : absl::StrCat("cannot listen on port ", port));
  }
  origin_ = absl::StrCat("http://", kHost, ":", bound);
  thread_ = std::thread([this] { http_.listen_after_bind(); });
  // Waits until the server answers. Before that, the destructor might not be
  // able to stop the server.
  httplib::Client self(kHost, bound);
  if (!self.Get("/ready")) {
    return absl::UnavailableError("the server on 127.0.0.1 does not answer");
  }
  return absl::OkStatus();
}

HttpListener::~HttpListener() {
  http_.stop();
  if (thread_.joinable()) thread_.join();
}

void SendAnswer(const Answer& answer, httplib::Response& response) {
  response.status = answer.status;
  if (!answer.www_authenticate.empty()) {
    response.set_header("WWW-Authenticate", answer.www_authenticate);
  }
  response.set_header("Cache-Control", "no-store");
  response.set_content(answer.body,
                       answer.status == 502 ? "text/html" : "application/json");
}

}  // namespace refreshable_examples
