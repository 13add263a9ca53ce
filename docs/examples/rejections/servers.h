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

// A token is the time at which it was issued, counted from the start of the
// play.
using Token = absl::Duration;

// The servers of a `Play`: the token endpoint, the servers that are called with
// a token, and the record of the results. Thread-safe.
class Servers {
 public:
  // `executor` runs the Refreshable, provides the time, and must outlive this
  // object.
  Servers(const Play& play, refreshable::ManualExecutor* executor)
      : play_(play), executor_(executor) {}
  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

  // The source of the Refreshable is the token endpoint. This object must
  // outlive the Refreshable.
  std::unique_ptr<refreshable::Refreshable<Token>> MakeRefreshable();

  absl::Duration Elapsed() const;

  // Returns the time at which the endpoint answers, or has answered, its latest
  // call. This time is counted from the start of the play.
  absl::Duration NextAnswer() const;

  // Returns the HTTP status with which a good server now answers a call.
  int Serve(Token issued);

  // Records a call to a good server. The call began at `start`.
  void OnGoodCall(absl::Duration start, int status);

  Outcome outcome() const;

 private:
  class Endpoint;

  absl::StatusOr<refreshable::Credential<Token>> Mint(
      const refreshable::FetchContext& context);
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
  // `issues_` counts the endpoint's answers that are issues (see `Outcome`).
  // `failed_since_` counts the failed calls to good servers since the last
  // issue.
  int issues_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failed_since_ ABSL_GUARDED_BY(mutex_) = 0;
  // Whether a good server has already rejected a call by mistake (see
  // `Play::mistake_at`).
  bool mistaken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_REJECTIONS_SERVERS_H_
