// SPDX-License-Identifier: Apache-2.0
//
// FaultServer: a token endpoint that fails on command, and the API for its
// tokens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_SERVER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "docs/examples/fault_injection/fault.h"
#include "docs/examples/outage/http_listener.h"
#include "docs/examples/outage/oauth_server.h"
#include "httplib.h"

namespace refreshable_examples {

// An HTTP server on 127.0.0.1, with a token endpoint at POST /token?call=N and
// an API at GET /api. The client chooses N, the number of the request. The
// server reports what happens at the token endpoint; each report is one line:
//
//   token N        request N has arrived at the token endpoint, and is not
//                  answered yet
//   sent N BYTES   the huge answer to request N has ended; BYTES is the number
//                  of bytes of the token that the server handed to the kernel,
//                  in whole blocks of 64 KiB
//
// `Do` carries out one of these commands, and then reports the line beside it:
//
//   command        line
//
//   fault NAME     fault NAME
//                  (the fault begins with the next request)
//   revoke TOKEN   revoked
//   counts         counts OK EXPIRED REVOKED OTHER
//                  (the number of requests to the API so far: with a good
//                  token, with an expired token, with a revoked token, others)
class FaultServer {
 public:
  // Calls `say` with each line that the server reports. Several threads may
  // call `say` at the same time.
  explicit FaultServer(std::function<void(absl::string_view line)> say);
  // Completes the answers that Fault::kTrickle delays.
  ~FaultServer();

  // Listens on `port`. Must be called once. Returns UNAVAILABLE if the port is
  // not available.
  absl::Status Start(int port) { return listener_.Start(port); }

  void Do(absl::string_view command);

 private:
  void SetFault(Fault fault);
  void Token(const httplib::Request& request, httplib::Response& response);
  void Api(const httplib::Request& request, httplib::Response& response);
  void Trickle(std::string answer, httplib::Response& response);
  void SendHuge(std::string call, httplib::Response& response);
  bool TrickleIsOver() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return fault_ != Fault::kTrickle;
  }

  const std::function<void(absl::string_view)> say_;
  OAuthServer good_;
  OAuthServer late_;  // Issues tokens that have already expired.

  mutable absl::Mutex mu_;
  Fault fault_ ABSL_GUARDED_BY(mu_) = Fault::kNone;
  int64_t ok_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t expired_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t revoked_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t other_ ABSL_GUARDED_BY(mu_) = 0;

  // Declared last, so that it is destroyed first: its threads use the other
  // members.
  HttpListener listener_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_SERVER_H_
