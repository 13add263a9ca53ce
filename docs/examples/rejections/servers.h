// SPDX-License-Identifier: Apache-2.0
//
// The servers of a simulated program (`Play`), and a record of call results.

#ifndef REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_SERVERS_H_
#define REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_SERVERS_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/rejections/play.h"
#include "refreshable/credential.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {

// A token is just the time of its issue, counted from the start of the play.
using Token = absl::Duration;

// The token endpoint, the servers that are called with a token, and the record
// of the results. Thread-safe.
class Servers {
 public:
  // `executor` runs the Refreshable, provides the time, and must outlive this
  // object.
  Servers(const Play& play, refreshable::ManualExecutor* executor)
      : play_(play), executor_(executor) {}
  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

  // Returns a Refreshable whose source is the token endpoint. This object must
  // outlive the Refreshable.
  std::unique_ptr<refreshable::Refreshable<Token>> MakeRefreshable();

  // Returns the time since the start of the play.
  absl::Duration Elapsed() const;

  // Returns the time at which the endpoint answers, or has answered, its latest
  // call. The time is counted from the start of the play.
  absl::Duration NextAnswer() const;

  // Returns the HTTP status with which a good server now answers a call with
  // the token `issued`.
  int Serve(Token issued);

  // Records that a call to a good server, which began at `start`, ended with
  // `status`.
  void OnGoodCall(absl::Duration start, int status);

  Outcome outcome() const;

 private:
  class Endpoint;

  // Returns the endpoint's answer to a call that begins now.
  absl::StatusOr<refreshable::Credential<Token>> Mint(
      const refreshable::FetchContext& context);
  // Returns whether the endpoint is down at `at`.
  bool Down(absl::Duration at) const {
    return at >= play_.down_from && at < play_.down_until;
  }

  const Play play_;
  refreshable::ManualExecutor* const executor_;

  mutable absl::Mutex mutex_;
  Outcome outcome_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_answer_ ABSL_GUARDED_BY(mutex_);
  // A Retry-After forbids calls to the endpoint before this moment.
  absl::Duration not_before_ ABSL_GUARDED_BY(mutex_);
  // `issues_` counts the endpoint's answers with a token, except answers to
  // attempts that were told of a rejected or withdrawn token. `failed_since_`
  // counts the calls to good servers that have failed since `issues_` last
  // rose.
  int issues_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failed_since_ ABSL_GUARDED_BY(mutex_) = 0;
  // Whether a good server has already rejected one call because of
  // `Play::mistake_at`.
  bool mistaken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_SERVERS_H_
