// SPDX-License-Identifier: Apache-2.0
//
// Crowd: the threads of one program, which all use one token, and a book of
// what became of each read.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULTS_CROWD_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULTS_CROWD_H_

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

// Each thread reads a token, calls the API with it, and does so again a moment
// later. A third of them waits for a token without limit, a third with a
// deadline, a third by callback; on "the token was revoked" each says so to
// the Refreshable. Thread-safe.
class Crowd {
 public:
  struct Options {
    int threads = 64;
    absl::Duration pace;     // From one read of a thread to its next.
    absl::Duration timeout;  // Of the reads that have one.
    // How long before its expiry a token is no longer handed out.
    absl::Duration margin;
    absl::Duration token_life;
    std::function<Api()> make_api;  // Called once in each thread.
  };

  struct Book {
    // Every read, by how it ended: with a lease; with an error that says why
    // refreshing failed; because its own deadline had passed.
    int64_t reads = 0;
    int64_t leases = 0;
    int64_t refused = 0;
    int64_t timed_out = 0;
    // Or otherwise, which must not be: the errors.
    std::vector<std::string> unnamed;

    // Every request to the API, one per lease, by its result.
    int64_t ok = 0;
    int64_t expired = 0;
    int64_t revoked = 0;
    int64_t unreachable = 0;
    int64_t other = 0;

    // Must not be: leases of tokens that were within the margin of their expiry
    // before they were asked for, that the API found expired though less than
    // the margin had passed since, or that were read after `Invalidate` had
    // withdrawn them.
    int64_t handed_out_expired = 0;
    int64_t handed_out_late = 0;
    int64_t handed_out_withdrawn = 0;
  };

  // Both must outlive it.
  Crowd(Options options, refreshable::Refreshable<std::string>* token,
        const refreshable::Clock* clock);
  // Waits for the reads that are under way.
  ~Crowd();

  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // Waits until every thread has had a read that ended without a token since
  // this call, and returns 0; or says how many have not, if that takes longer
  // than `timeout`.
  int StillNotRefused(absl::Duration timeout) const;
  // Waits until every thread has called the API, and was answered 200, with a
  // token that was asked for after `since`; or says how many have not.
  int StillNotServed(absl::Time since, absl::Duration timeout) const;

  // The token that was used last.
  std::string last_token() const;

  // Ends the threads, once they have ended the reads that are under way.
  void Stop();
  Book book() const;

 private:
  using Lease = refreshable::Lease<std::string>;

  struct Member {
    int64_t errors = 0;
    // When the token of its last good call was asked for, or later.
    absl::Time served = absl::InfinitePast();
  };

  void Live(int member);
  absl::StatusOr<Lease> Read(int member);
  void Use(const Lease& lease, const Api& api, absl::Duration asked,
           int member);
  void Note(const absl::StatusOr<Lease>& lease, absl::Time asked,
            refreshable::Generation withdrawn, int member);
  // How many members are not `done`, after waiting for all.
  int Lacking(const std::function<bool(size_t)>& done,
              absl::Duration timeout) const;

  const Options options_;
  refreshable::Refreshable<std::string>* const token_;
  const refreshable::Clock* const clock_;

  mutable absl::Mutex mu_;
  Book book_ ABSL_GUARDED_BY(mu_);
  std::vector<Member> members_ ABSL_GUARDED_BY(mu_);
  refreshable::Generation withdrawn_ ABSL_GUARDED_BY(mu_);
  std::string last_token_ ABSL_GUARDED_BY(mu_);

  absl::Notification stop_;
  std::vector<std::thread> threads_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULTS_CROWD_H_
