// SPDX-License-Identifier: Apache-2.0
//
// ServerProcess: a fault_server in a separate process, and a record of the
// requests that it received.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_SERVER_PROCESS_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_SERVER_PROCESS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/fault_injection/child_process.h"
#include "docs/examples/fault_injection/fault.h"
#include "docs/examples/fault_injection/free_port.h"
#include "docs/examples/outage/url.h"

namespace refreshable_examples {

// A fault_server in a separate process, and a record of the requests that it
// received. Any thread may call the const methods. Only the thread that called
// `Start` may call the other methods.
class ServerProcess {
 public:
  // How often the API gave each kind of answer since the server's last start.
  struct ApiCounts {
    int64_t ok = 0;
    int64_t expired = 0;
    int64_t revoked = 0;
    int64_t other = 0;
  };

  // Starts the server on a free port, and waits until the server listens.
  // Returns UNAVAILABLE if the system grants no port or process. If the server
  // does not listen within a minute, ends the program.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start();

  Url token_url() const { return {origin(), "/token"}; }
  Url api_url() const { return {origin(), "/api"}; }

  // Each of these methods sends the server a command, and waits until the
  // server has carried it out.
  void SetFault(Fault fault);
  void Revoke(absl::string_view token);
  ApiCounts CountApi();

  // `Kill` kills the server with SIGKILL. `StartAgain` then starts a new server
  // on the same port, and waits and fails as `Start` does. The new server has
  // no fault and no revoked tokens.
  void Kill() { child_->Kill(); }
  absl::Status StartAgain();

  // `Stop` suspends the server with SIGSTOP.
  void Stop() { child_->Stop(); }
  void Continue() { child_->Continue(); }

  // Ends the server normally and returns its exit status. Requires: the server
  // is running.
  int Close() { return child_->Close(); }

  // Clients number their requests. Returns for each number how often the token
  // endpoint has received the request. A restart does not reset the counts.
  std::map<int64_t, int> token_requests() const;
  // Returns false if `timeout` passes first.
  bool AwaitTokenRequest(int64_t number, absl::Duration timeout) const;
  // Waits until `count` huge answers (`Fault::kHuge`) have ended. Returns the
  // largest number of bytes that the server has sent of one answer. Returns
  // nullopt if `timeout` passes first.
  std::optional<int64_t> AwaitMostSent(int64_t count,
                                       absl::Duration timeout) const;

 private:
  explicit ServerProcess(FreePort port);

  std::string origin() const;
  void Hear(absl::string_view line);
  std::string Ask(absl::string_view command, absl::string_view answer);
  // Waits for a line of the server that starts with `answer`, and returns the
  // rest of that line. If no such line comes within a minute, ends the program.
  std::string AwaitAnswer(absl::string_view answer);

  const FreePort port_;

  mutable absl::Mutex mu_;
  std::map<int64_t, int> token_requests_ ABSL_GUARDED_BY(mu_);
  int64_t most_sent_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t huge_answers_ ABSL_GUARDED_BY(mu_) = 0;
  // The server's last answer, if `AwaitAnswer` has not taken it yet.
  std::string said_ ABSL_GUARDED_BY(mu_);

  // Declared last: its thread calls `Hear`, which uses the other members.
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_SERVER_PROCESS_H_
