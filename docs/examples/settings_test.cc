// SPDX-License-Identifier: Apache-2.0
//
// Tests the settings that docs/failure.md shows.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/failure_class.h"
#include "refreshable/http_error.h"
#include "refreshable/policy.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable_examples {
namespace {

using ::testing::ElementsAre;

// [heal]
// Returns a policy that makes seven attempts, then one a minute until the
// endpoint recovers.
refreshable::RefreshPolicy WaitItOut() {
  refreshable::RefreshPolicy policy;
  policy.retry.initial_backoff = absl::Seconds(2);  // 2, 4, 8, 16, 32, 60 s
  policy.retry.multiplier = 2;
  policy.retry.max_backoff = absl::Seconds(60);
  policy.retry.max_retries = 6;
  policy.retry.max_consecutive_failures = 7;
  policy.retry.probe_interval = absl::Seconds(60);
  return policy;
}
// [/heal]

// [fatal]
// Returns a policy that makes one attempt per read, at least 2, 4, 8, 16 s
// apart. The fifth failure in a row is final.
refreshable::RefreshPolicy GiveUpAfterFive() {
  refreshable::RefreshPolicy policy;
  policy.retry.initial_backoff = absl::Seconds(2);
  policy.retry.multiplier = 2;
  policy.retry.max_retries = 0;
  policy.retry.max_consecutive_failures = 5;
  policy.retry.on_exhausted = refreshable::OnExhausted::kFatal;
  return policy;
}
// [/fatal]

// [classify]
// A function for `Options::classify` that retries a 500 as well.
refreshable::FailureClass Retry500(const absl::Status& status) {
  return refreshable::GetHttpStatus(status) == 500
             ? refreshable::FailureClass::kTransient
             : refreshable::ClassifyFailure(status);
}
// [/classify]

// An outage in virtual time. One reader reads every second.
class Outage {
 public:
  explicit Outage(refreshable::RefreshPolicy policy) {
    policy.jitter = 0;
    source_.Always(absl::UnavailableError("down"));
    token_ = *refreshable::Refreshable<std::string>::Create(
        source_.Share(), {&executor_, policy});
  }

  // Returns the error of the last read.
  absl::Status Run(absl::Duration length) {
    absl::Status status;
    for (absl::Duration t; t < length; t += absl::Seconds(1)) {
      status = token_->Get(absl::ZeroDuration()).status();
      executor_.AdvanceBy(absl::Seconds(1));
    }
    return status;
  }
  // Returns when the source was called, in seconds since the start.
  std::vector<int> Calls() const {
    std::vector<int> calls;
    for (const absl::Duration t : source_.start_times()) {
      calls.push_back(static_cast<int>(absl::ToInt64Seconds(t)));
    }
    return calls;
  }
  // Ends the outage. Returns whether a read succeeds a minute later.
  bool Heals() {
    source_.Always(refreshable::Credential<std::string>(
        "t1", refreshable::Expiry::In(absl::Hours(1))));
    executor_.AdvanceBy(absl::Seconds(60));
    return token_->Get().ok();
  }

 private:
  refreshable::ManualExecutor executor_;
  refreshable_testing::ScriptedSource<std::string> source_{&executor_.clock()};
  std::unique_ptr<refreshable::Refreshable<std::string>> token_;
};

TEST(SettingsTest, WaitsItOut) {
  Outage outage(WaitItOut());
  EXPECT_FALSE(refreshable::IsFatal(outage.Run(absl::Minutes(5))));
  EXPECT_THAT(outage.Calls(), ElementsAre(0, 2, 6, 14, 30, 62, 122, 182, 242));
  EXPECT_TRUE(outage.Heals());
}

TEST(SettingsTest, GivesUpAfterFive) {
  Outage outage(GiveUpAfterFive());
  EXPECT_TRUE(refreshable::IsFatal(outage.Run(absl::Minutes(5))));
  EXPECT_THAT(outage.Calls(), ElementsAre(0, 2, 6, 14, 30));
  EXPECT_FALSE(outage.Heals());
}

TEST(SettingsTest, Retries500) {
  for (const auto& [http_status, expected] :
       {std::pair(500, refreshable::FailureClass::kTransient),
        std::pair(503, refreshable::FailureClass::kTransient),
        std::pair(501, refreshable::FailureClass::kPermanent)}) {
    EXPECT_EQ(Retry500(refreshable::HttpErrorToStatus(
                  http_status, /*headers=*/{}, absl::UnixEpoch())),
              expected)
        << http_status;
  }
}

}  // namespace
}  // namespace refreshable_examples
