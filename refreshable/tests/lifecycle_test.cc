// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses E1 and R12: how a Refreshable ends, and what outlives
// it.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/generation.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Outcome;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::Result;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

class LifecycleTest : public ::testing::Test {
 protected:
  ~LifecycleTest() override {
    for (std::thread& thread : threads_) thread.join();
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Starts a thread that reads. Returns when the read waits for a refresh.
  void ReadInThread(std::optional<absl::StatusOr<Lease<std::string>>>* out) {
    const int64_t waiting = token_->health().waiters;
    threads_.emplace_back([this, out] { *out = token_->Get(); });
    SpinUntil([&] { return token_->health().waiters > waiting; });
  }
  void JoinThreads() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  ManualExecutor executor_;
  ProbeExecutor probe_{&executor_};
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_;
  std::vector<std::thread> threads_;
};

class LifecycleWaitersTest : public LifecycleTest {
 protected:
  // Destroys the Refreshable while four reads wait for a refresh. `arrange`
  // brings the refresh into the state under test.
  void EndWithWaiters(const std::function<void()>& arrange) {
    std::optional<absl::StatusOr<Lease<std::string>>> read[2];
    Outcome outcome[2];
    ReadInThread(&read[0]);
    SpinUntil([&] { return executor_.pending() > 0; });
    token_->GetAsync(absl::InfiniteDuration(), outcome[0].Callback());
    token_->GetAsync(absl::Hours(1), outcome[1].Callback());
    arrange();
    ReadInThread(&read[1]);
    token_.reset();
    const int uses = probe_.uses();
    EXPECT_EQ(outcome[0].ended, 1);
    EXPECT_EQ(outcome[1].ended, 1);
    EXPECT_EQ(outcome[0].status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(outcome[1].status.code(), absl::StatusCode::kCancelled);
    JoinThreads();
    EXPECT_EQ(read[0]->status().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(read[1]->status().code(), absl::StatusCode::kCancelled);
    executor_.AdvanceBy(absl::Hours(2));
    for (size_t i = 0; i < held_->calls(); ++i) held_->Answer(i, Hour("late"));
    EXPECT_EQ(probe_.uses(), uses) << "the executor was used after the end";
    EXPECT_EQ(outcome[0].ended, 1);
    EXPECT_EQ(outcome[1].ended, 1);
  }
};

TEST_F(LifecycleWaitersTest, E1EndsWhileTheAttemptIsQueued) {
  token_ = Make(&probe_, held_);
  EndWithWaiters([] {});
  EXPECT_EQ(held_->calls(), 0u);
}

TEST_F(LifecycleWaitersTest, E1EndsWhileTheAttemptIsRunning) {
  token_ = Make(&probe_, held_);
  EndWithWaiters([&] { executor_.RunUntilIdle(); });
  ASSERT_EQ(held_->calls(), 1u);
  EXPECT_TRUE(held_->context(0).cancelled());
}

// After the destructor has returned, only the waiting threads keep the
// Refreshable's state alive.
TEST_F(LifecycleWaitersTest, E1EndsInBackoff) {
  token_ = Make(&probe_, MakeSource([](const auto&, auto done) {
    done(absl::UnavailableError("down"));
  }));
  EndWithWaiters([&] {
    executor_.RunUntilIdle();
    EXPECT_EQ(token_->health().failures, 1);
    EXPECT_TRUE(token_->health().refreshing);
  });
}

TEST_F(LifecycleTest, E1CancelsItsTimer) {
  token_ = Make(&probe_, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  executor_.RunUntilIdle();
  EXPECT_EQ(executor_.pending(), 1u);
  token_.reset();
  EXPECT_EQ(executor_.pending(), 0u);
}

TEST_F(LifecycleTest, E1DoesNotWaitForTheSource) {
  absl::Notification inside;
  absl::Notification leave;
  token_ = Make(&executor_, MakeSource([&](const auto&, auto done) {
    inside.Notify();
    leave.WaitForNotification();
    done(Hour("late"));
  }));
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
  std::thread worker([&] {
    executor_.BindToCurrentThread();
    executor_.RunUntilIdle();
  });
  inside.WaitForNotification();
  token_.reset();
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kCancelled);
  leave.Notify();
  worker.join();
  executor_.BindToCurrentThread();
  EXPECT_EQ(outcome.ended, 1);
}

// If the executor refuses a task, the task is destroyed while the calling
// thread still counts as inside the executor. The destructor of the Refreshable
// waits for such threads. So the thread must leave the executor before it calls
// the observer.
TEST_F(LifecycleTest, E1DoesNotWaitForUserCodeAfterARefusedAttempt) {
  absl::Notification inside;
  absl::Notification leave;
  Strings::Options options;
  options.observer = Observe([&](const Event& event) {
    if (event.kind != EventKind::kAttemptAbandoned) return;
    inside.Notify();
    leave.WaitForNotification();
  });
  token_ = Make(&probe_, held_, options);
  probe_.refuse_runs = true;
  threads_.emplace_back([&] {
    EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  });
  inside.WaitForNotification();
  token_.reset();
  leave.Notify();
  JoinThreads();
}

// The executor refuses the retry's timer and the callback's task. So the thread
// of the attempt runs the callback.
TEST_F(LifecycleTest, E1DoesNotWaitForUserCodeAfterARefusedTimer) {
  absl::Notification inside;
  absl::Notification leave;
  token_ = Make(&probe_, MakeSource([](const auto&, auto done) {
    done(absl::UnavailableError("down"));
  }));
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(),
                   [&, callback = outcome.Callback()](auto lease) mutable {
                     callback(std::move(lease));
                     inside.Notify();
                     leave.WaitForNotification();
                   });
  // The next timer is for the retry.
  probe_.on_run_after = [&] {
    probe_.refuse_timers = true;
    probe_.refuse_runs = true;
  };
  std::thread worker([&] {
    executor_.BindToCurrentThread();
    executor_.RunUntilIdle();
  });
  inside.WaitForNotification();
  token_.reset();
  leave.Notify();
  worker.join();
  executor_.BindToCurrentThread();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(LifecycleTest, E1WaitsForAThreadInsideTheExecutor) {
  absl::Notification inside;
  absl::Notification leave;
  std::atomic<bool> left{false};
  token_ = Make(&probe_, held_);
  probe_.on_run = [&] {
    inside.Notify();
    leave.WaitForNotification();
    left = true;
  };
  threads_.emplace_back([&] {
    EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  });
  inside.WaitForNotification();
  std::thread destroyer([&] {
    token_.reset();
    EXPECT_TRUE(left);
  });
  leave.Notify();
  destroyer.join();
  JoinThreads();
  const int uses = probe_.uses();
  executor_.RunUntilIdle();
  EXPECT_EQ(probe_.uses(), uses);
}

// Here the snapshot cell answers the `GetAsync`, and the machine is not asked.
TEST_F(LifecycleTest, E1WaitsForAThreadThatQueuesACallback) {
  // The cell answers a `GetAsync` only if the clock has a coarse form, and
  // ProbeExecutor's clock has none.
  class CoarseProbe : public ProbeExecutor {
   public:
    explicit CoarseProbe(ManualExecutor* base)
        : ProbeExecutor(base), clock_(base->clock()) {}
    const Clock& clock() const override { return clock_; }

   private:
    const Clock& clock_;
  };
  CoarseProbe probe(&executor_);
  absl::Notification inside;
  absl::Notification leave;
  std::atomic<bool> left{false};
  token_ = Make(&probe, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  // The destructor must end this read before it waits for the thread that is
  // inside `Run` (below). That thread waits for `leave`, which is notified only
  // after this read has ended.
  threads_.emplace_back([&] {
    Strings::ReadOptions options;
    options.rejected = Generation(1);
    EXPECT_EQ(token_->Get(options).status().code(),
              absl::StatusCode::kCancelled);
    leave.Notify();
  });
  SpinUntil(
      [&] { return token_->health().waiters > 0 && executor_.pending() > 1; });
  probe.on_run = [&] {
    inside.Notify();
    leave.WaitForNotification();
    left = true;
  };
  Outcome outcome;
  threads_.emplace_back(
      [&] { token_->GetAsync(absl::InfiniteDuration(), outcome.Callback()); });
  inside.WaitForNotification();
  token_.reset();
  EXPECT_TRUE(left);
  JoinThreads();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kCancelled);
}

// ---- Ended from inside ----

TEST_F(LifecycleTest, E1EndsInsideItsCallback) {
  token_ = Make(&probe_, held_);
  Outcome other;
  bool ended = false;
  token_->GetAsync(absl::InfiniteDuration(), [&](auto lease) {
    EXPECT_EQ(lease->token(), "t1");
    token_.reset();
    ended = true;
    EXPECT_EQ(lease->token(), "t1");
  });
  token_->GetAsync(absl::InfiniteDuration(), other.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_TRUE(ended);
  EXPECT_EQ(other.ended, 1);
  EXPECT_EQ(other.status.code(), absl::StatusCode::kCancelled);
}

TEST_F(LifecycleTest, E1EndsInsideACallbackThatABlockingReadRuns) {
  token_ = Make(&probe_, held_);
  Outcome other;
  probe_.on_run = [&] {
    if (other.ended > 0) return;
    // The `Get` below runs this task while it waits.
    executor_.Run([&] { token_.reset(); });
    probe_.on_run = nullptr;
  };
  token_->GetAsync(absl::InfiniteDuration(), other.Callback());
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(token_, nullptr);
  EXPECT_EQ(other.ended, 1);
}

TEST_F(LifecycleTest, E1EndsInsideItsHook) {
  Strings::Options options;
  options.on_token_changed = [&](const auto& lease) {
    token_.reset();
    EXPECT_EQ(lease.token(), "t1");
  };
  token_ = Make(&probe_, held_, options);
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kCancelled);
}

// Regression test: in the past, the read used freed memory.
TEST_F(LifecycleTest, E1EndsInsideItsHookOfABlockingRead) {
  Strings::Options options;
  options.on_token_changed = [&](const auto&) { token_.reset(); };
  token_ = Make(&probe_,
                MakeSource([](const auto&, auto done) { done(Hour("t1")); }),
                options);
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(LifecycleTest, E1EndsInsideItsHookOfInstall) {
  Strings::Options options;
  options.on_token_changed = [&](const auto&) { token_.reset(); };
  token_ = Make(&probe_, held_, options);
  EXPECT_EQ(*token_->Install(Hour("t1")), Generation(1));
  EXPECT_EQ(token_, nullptr);
}

TEST_F(LifecycleTest, E1EndsInsideItsObserver) {
  const auto ends_on = [&](EventKind kind) {
    Strings::Options options;
    options.observer = Observe([this, kind](const Event& event) {
      if (event.kind == kind) token_.reset();
    });
    options.on_token_changed = [](const auto&) {
      ADD_FAILURE() << "the hook was started after the end";
    };
    token_ = Make(&probe_,
                  MakeSource([](const auto&, auto done) { done(Hour("t1")); }),
                  options);
  };
  ends_on(EventKind::kTokenPublished);
  EXPECT_EQ(*token_->Install(Hour("t1")), Generation(1));
  EXPECT_EQ(token_, nullptr);

  ends_on(EventKind::kTokenPublished);
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(token_, nullptr);

  ends_on(EventKind::kAttemptAbandoned);
  probe_.refuse_runs = true;
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(token_, nullptr);

  ends_on(EventKind::kAttemptAbandoned);
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
  EXPECT_EQ(token_, nullptr);
  EXPECT_EQ(outcome.ended, 1);
  probe_.refuse_runs = false;

  Strings::Options options;
  options.observer = Observe([this](const Event& event) {
    if (event.kind == EventKind::kTokenInvalidated) token_.reset();
  });
  token_ = Make(&probe_, held_, options);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  EXPECT_TRUE(token_->Invalidate(Generation(1)));
  EXPECT_EQ(token_, nullptr);
}

// Regression test: in the past, the library called the source although the
// observer had destroyed the Refreshable.
TEST_F(LifecycleTest, E1EndedByItsObserverTheSourceIsNotCalled) {
  Strings::Options options;
  options.observer = Observe([this](const Event& event) {
    if (event.kind == EventKind::kAttemptStarted) token_.reset();
  });
  token_ = Make(&probe_, held_, options);
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(held_->calls(), 0u);
}

TEST_F(LifecycleTest, E1EndsInsideItsSource) {
  int classified = 0;
  for (const bool ok : {true, false}) {
    Strings::Options options;
    options.classify = [&](const absl::Status&) {
      ++classified;
      return FailureClass::kPermanent;
    };
    token_ = Make(&probe_, MakeSource([&](const auto& context, auto done) {
      token_.reset();
      EXPECT_TRUE(context.cancelled());
      done(ok ? Result(Hour("late")) : Result(absl::UnavailableError("late")));
    }),
                  options);
    EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(classified, 0) << "user code ran after the end";
}

// Regression test: in the past, `TryGet` inside the callback read a freed
// token.
TEST_F(LifecycleTest, E1CallbackInsideTheDestructorMayUseTheRefreshable) {
  token_ = Make(&probe_, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  bool ended = false;
  bool nested = false;
  Strings* const token = token_.get();
  const WaiterId id =
      token_->GetAsync(absl::InfiniteDuration(), [&](auto lease) {
        EXPECT_EQ(lease.status().code(), absl::StatusCode::kCancelled);
        ended = true;
        EXPECT_FALSE(token->TryGet().ok());
        EXPECT_EQ(token->Get().status().code(), absl::StatusCode::kCancelled);
        EXPECT_FALSE(token->Install(Hour("t2")).ok());
        EXPECT_FALSE(token->Invalidate(Generation(1)));
        EXPECT_FALSE(token->Cancel(id));
        token->Reset();
        token->health();
        token->stats();
        token->GetAsync(absl::ZeroDuration(), [&](auto) { nested = true; });
      });
  token_.reset();
  EXPECT_TRUE(ended);
  EXPECT_FALSE(nested);
  executor_.RunUntilIdle();
}

// ---- What outlives a Refreshable ----

TEST_F(LifecycleTest, R12ReplacedTokenIsFreedAtOnce) {
  token_ = Make(&executor_, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  std::weak_ptr<const std::string> watch = token_->Get()->Share();
  Outcome outcome;
  token_->GetAsync(absl::InfiniteDuration(), outcome.Callback());
  EXPECT_FALSE(watch.expired());
  ASSERT_TRUE(token_->Install(Hour("t2")).ok());
  EXPECT_TRUE(watch.expired());
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t2") << "it reads when it is delivered";
}

TEST_F(LifecycleTest, R12CancelledReadFreesItsCallback) {
  token_ = Make(&executor_, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  auto capture = std::make_shared<int>();
  const WaiterId id =
      token_->GetAsync(absl::InfiniteDuration(), [capture](auto) {});
  EXPECT_EQ(capture.use_count(), 2);
  EXPECT_TRUE(token_->Cancel(id));
  EXPECT_EQ(capture.use_count(), 1) << "while its delivery is still queued";
}

}  // namespace
}  // namespace refreshable
