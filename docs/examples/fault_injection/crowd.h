// SPDX-License-Identifier: Apache-2.0
//
// Crowd: the threads of one program, and the outcomes of their reads.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CROWD_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CROWD_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "docs/examples/outage/workload.h"
#include "refreshable/executors/clock.h"
#include "refreshable/generation.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {

// Threads that share one Refreshable. Each thread reads the token, calls the
// API with it, and pauses. About a third of the threads read without a timeout,
// a third with a timeout, and a third with `GetAsync`. If the API says that the
// token was revoked, the thread calls `Invalidate`. Thread-safe, except for
// `Stop`.
class Crowd {
 public:
  struct Options {
    int threads = 64;
    absl::Duration pace;  // A thread's pause between two reads.
    absl::Duration timeout;
    // A read must not return a token that expires within this time after the
    // read began.
    absl::Duration margin;
    absl::Duration token_life;
    std::function<Api()> make_api;  // Called once in each thread.
  };

  struct Book {
    // The reads that have ended. Each is in one of the next four fields.
    int64_t reads = 0;
    // Reads that returned a lease.
    int64_t leases = 0;
    // Reads that ended with a RefreshError.
    int64_t refused = 0;
    // Reads that ended at their own deadline.
    int64_t timed_out = 0;
    // The errors of all other reads. There must be none.
    std::vector<std::string> unnamed;

    // The requests to the API, one per lease, by their result.
    int64_t ok = 0;
    int64_t expired = 0;
    int64_t revoked = 0;
    int64_t unreachable = 0;
    int64_t other = 0;

    // The counts below must be 0.

    // The token was already within `margin` of its expiry when the read began.
    int64_t handed_out_expired = 0;
    // The API answered at most `margin` after the read began, and found the
    // token expired.
    int64_t handed_out_late = 0;
    // `Invalidate` had withdrawn the token, or a later one, before the read
    // began.
    int64_t handed_out_withdrawn = 0;
  };

  // `token` and `clock` must outlive the crowd.
  Crowd(Options options, refreshable::Refreshable<std::string>* token,
        const refreshable::Clock* clock);
  ~Crowd();

  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // Waits until one more read of each thread has ended without a token, but at
  // most for `timeout`. Returns the number of threads without such a read.
  int StillNotRefused(absl::Duration timeout) const;
  // Waits, but at most for `timeout`, until each thread has called the API
  // successfully. A call counts only if its token was requested from the
  // endpoint at `since` or later. Returns the number of threads without such a
  // call.
  int StillNotServed(absl::Time since, absl::Duration timeout) const;

  // Returns the token of the latest successful read, or an empty string.
  std::string last_token() const;

  // Waits for the reads and calls that are in progress.
  void Stop();
  Book book() const;

 private:
  using Lease = refreshable::Lease<std::string>;

  struct Member {
    int64_t errors = 0;  // Reads that ended without a token.
    // When the endpoint was asked for the token with which this thread last
    // called the API successfully.
    absl::Time served = absl::InfinitePast();
  };

  void Live(int member);
  absl::StatusOr<Lease> Read(int member);
  void Use(const Lease& lease, const Api& api, refreshable::BootTime asked,
           int member);
  void Note(const absl::StatusOr<Lease>& lease, absl::Time asked,
            refreshable::Generation withdrawn, int member);
  // Waits until `done` is true for each member's index, but at most for
  // `timeout`. Returns the number of members for which it is false.
  int Lacking(const std::function<bool(size_t)>& done,
              absl::Duration timeout) const;

  const Options options_;
  refreshable::Refreshable<std::string>* const token_;
  const refreshable::Clock* const clock_;

  mutable absl::Mutex mu_;
  Book book_ ABSL_GUARDED_BY(mu_);
  std::vector<Member> members_ ABSL_GUARDED_BY(mu_);
  // The newest generation for which a thread has called `Invalidate`.
  refreshable::Generation withdrawn_ ABSL_GUARDED_BY(mu_);
  std::string last_token_ ABSL_GUARDED_BY(mu_);

  absl::Notification stop_;
  std::vector<std::thread> threads_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CROWD_H_
