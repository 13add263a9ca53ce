// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause R10: blocking reads on threads that the refresh may need, and
// inside sources.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::Answering;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

constexpr absl::Duration kForever = absl::InfiniteDuration();

class NestedReadTest : public ::testing::Test {
 protected:
  static std::unique_ptr<ThreadExecutor> Pool(int workers) {
    ThreadExecutor::Options options;
    options.workers = workers;
    options.blocking_threads = workers;
    return *ThreadExecutor::Create(options);
  }
  void InPool(const std::function<void()>& f) {
    absl::Notification ran;
    ASSERT_TRUE(pool_->RunBlocking([&] {
      f();
      ran.Notify();
    }));
    ran.WaitForNotification();
  }

  std::unique_ptr<ThreadExecutor> pool_ = Pool(1);
  std::unique_ptr<Strings> a_;
  std::unique_ptr<Strings> b_;
};

TEST_F(NestedReadTest, R10ReadInAPoolOfOneRunsTheQueuedAttemptItself) {
  a_ = Make(pool_.get(), Answering("a"));
  InPool([&] { EXPECT_EQ(a_->Get()->token(), "a"); });
}

TEST_F(NestedReadTest, R10ReadInsideACallbackInAPoolOfOne) {
  a_ = Make(pool_.get(), Answering("a"));
  b_ = Make(pool_.get(), Answering("b"));
  absl::Notification ran;
  a_->GetAsync(kForever, [&](auto) {
    EXPECT_EQ(b_->Get()->token(), "b");
    EXPECT_TRUE(a_->Invalidate(Generation(1)));
    ran.Notify();
  });
  ran.WaitForNotification();
}

TEST_F(NestedReadTest, R10SourceMayReadAnotherRefreshable) {
  std::atomic<int> fetched{0};
  Strings::Options options;
  options.policy.young_token_age = absl::ZeroDuration();
  b_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              done(Hour("b" + std::to_string(++fetched)));
            }),
            options);
  a_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              b_->Invalidate(b_->health().generation);
              done(Hour("a+" + b_->Get()->token()));
            }));
  EXPECT_EQ(a_->Get()->token(), "a+b1");
  EXPECT_TRUE(a_->Install(Hour("a")).ok());
  EXPECT_TRUE(a_->Invalidate(Generation(2)));
  InPool([&] { EXPECT_EQ(a_->Get()->token(), "a+b2"); });
}

TEST_F(NestedReadTest, R10SourceMayNotWaitForItself) {
  a_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              auto lease = a_->Get();
              done(lease.status());
            }));
  EXPECT_EQ(a_->Get().status().code(), StatusCode::kFailedPrecondition);
}

// The attempt times out while the source runs.
TEST_F(NestedReadTest, R10SourceMayNotWaitForItselfAfterItsTimeoutEither) {
  ManualExecutor executor;
  Strings::Options options;
  options.policy.retry.max_retries = 0;
  a_ = Make(&executor, MakeSource([&](const auto&, auto) {
    executor.AdvanceBy(options.policy.attempt_timeout);
    std::thread([&] {
      for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(a_->Get().status().code(), StatusCode::kDeadlineExceeded);
      }
    }).join();
    EXPECT_EQ(a_->Get().status().code(), StatusCode::kFailedPrecondition);
  }),
            options);
  EXPECT_FALSE(a_->Get().ok());
  a_.reset();
}

TEST_F(NestedReadTest, R10TwoSourcesMayNotWaitForEachOther) {
  a_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              done(b_->Get().status());
            }));
  b_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              done(a_->Get().status());
            }));
  EXPECT_EQ(a_->Get().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(b_->Get().status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(NestedReadTest, R10AllWorkersReadOneOfThemFetches) {
  pool_ = Pool(2);
  std::atomic<int> fetched{0};
  a_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              ++fetched;
              SpinUntil([&] { return a_->health().waiters == 2; });
              done(Hour("a"));
            }));
  // Both tasks must be here before either reads. Otherwise a thread of the pool
  // could run the attempt before the second task. The source would then wait
  // forever for the second task's read.
  std::atomic<int> here{0};
  absl::BlockingCounter read(2);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(pool_->RunBlocking([&] {
      ++here;
      SpinUntil([&] { return here == 2; });
      EXPECT_EQ(a_->Get()->token(), "a");
      read.DecrementCount();
    }));
  }
  read.Wait();
  EXPECT_EQ(fetched, 1);
}

// The only thread for attempts waits inside the read, so that thread must run
// each retry itself.
TEST_F(NestedReadTest, R10RetriesRunInTheWaitingWorker) {
  std::atomic<int> fetched{0};
  Strings::Options options;
  options.policy.min_interval = absl::ZeroDuration();
  options.policy.retry.initial_backoff = absl::Milliseconds(1);
  a_ = Make(pool_.get(), MakeSource([&](const auto&, auto done) {
              if (++fetched < 3) {
                done(absl::UnavailableError("down"));
              } else {
                done(Hour("a"));
              }
            }),
            options);
  InPool([&] { EXPECT_EQ(a_->Get()->token(), "a"); });
  EXPECT_EQ(fetched, 3);
}

// If the observer's read blocked the executor's timer thread, no timer could
// end the wait.
TEST_F(NestedReadTest, R10ObserverOnTheTimerThreadMayNotWait) {
  auto held = std::make_shared<HeldSource>();
  Strings::Options options;
  options.policy.attempt_timeout = absl::Milliseconds(1);
  options.policy.retry.max_retries = 1;
  options.policy.retry.initial_backoff = absl::Milliseconds(1);
  options.policy.retry.max_backoff = absl::Milliseconds(1);
  options.policy.min_interval = absl::ZeroDuration();
  // The number of attempts is not known, so these limits are high.
  options.policy.retry.max_consecutive_failures = 1000000;
  options.policy.max_abandoned_calls = 1000000;
  std::atomic<int> refused{0};
  // The observer uses this pointer, because `a_` is null while `a_.reset()`
  // destroys the Refreshable.
  Strings* token = nullptr;
  options.observer = Observe([&](const Event& event) {
    if (event.kind != EventKind::kAttemptAbandoned) return;
    const absl::Status status = token->Get().status();
    if (status.code() == StatusCode::kFailedPrecondition) ++refused;
  });
  a_ = Make(pool_.get(), held, options);
  token = a_.get();
  // If a thread other than the timer's tells the observer, the observer's read
  // may wait. The loop then tries again.
  while (refused == 0) EXPECT_FALSE(a_->Get().ok());
  a_.reset();
  pool_.reset();
  for (size_t i = 0; i < held->calls(); ++i) held->Drop(i);
}

TEST_F(NestedReadTest, R10ReadsInsideReadsOnOneThread) {
  ManualExecutor executor;
  auto c = Make(&executor, Answering("c"));
  b_ = Make(&executor, MakeSource([&](const auto&, auto done) {
    const absl::Status status = a_->Get().status();
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    done(Hour("b+" + c->Get()->token()));
  }));
  a_ = Make(&executor, MakeSource([&](const auto&, auto done) {
    done(Hour("a+" + b_->Get()->token()));
  }));
  EXPECT_EQ(a_->Get()->token(), "a+b+c");
  a_.reset();
  b_.reset();
}

}  // namespace
}  // namespace refreshable
