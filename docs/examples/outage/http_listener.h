// SPDX-License-Identifier: Apache-2.0
//
// HttpListener: an HTTP server on loopback.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_LISTENER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_LISTENER_H_

#include <string>
#include <thread>

#include "absl/status/status.h"
#include "docs/examples/outage/oauth_server.h"
#include "httplib.h"

namespace refreshable_examples {

// An HTTP server on 127.0.0.1. Add routes to `http()`, then call `Start` once.
// The destructor waits until every connection is closed.
class HttpListener {
 public:
  // Each open connection needs one of the `threads`.
  explicit HttpListener(int threads);
  ~HttpListener();

  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;

  httplib::Server& http() { return http_; }

  // Listens on `port`, or on a free port if `port` is 0, and waits until the
  // server answers. Returns UNAVAILABLE if the server cannot listen or does not
  // answer.
  absl::Status Start(int port);

  // The origin has the form "http://127.0.0.1:8080". Requires: `Start` has
  // returned OK.
  const std::string& origin() const { return origin_; }

 private:
  httplib::Server http_;
  std::string origin_;
  std::thread thread_;
};

// Also adds the headers Content-Type and Cache-Control.
void SendAnswer(const Answer& answer, httplib::Response& response);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_LISTENER_H_
