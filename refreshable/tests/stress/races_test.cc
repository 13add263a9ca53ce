// SPDX-License-Identifier: Apache-2.0
//
// Regression tests for errors in threading.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;

constexpr absl::Duration kForever = absl::InfiniteDuration();

class AfterDriveExecutor final : public ProbeExecutor {
 public:
  using ProbeExecutor::ProbeExecutor;

  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override {
    const bool driven = ProbeExecutor::DriveUntil(done, deadline);
    if (after_drive) after_drive();
    return driven;
  }

  std::function<void()> after_drive;
};

// The test answers the first call of the source. The hook (`on_token_changed`)
// invalidates that answer's token, and then reads.
class ReadingHookTest : public ::testing::Test {
 protected:
  void MakeOn(Executor* executor) {
    Strings::Options options;
    options.policy.young_token_age = absl::ZeroDuration();
    options.policy.attempt_timeout = kForever;
    options.on_token_changed = [&](const auto& lease) {
      if (lease.generation() != Generation(1)) return;
      if (in_hook) in_hook();
      EXPECT_TRUE(token_->Invalidate(Generation(1)));
      const auto next = token_->Get(absl::Minutes(1));
      seen_ = next.ok() ? next->token() : next.status().ToString();
    };
    token_ = Make(
        executor, MakeSource([&](const auto&, auto done) {
          if (called_.HasBeenNotified()) {
            // This token never expires, so it needs no timer. If there were a
            // timer, a read that drives the executor would advance the time.
            return done(Credential<std::string>("second", Expiry::Never()));
          }
          first_.emplace(std::move(done));
          called_.Notify();
        }),
        options);
  }

  std::unique_ptr<Strings> token_;
  std::optional<FetchDone<std::string>> first_;
  absl::Notification called_;
  std::function<void()> in_hook;
  std::string seen_;
};

// Regression test: a read blocked the executor's only thread. Once the read had
// its outcome, that thread ran no more attempts, and slept until the hook had
// returned. The hook waited forever for an attempt that only that thread could
// run.
TEST_F(ReadingHookTest, R10AWorkerAboutToBeWokenRunsWhatTheHookWaitsFor) {
  ThreadExecutor::Options one;
  one.blocking_threads = 1;
  const auto pool = *ThreadExecutor::Create(one);
  MakeOn(pool.get());
  absl::Notification read;
  ASSERT_TRUE(pool->RunBlocking([&] {
    EXPECT_EQ(token_->Get()->token(), "second");
    read.Notify();
  }));
  called_.WaitForNotification();
  (*first_)(Hour("first"));
  EXPECT_EQ(seen_, "second");
  read.WaitForNotification();
  token_.reset();
}

// Regression test: a read stopped driving the ManualExecutor when nothing was
// pending. The hook, on another thread, then waited for an attempt that no
// thread ran.
TEST_F(ReadingHookTest, R10ADrivingReadRunsWhatTheHookWaitsFor) {
  ManualExecutor executor;
  AfterDriveExecutor after(&executor);
  MakeOn(&after);
  token_->GetAsync(kForever, [](const auto&) {});
  executor.RunUntilIdle();
  absl::Notification published;
  absl::Notification idle;
  in_hook = [&] {
    published.Notify();
    idle.WaitForNotification();
  };
  std::thread answering;
  std::atomic<int> drives{0};
  after.after_drive = [&] {
    const int drive = ++drives;
    // The first call of `DriveUntil` only asks whether this thread can drive
    // the executor.
    if (drive == 1) {
      answering = std::thread([&] {
        (*first_)(Credential<std::string>("first", Expiry::Never()));
      });
      published.WaitForNotification();
    } else if (drive == 2) {
      idle.Notify();
    }
  };
  const auto lease = token_->Get();
  answering.join();
  EXPECT_EQ(seen_, "second");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->token(), "second");
  token_.reset();
}

// Regression test: the executor refused the timer for an attempt's timeout. A
// read without a deadline then waited forever.
TEST(LostTimerTest, E2AThreadThatWaitsSeesTheTimeoutOfTheAttempt) {
  ManualExecutor executor;
  ProbeExecutor probe(&executor);
  const auto held = std::make_shared<HeldSource>();
  const auto token = Make(&probe, held);
  probe.refuse_timers = true;
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::atomic<bool> ended{false};
  std::thread reader([&] {
    read = token->Get();
    ended = true;
  });
  SpinUntil([&] { return executor.pending() > 0; });
  executor.RunUntilIdle();
  executor.AdvanceBy(absl::Seconds(31));
  // The waiting thread looks at the clock once a second, and each look raises
  // `probe.uses()`. 20 uses are more than enough to notice the timeout.
  const int uses = probe.uses();
  SpinUntil([&] { return ended || probe.uses() > uses + 20; });
  EXPECT_TRUE(ended);
  if (!ended) held->Answer(0, absl::DataLossError("it never ended"));
  reader.join();
  EXPECT_EQ(read->status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(held->context(0).cancelled());
  if (ended) held->Drop(0);
}

}  // namespace
}  // namespace refreshable
