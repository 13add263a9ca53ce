// SPDX-License-Identifier: Apache-2.0
//
// Tests of a ThreadExecutor that many Refreshables share.
//
// `--tokens=N` sets how many tokens expire at the same moment.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::Result;
using lifecycle_testing::Strings;

constexpr absl::Duration kForever = absl::InfiniteDuration();

int tokens = 20000;

// With these options, the executor's destructor waits for running tasks.
ThreadExecutor::Options Patient() {
  ThreadExecutor::Options options;
  options.shutdown_grace = absl::InfiniteDuration();
  return options;
}

std::shared_ptr<TokenSource<std::string>> Answering() {
  return BlockingSource<std::string>([]() -> Result { return Hour("t"); });
}

// In this fixture, the executor also serves `GetParam()` Refreshables whose
// sources hang.
class OthersHangTest : public ::testing::TestWithParam<int> {
 protected:
  OthersHangTest() {
    absl::BlockingCounter called(GetParam());
    for (int i = 0; i < GetParam(); ++i) {
      hanging_.push_back(Make(executor_.get(), HangingSource(&called)));
      hanging_.back()->GetAsync(kForever, [](const auto&) {});
    }
    called.Wait();
  }
  ~OthersHangTest() override {
    go_.Notify();
    hanging_.clear();
    executor_.reset();
  }

  // Returns a source that hangs until the end of the test. Each call of the
  // source first decrements `called`, unless `called` is null.
  std::shared_ptr<TokenSource<std::string>> HangingSource(
      absl::BlockingCounter* called = nullptr) {
    return BlockingSource<std::string>([this, called]() -> Result {
      if (called != nullptr) called->DecrementCount();
      go_.WaitForNotification();
      return Hour("late");
    });
  }
  static Result ReadAsync(Strings& token, absl::Duration timeout) {
    absl::StatusOr<Lease<std::string>> result;
    absl::Notification told;
    token.GetAsync(timeout, [&](absl::StatusOr<Lease<std::string>> lease) {
      result = std::move(lease);
      told.Notify();
    });
    told.WaitForNotification();
    if (!result.ok()) return result.status();
    return Hour(result->token());
  }

  absl::Notification go_;
  std::unique_ptr<ThreadExecutor> executor_ =
      *ThreadExecutor::Create(Patient());
  std::vector<std::unique_ptr<Strings>> hanging_;
};

// Regression test: hanging sources occupied all threads of the executor. The
// attempt of another Refreshable found no thread.
TEST_P(OthersHangTest, X1AHealthyOneRefreshes) {
  const auto healthy = Make(executor_.get(), Answering());
  EXPECT_EQ(healthy->Get()->token(), "t");
  // The invalidation of an installed token does not count as a failure (A5). So
  // no backoff delays the next attempt.
  ASSERT_TRUE(healthy->Install(Hour("mine")).ok());
  EXPECT_TRUE(healthy->Invalidate(Generation(2)));
  EXPECT_EQ(healthy->Get()->token(), "t");
}

// Regression test: the callback of a read of a fresh token ran only after the
// sources of other Refreshables had returned.
TEST_P(OthersHangTest, X1ACallbackRuns) {
  const auto healthy = Make(executor_.get(), Answering());
  ASSERT_TRUE(healthy->Install(Hour("mine")).ok());
  EXPECT_EQ(ReadAsync(*healthy, kForever)->token, "mine");
}

TEST_P(OthersHangTest, X1TheTimeoutOfAReadIsTold) {
  const auto another = Make(executor_.get(), HangingSource());
  EXPECT_EQ(ReadAsync(*another, absl::Milliseconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(another->Get(absl::Milliseconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_P(OthersHangTest, X1TheTimeoutOfAnAttemptIsTold) {
  Strings::Options options;
  options.policy.attempt_timeout = absl::Milliseconds(1);
  options.policy.retry.max_retries = 0;
  absl::Status told;
  // If the executor starts the attempt too late, the read ends with
  // UNAVAILABLE.
  do {
    const auto another = Make(executor_.get(), HangingSource(), options);
    told = ReadAsync(*another, kForever).status();
  } while (absl::IsUnavailable(told));
  EXPECT_EQ(told.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_P(OthersHangTest, X1AReadIsCancelled) {
  const auto another = Make(executor_.get(), HangingSource());
  const WaiterId id = another->GetAsync(kForever, [](const auto&) { FAIL(); });
  EXPECT_TRUE(another->Cancel(id));
}

// Up to eight callbacks block their threads. At first only four of the
// executor's threads run callbacks, so the executor must create more.
TEST_P(OthersHangTest, X1ACallbackRunsThoughOthersRead) {
  const auto healthy = Make(executor_.get(), Answering());
  ASSERT_TRUE(healthy->Install(Hour("mine")).ok());
  const size_t readers = std::min<size_t>(hanging_.size(), 8);
  absl::BlockingCounter read(static_cast<int>(readers));
  for (size_t i = 0; i < readers; ++i) {
    healthy->GetAsync(kForever, [&, i](const auto&) {
      EXPECT_EQ(hanging_[i]->Get()->token(), "installed");
      read.DecrementCount();
    });
  }
  EXPECT_EQ(ReadAsync(*healthy, kForever)->token, "mine");
  for (size_t i = 0; i < readers; ++i) {
    ASSERT_TRUE(hanging_[i]->Install(Hour("installed")).ok());
  }
  read.Wait();
}

INSTANTIATE_TEST_SUITE_P(X1, OthersHangTest, ::testing::Values(0, 32, 100));

// Regression test: an executor refused timers and waiting tasks beyond the
// first 16,384. So some of 20,000 Refreshables on one executor could not
// refresh.
TEST(ManyTokensTest, X2TokensThatExpireTogetherAreAllRefreshed) {
  const auto executor = *ThreadExecutor::Create(Patient());
  absl::BlockingCounter refreshed(tokens);
  absl::BlockingCounter told(tokens);
  Strings::Options options;
  options.policy.refresh_ahead = true;
  options.policy.min_interval = absl::ZeroDuration();
  options.on_token_changed = [&](const Lease<std::string>& lease) {
    if (lease.generation() == Generation(2)) refreshed.DecrementCount();
  };
  std::vector<std::unique_ptr<Strings>> all;
  for (int i = 0; i < tokens; ++i) {
    all.push_back(Make(executor.get(), Answering(), options));
    ASSERT_TRUE(
        all.back()->Install({"short", Expiry::In(absl::Seconds(1))}).ok());
  }
  refreshed.Wait();
  std::atomic<int> failed{0};
  for (const auto& one : all) {
    one->GetAsync(kForever, [&](const absl::StatusOr<Lease<std::string>>& l) {
      if (!l.ok() || l->token() != "t") ++failed;
      told.DecrementCount();
    });
  }
  told.Wait();
  EXPECT_EQ(failed, 0);
  for (const auto& one : all) EXPECT_EQ(one->stats().attempts_started, 1);
}

// Regression test: exit() waited forever for a source that hung.
TEST(StaticExecutorDeathTest, X4ExitEndsThoughASourceHangs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ThreadExecutor::Options impatient;
        impatient.shutdown_grace = absl::ZeroDuration();
        static ThreadExecutor executor(impatient);
        static auto& never = *new absl::Notification;
        static auto& called = *new absl::Notification;
        static const auto token =
            Make(&executor, BlockingSource<std::string>([]() -> Result {
              called.Notify();
              never.WaitForNotification();
              return Hour("late");
            }));
        token->GetAsync(kForever, [](const auto&) {});
        called.WaitForNotification();
        std::exit(0);  // NOLINT(concurrency-mt-unsafe): what is tested.
      },
      ::testing::ExitedWithCode(0), "destroyed while 1 task still ran");
}

}  // namespace
}  // namespace refreshable

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--tokens=") ||
        !absl::SimpleAtoi(argument, &refreshable::tokens)) {
      std::cerr << "bad argument: " << argv[i] << std::endl;
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
