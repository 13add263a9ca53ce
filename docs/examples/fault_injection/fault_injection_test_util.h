// SPDX-License-Identifier: Apache-2.0
//
// FaultsFixture: an API process, a token endpoint process, and 64 threads that
// share one Refreshable. All of them keep records of the requests, and these
// records must agree.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_INJECTION_TEST_UTIL_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_INJECTION_TEST_UTIL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "docs/examples/fault_injection/counted_source.h"
#include "docs/examples/fault_injection/crowd.h"
#include "docs/examples/fault_injection/server_process.h"
#include "docs/examples/outage/url.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {

// The times that this function sets are far shorter than the defaults. There is
// no jitter, so the schedule of the attempts is exact.
refreshable::RefreshPolicy FaultsPolicy();

// How long the source waits for an answer. The source must report the fault
// before the library abandons the attempt.
constexpr absl::Duration kAnswerTimeout = absl::Milliseconds(400);
// This time passes only if an operation hangs.
constexpr absl::Duration kForEver = absl::Minutes(2);

class FaultsFixture : public testing::Test {
 protected:
  FaultsFixture();
  ~FaultsFixture() override;

  void SetUp() override;
  // If `Begin` was called, ends the threads and checks that all records agree.
  void TearDown() override;

  // Starts the threads, whose tokens come from `token_url`. Waits until each
  // thread has called the API successfully. The source waits up to `timeout`
  // for each answer.
  void Begin(const Url& token_url, absl::Duration timeout = kAnswerTimeout);

  // Breaks the endpoint with `broken`. Waits until one more read of each thread
  // has failed, and until `failures` calls of the source since `Begin` have
  // failed with the message `words`. Then repairs the endpoint with `mended`,
  // and calls `AwaitRecovery`. The default of `failures` is greater than the
  // `max_consecutive_failures` of FaultsPolicy.
  void Outage(const std::function<void()>& broken,
              const std::function<void()>& mended, absl::string_view words,
              int failures = 6);
  // Like the function above, with the fault `fault`.
  void Outage(Fault fault, absl::string_view words, int failures = 6);
  // Waits until each thread has called the API successfully with a token that
  // was requested after this call.
  void AwaitRecovery();

  // Kills the endpoint. `TearDown` accepts that requests under way are lost.
  void Kill();

  bool begun() const { return crowd_ != nullptr; }

  ServerProcess& endpoint() { return *endpoint_; }
  ServerProcess& api() { return *api_; }
  Crowd& crowd() { return *crowd_; }
  CountedSource& source() { return *source_; }
  refreshable::Refreshable<std::string>& token() { return *token_; }

  // A test with a proxy sets this function. The function returns whether the
  // proxy itself answered a call's request. It takes the call's number and
  // record.
  std::function<bool(int64_t, const CountedSource::Call&)> kept_from_endpoint_;
  // Whether `TearDown` checks the schedule of the attempts. A test sets this to
  // false if it revokes tokens, or if its source waits longer than
  // `attempt_timeout`.
  bool exact_schedule_ = true;

 private:
  // Checks that each request that could reach the endpoint was received exactly
  // once. If `exact_schedule_` is true, also checks the schedule. `attempts` is
  // the number of attempts when the threads had ended.
  void CheckRequests(int64_t attempts);
  void CheckReads();
  void CheckApi();

  refreshable::ThreadExecutor executor_;
  std::unique_ptr<ServerProcess> endpoint_;
  std::unique_ptr<ServerProcess> api_;
  std::shared_ptr<CountedSource> source_;
  std::unique_ptr<refreshable::Refreshable<std::string>> token_;
  std::unique_ptr<Crowd> crowd_;
  // The beginning and the end of each kill.
  std::vector<std::pair<refreshable::BootTime, refreshable::BootTime>> kills_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_INJECTION_TEST_UTIL_H_
