// SPDX-License-Identifier: Apache-2.0
//
// FaultServer: a token endpoint that fails on command, and an API.

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
// server reports what happens at the token endpoint, one line each time:
//
//   token N        request N has arrived and is not answered yet
//   sent N BYTES   request N met Fault::kHuge, and its answer has ended; BYTES
//                  is how many bytes of the token went to the kernel, rounded
//                  down to whole blocks of 64 KiB
//
// `Do` carries out one of these commands, and then reports the line beside it:
//
//   command        line
//
//   fault NAME     fault NAME
//                  (the fault begins with the next request)
//   revoke TOKEN   revoked
//   counts         counts OK EXPIRED REVOKED OTHER
//                  (the requests to the API so far, by the state of their
//                  token)
class FaultServer {
 public:
  // Calls `say` with each line. Several threads may call `say` at once.
  explicit FaultServer(std::function<void(absl::string_view line)> say);
  // Completes the answers that Fault::kTrickle delays.
  ~FaultServer();

  // Must be called once. Returns UNAVAILABLE if the port is not available.
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

  // Declared last, because its threads use the other members.
  HttpListener listener_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_SERVER_H_
