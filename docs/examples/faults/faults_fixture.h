// SPDX-License-Identifier: Apache-2.0
//
// FaultsFixture: 64 threads, one Refreshable, an API and a token endpoint, each
// of the latter two a process of its own; and the books, which must agree.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULTS_FAULTS_FIXTURE_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULTS_FAULTS_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "docs/examples/faults/counted_source.h"
#include "docs/examples/faults/crowd.h"
#include "docs/examples/faults/server_process.h"
#include "docs/examples/outage/url.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {

// Real life's constants, divided by 40 or more. Without jitter, so that the
// schedule is exact.
refreshable::RefreshPolicy FaultsPolicy();

// How long the source waits for an answer: less than the attempt's timeout, so
// that it says itself what was wrong.
constexpr absl::Duration kPatience = absl::Milliseconds(400);
// Longer than any machine needs; only something that hangs takes this long.
constexpr absl::Duration kForEver = absl::Minutes(2);

class FaultsFixture : public testing::Test {
 protected:
  FaultsFixture();
  ~FaultsFixture() override;

  void SetUp() override;
  // Closes the books: what they must agree on, whatever happened.
  void TearDown() override;

  // Lets the crowd loose on tokens from this address, and waits until each
  // thread has called the API. `patience` as in CountedSource.
  void Begin(const Url& token_url, absl::Duration patience = kPatience);

  // Calls `broken`, and lets the outage go on until every thread has been
  // refused a token and `failures` calls of the source have failed with these
  // words. Then calls `mended`, and waits until every thread has called the API
  // with a token that was asked for later. By default enough fail to exhaust
  // the Refreshable, which then has to heal by itself.
  void Outage(const std::function<void()>& broken,
              const std::function<void()>& mended, absl::string_view words,
              int failures = 6);
  // The same, of this fault.
  void Outage(Fault fault, absl::string_view words, int failures = 6);
  // Its second half on its own.
  void AwaitRecovery();

  // Kills the endpoint. What is on its way to it may be lost with it.
  void Kill();

  // Whether there are books to close: `SetUp` may have failed.
  bool begun() const { return crowd_ != nullptr; }

  ServerProcess& endpoint() { return *endpoint_; }
  ServerProcess& api() { return *api_; }
  Crowd& crowd() { return *crowd_; }
  CountedSource& source() { return *source_; }
  refreshable::Refreshable<std::string>& token() { return *token_; }

  // Calls of the source that never reached the endpoint for a reason that only
  // the test knows: given a call's number and what became of it. None.
  std::function<bool(int64_t, const CountedSource::Call&)> kept_from_endpoint_;
  // An attempt may be abandoned and its answer come late, or a token be
  // revoked: the schedule is then another.
  bool exact_schedule_ = true;

 private:
  // After this many attempts of the library.
  void CheckRequests(int64_t attempts);
  void CheckReads();
  void CheckApi();

  refreshable::ThreadExecutor executor_;
  std::unique_ptr<ServerProcess> endpoint_;
  std::unique_ptr<ServerProcess> api_;
  std::shared_ptr<CountedSource> source_;
  std::unique_ptr<refreshable::Refreshable<std::string>> token_;
  std::unique_ptr<Crowd> crowd_;
  // From when to when the endpoint was being killed, since-boot time.
  std::vector<std::pair<absl::Duration, absl::Duration>> kills_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULTS_FAULTS_FIXTURE_H_
