// SPDX-License-Identifier: Apache-2.0
//
// CountedSource: a source of OAuth tokens that numbers and records its calls.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_COUNTED_SOURCE_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_COUNTED_SOURCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/outage/oauth_source.h"
#include "refreshable/executors/clock.h"
#include "refreshable/policy.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {

// A token source that numbers its calls from 0. Call N makes one request to the
// token endpoint, with the parameter call=N. Thread-safe.
class CountedSource final : public refreshable::TokenSource<std::string> {
 public:
  struct Call {
    refreshable::BootTime start;  // Just after `Fetch` was entered.
    bool ended = false;           // If true, the fields below are set.

    // The time just before the source answered.
    refreshable::BootTime end;
    // Whether the library still waited for the answer at `end`.
    bool in_time = false;
    // A token that has already expired counts as an error.
    absl::Status status;
  };

  // `timeout` limits each step of a request (see RequestToken). The timeout of
  // the attempt is ignored. `clock` must outlive the source.
  CountedSource(OAuthOptions options, absl::Duration timeout,
                const refreshable::Clock* clock);

  void Fetch(const refreshable::FetchContext& context,
             refreshable::FetchDone<std::string> done) override;

  // Element N is the record of call N.
  std::vector<Call> calls() const;

  // Returns the number of calls that failed with the message `words`.
  int64_t failures(absl::string_view words) const;
  // Waits until `failures(words)` is at least `count`. Returns false if
  // `timeout` passes first.
  bool AwaitFailures(absl::string_view words, int64_t count,
                     absl::Duration timeout) const;
  // Waits until all calls have ended. Returns false if `timeout` passes first.
  bool AwaitIdle(absl::Duration timeout) const;

 private:
  int64_t CountFailures(absl::string_view words) const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);
  bool AllEnded() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  const OAuthOptions options_;
  const absl::Duration timeout_;
  const refreshable::Clock* const clock_;

  mutable absl::Mutex mu_;
  std::vector<Call> calls_ ABSL_GUARDED_BY(mu_);
};

// Returns one sentence for each call that was certainly made earlier than
// `policy` permits (clause B8). The exact times inside the library are unknown,
// so the function assumes times that permit each call as early as possible. It
// raises no false alarm, but may miss a call.
//
// Requires: `policy` has no jitter, and the Refreshable was used only for reads
// without `ReadOptions::rejected`.
std::vector<std::string> CallsAheadOfSchedule(
    const std::vector<CountedSource::Call>& calls,
    const refreshable::RefreshPolicy& policy);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_COUNTED_SOURCE_H_
