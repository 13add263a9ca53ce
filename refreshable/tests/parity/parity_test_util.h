// SPDX-License-Identifier: Apache-2.0
//
// A fixture for tests in which the token endpoint fails.

#ifndef REFRESHABLE_TESTS_PARITY_PARITY_TEST_UTIL_H_
#define REFRESHABLE_TESTS_PARITY_PARITY_TEST_UTIL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/observers.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable {

inline std::vector<double> InSeconds(const std::vector<absl::Duration>& times) {
  std::vector<double> seconds;
  for (const absl::Duration time : times) {
    seconds.push_back(absl::ToDoubleSeconds(time));
  }
  return seconds;
}

class OutageTest : public testing::Test {
 protected:
  using Token = Refreshable<std::string>;
  using LeaseOr = absl::StatusOr<Lease<std::string>>;

  // Readers that need no threads. Each reader reads again and again, with a
  // `pause` between. Time must not advance after this object has been
  // destroyed, because pending timers would use the object.
  class Readers {
   public:
    Readers(OutageTest* test, Token* token, int count, absl::Duration pause)
        : test_(test), token_(token), pause_(pause), served_at_(count, -1.0) {
      for (int i = 0; i < count; ++i) Read(i);
    }

    // Returns the time at which each reader first got a token, in seconds, or
    // -1.
    const std::vector<double>& served_at() const { return served_at_; }
    // CANCELLED does not count as an error.
    int errors() const { return errors_; }
    const absl::Status& last_error() const { return last_error_; }

   private:
    void Read(int i) {
      token_->GetAsync(absl::InfiniteDuration(), [this, i](LeaseOr lease) {
        if (!lease.ok()) {
          if (absl::IsCancelled(lease.status())) return;
          ++errors_;
          last_error_ = lease.status();
        } else if (served_at_[i] < 0) {
          served_at_[i] = absl::ToDoubleSeconds(test_->Elapsed());
        }
        test_->executor_.RunAfter(pause_, [this, i] { Read(i); });
      });
    }

    OutageTest* const test_;
    Token* const token_;
    const absl::Duration pause_;
    std::vector<double> served_at_;
    int errors_ = 0;
    absl::Status last_error_;
  };

  std::unique_ptr<Token> Make(const RefreshPolicy& policy) {
    Token::Options options;
    options.executor = &executor_;
    options.policy = policy;
    options.observer = observer_;
    return *Token::Create(source_.Share(), options);
  }

  // Makes the source answer with `status` before the time `until`, and with
  // tokens from then on.
  void EndpointIsDown(absl::Status status, absl::Duration until) {
    source_.AlwaysWith([this, status, until](const FetchContext&)
                           -> absl::StatusOr<Credential<std::string>> {
      if (Elapsed() < until) return status;
      return Credential<std::string>("token", Expiry::In(absl::Hours(12)));
    });
  }

  absl::Duration Elapsed() const {
    return executor_.clock().Now().boot - ManualExecutor::DefaultStart().boot;
  }
  void AdvanceTo(absl::Duration elapsed) {
    executor_.AdvanceBy(elapsed - Elapsed());
  }
  // Returns the times at which the source was called, in seconds.
  std::vector<double> Attempts() const {
    return InSeconds(source_.start_times());
  }

  ManualExecutor executor_;
  refreshable_testing::ScriptedSource<std::string> source_{&executor_.clock()};
  std::shared_ptr<CountingObserver> observer_ =
      std::make_shared<CountingObserver>();
};

}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_PARITY_PARITY_TEST_UTIL_H_
