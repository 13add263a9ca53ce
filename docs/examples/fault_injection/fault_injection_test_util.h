// SPDX-License-Identifier: Apache-2.0
//
// FaultsFixture: 64 threads and one Refreshable; an API and a token endpoint,
// each in its own process; and the records of all of them, which must agree.

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

// Returns production settings divided by 40 or more, without jitter, so that
// the schedule is exact.
refreshable::RefreshPolicy FaultsPolicy();

// How long the source waits for an answer. This is less than the attempt's
// timeout, so that the source itself reports the fault.
constexpr absl::Duration kAnswerTimeout = absl::Milliseconds(400);
// A timeout that is longer than any machine needs: only an operation that hangs
// reaches it.
constexpr absl::Duration kForEver = absl::Minutes(2);

class FaultsFixture : public testing::Test {
 protected:
  FaultsFixture();
  ~FaultsFixture() override;

  void SetUp() override;
  // Checks that the records agree, whatever happened.
  void TearDown() override;

  // Starts the crowd with tokens from this URL, and waits until each thread has
  // called the API. `timeout` is that of the CountedSource.
  void Begin(const Url& token_url, absl::Duration timeout = kAnswerTimeout);

  // Calls `broken`, and waits until every thread has had a read without a token
  // and `failures` calls of the source have failed with these words. Then calls
  // `mended`, and waits until every thread has called the API with a token
  // requested later. By default enough calls fail to exhaust the Refreshable,
  // which must then recover by itself.
  void Outage(const std::function<void()>& broken,
              const std::function<void()>& mended, absl::string_view words,
              int failures = 6);
  // Like the above, for an outage in which the endpoint has this fault.
  void Outage(Fault fault, absl::string_view words, int failures = 6);
  // Waits until every thread has called the API with a token that was requested
  // after this call began.
  void AwaitRecovery();

  // Kills the endpoint, and records when. Requests on their way to the endpoint
  // may be lost.
  void Kill();

  // Returns whether there are records to check: `SetUp` may have failed.
  bool begun() const { return crowd_ != nullptr; }

  ServerProcess& endpoint() { return *endpoint_; }
  ServerProcess& api() { return *api_; }
  Crowd& crowd() { return *crowd_; }
  CountedSource& source() { return *source_; }
  refreshable::Refreshable<std::string>& token() { return *token_; }

  // Returns whether a call of the source did not reach the endpoint for a
  // reason that only the test knows. The arguments are the number of the call
  // and its outcome. By default there is no such call.
  std::function<bool(int64_t, const CountedSource::Call&)> kept_from_endpoint_;
  // Must be false if an attempt may be abandoned and answered late, or if a
  // token may be revoked, because the schedule is then different.
  bool exact_schedule_ = true;

 private:
  // Checks the requests, given the number of attempts of the library.
  void CheckRequests(int64_t attempts);
  void CheckReads();
  void CheckApi();

  refreshable::ThreadExecutor executor_;
  std::unique_ptr<ServerProcess> endpoint_;
  std::unique_ptr<ServerProcess> api_;
  std::shared_ptr<CountedSource> source_;
  std::unique_ptr<refreshable::Refreshable<std::string>> token_;
  std::unique_ptr<Crowd> crowd_;
  // The intervals in which the endpoint was being killed.
  std::vector<std::pair<refreshable::BootTime, refreshable::BootTime>> kills_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FAULT_INJECTION_TEST_UTIL_H_
