// SPDX-License-Identifier: Apache-2.0
//
// Workload: threads that call an API again and again, and the results of their
// calls.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_WORKLOAD_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_WORKLOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "docs/examples/outage/client.h"
#include "refreshable/executors/clock.h"

namespace refreshable_examples {

enum class ApiResult {
  kOk,
  kExpired,      // 401: the token had expired when it reached the API.
  kRevoked,      // 401: the token was revoked.
  kRejected,     // 401 for another reason.
  kUnreachable,  // No answer.
  kFailed,       // Anything else.
};

// Sends one request with `token`. Each thread uses an Api of its own.
using Api = std::function<ApiResult(const std::string& token)>;

// A call sends a request and, after a 401, possibly a second request.
struct Tally {
  int64_t calls = 0;
  int64_t failed = 0;  // Calls that did not end with kOk.
  // Requests sent with a token that had already expired.
  int64_t expired_sent = 0;
  // Requests sent with a token that expired on the way to the API.
  int64_t expired_in_transit = 0;
  int64_t revoked = 0;  // Requests answered kRevoked.
  // The time from the recovery of the endpoint until a call next ended with
  // kOk. Unset if no call has done so.
  std::optional<absl::Duration> healed_after;
};

// The results of all threads of one client. Thread-safe.
class Scoreboard {
 public:
  // Adds a call that ended at `end`, with kOk if `good` is true.
  void AddCall(bool good, const refreshable::Instant& end);
  void AddExpiredSent();
  // `was_expired` says whether the token had expired when it was sent.
  void AddRejection(ApiResult result, bool was_expired);
  // Records that the endpoint works again from `now` on.
  void SetRecovered(const refreshable::Instant& now);
  Tally tally() const;

 private:
  mutable absl::Mutex mu_;
  Tally tally_ ABSL_GUARDED_BY(mu_);
  std::optional<refreshable::BootTime> recovered_at_ ABSL_GUARDED_BY(mu_);
};

// Makes one call through `client`, and adds the result to `scoreboard`. `clock`
// tells whether the token of a request has expired.
void MakeCall(Client& client, const Api& api, const refreshable::Clock& clock,
              Scoreboard& scoreboard);

// Each thread makes a call every `interval`. If a call takes longer, the next
// call follows at once. The destructor waits for the calls in progress.
class Workload {
 public:
  struct Options {
    int threads = 1;
    absl::Duration interval;
    std::function<Api()> make_api;  // Called once in each thread.
  };

  // `client`, `clock` and `scoreboard` must outlive the workload.
  Workload(Options options, Client* client, const refreshable::Clock* clock,
           Scoreboard* scoreboard);
  ~Workload();

  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

 private:
  absl::Notification stop_;
  std::vector<std::thread> threads_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_WORKLOAD_H_
