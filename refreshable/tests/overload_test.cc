// SPDX-License-Identifier: Apache-2.0
//
// Tests of overloaded executors (E2, R10, R11), slow hooks (R7, S4) and expired
// tokens (R12).

#include <atomic>
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
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::Outcome;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

constexpr absl::Duration kForever = absl::InfiniteDuration();
constexpr char kNotRun[] = "the executor has not run the refresh for 30s";

class OverloadTest : public ::testing::Test {
 protected:
  ~OverloadTest() override {
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Lets `d` pass. Runs the timers that become due, but no task.
  void RunTimersOnly(absl::Duration d) {
    const BootTime until = executor_.clock().Now().boot + d;
    for (;;) {
      const auto steps = executor_.PendingSteps();
      size_t next = steps.size();
      for (size_t i = 0; i < steps.size(); ++i) {
        if (steps[i].kind == ManualExecutor::PendingStep::Kind::kTimer &&
            steps[i].due <= until) {
          next = i;
          break;
        }
      }
      if (next == steps.size()) break;
      executor_.RunPending(next);
    }
    executor_.Suspend(until - executor_.clock().Now().boot);
  }

  ManualExecutor executor_;
  ProbeExecutor probe_{&executor_};
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_ = Make(&probe_, held_);
};

// ---- The executor does not run what it accepted ----

// Regression test: in the past, a read without a deadline waited forever if the
// executor never ran the attempt.
TEST_F(OverloadTest, E2AnAttemptThatIsNotRunEndsAfterTheAttemptTimeout) {
  std::vector<Event> events;
  Strings::Options options;
  options.observer =
      Observe([&](const Event& event) { events.push_back(event); });
  token_ = Make(&probe_, held_, options);
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  RunTimersOnly(absl::Seconds(29));
  EXPECT_TRUE(token_->health().refreshing);
  RunTimersOnly(absl::Seconds(1));
  EXPECT_FALSE(token_->health().refreshing);
  EXPECT_EQ(token_->health().failures, 0);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::kAttemptAbandoned);
  EXPECT_EQ(events[0].status, absl::UnavailableError(kNotRun));
  // The executor runs the task now, but the task's attempt has ended.
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kUnavailable);
  EXPECT_NE(outcome.status.message().find(kNotRun), std::string::npos)
      << outcome.status;
  EXPECT_EQ(held_->calls(), 0u);
  Outcome again;
  token_->GetAsync(kForever, again.Callback());
  executor_.RunUntilIdle();
  ASSERT_EQ(held_->calls(), 1u);
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(again.token, "t1");
}

// An executor that runs each task of `RunBlocking` late.
class LateExecutor final : public ProbeExecutor {
 public:
  LateExecutor(Executor* base, absl::Duration late)
      : ProbeExecutor(base), base_(base), late_(late) {}
  bool RunBlocking(Task task) override {
    return base_->RunAfter(late_, std::move(task)) != TimerId::kNone;
  }

 private:
  Executor* const base_;
  const absl::Duration late_;
};

// Each task runs after its own attempt has been given up. The task must then
// make the attempt that is queued at that time. Regression test: in the past,
// the task did nothing, and the source was never called.
TEST_F(OverloadTest, E2AnExecutorThatIsAlwaysLateStillMakesAttempts) {
  for (const int late : {31, 45, 60, 300}) {
    SCOPED_TRACE(late);
    LateExecutor executor(&executor_, absl::Seconds(late));
    const auto held = std::make_shared<HeldSource>();
    const auto token = Make(&executor, held);
    for (int second = 0; second < late + 60 && held->calls() == 0; ++second) {
      token->GetAsync(absl::Seconds(20), [](const auto&) {});
      executor_.AdvanceBy(absl::Seconds(1));
    }
    ASSERT_EQ(held->calls(), 1u);
    // An earlier attempt's task has made the present attempt. So the present
    // attempt's own task, which runs later, must do nothing.
    executor_.AdvanceBy(absl::Seconds(29));
    EXPECT_EQ(held->calls(), 1u);
    EXPECT_EQ(token->stats().attempts_started, 1);
    held->Answer(0, Hour("t1"));
    EXPECT_TRUE(token->Get(absl::ZeroDuration()).ok());
    executor_.AdvanceBy(absl::Seconds(late));
    EXPECT_EQ(held->calls(), 1u);
  }
}

TEST_F(OverloadTest, E2ABlockedThreadIsWokenWhenItsAttemptIsNotRun) {
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::thread reader([&] { read = token_->Get(); });
  SpinUntil(
      [&] { return token_->health().waiters > 0 && executor_.pending() > 1; });
  RunTimersOnly(absl::Seconds(30));
  reader.join();
  EXPECT_EQ(read->status().code(), StatusCode::kUnavailable) << read->status();
  EXPECT_EQ(token_->health().failures, 0);
}

TEST_F(OverloadTest, E2AUsableTokenIsServedThoughItsRefreshIsNotRun) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  executor_.AdvanceBy(absl::Minutes(41));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "t1");
    EXPECT_TRUE(token_->health().refreshing);
    RunTimersOnly(absl::Seconds(30));
    EXPECT_FALSE(token_->health().refreshing);
  }
  EXPECT_EQ(token_->stats().attempts_abandoned, 3);
  EXPECT_EQ(token_->health().failures, 0);
}

TEST_F(OverloadTest, R10AReadOnAnExecutorThreadRunsTheAttemptItself) {
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  RunTimersOnly(absl::Seconds(31));
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  executor_.Run([&] { read = token_->Get(absl::Seconds(1)); });
  // The last pending step is the task that reads.
  ASSERT_TRUE(executor_.RunPending(executor_.pending() - 1));
  EXPECT_EQ(held_->calls(), 1u);
  EXPECT_EQ(read->status().code(), StatusCode::kDeadlineExceeded);
}

// ---- The executor has no timer to spare ----

// Regression test: in the past, no `Get` tried to arm the refused timer again,
// and reads stayed slow.
TEST_F(OverloadTest, E2ARefusedTimerIsArmedAgainByTheNextOperation) {
  // A `Get` that tries to arm the timer makes more calls of the executor than a
  // fast `Get`.
  const auto uses_of_a_read = [&] {
    const int before = probe_.uses();
    EXPECT_TRUE(token_->Get(absl::ZeroDuration()).ok());
    return probe_.uses() - before;
  };
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  const int fast = uses_of_a_read();
  probe_.refuse_timers = true;
  executor_.AdvanceBy(absl::Seconds(1));
  ASSERT_TRUE(token_->Install(Hour("t2")).ok());
  for (int i = 0; i < 3; ++i) {
    const int timers = probe_.timers();
    EXPECT_GT(uses_of_a_read(), fast);
    EXPECT_EQ(probe_.timers(), timers + 1) << "tried once by each read";
  }
  probe_.refuse_timers = false;
  EXPECT_GT(uses_of_a_read(), fast);
  EXPECT_EQ(executor_.pending(), 1u);
  EXPECT_EQ(uses_of_a_read(), fast);
  // The timer follows BootTime, so it withdraws the expired token although the
  // wall clock was set back.
  executor_.StepWall(-absl::Hours(2));
  executor_.AdvanceBy(absl::Hours(1));
  EXPECT_FALSE(token_->TryGet().ok());
  EXPECT_FALSE(token_->Get(absl::ZeroDuration()).ok());
}

TEST_F(OverloadTest, E2ARefusedTimerIsArmedAgainWhenTheSourceAnswers) {
  probe_.refuse_timers = true;
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  EXPECT_EQ(executor_.pending(), 0u);
  probe_.refuse_timers = false;
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t1");
  EXPECT_EQ(executor_.pending(), 1u) << "the timer";
}

// ---- The executor refuses everything ----

// Regression test: in the past, the callback of a `GetAsync` never ran. Now the
// next `Get` or the destructor runs the callback.
TEST_F(OverloadTest, R11NoCallbackIsLostWhenTasksAndTimersAreRefused) {
  for (const bool destroy : {false, true}) {
    token_ = Make(&probe_, held_);
    ASSERT_TRUE(token_->Install(Hour("t1")).ok());
    probe_.refuse_runs = probe_.refuse_timers = true;
    std::vector<Outcome> outcomes(40);
    std::vector<std::thread> threads;
    for (Outcome& outcome : outcomes) {
      threads.emplace_back(
          [&] { token_->GetAsync(kForever, outcome.Callback()); });
    }
    for (std::thread& thread : threads) thread.join();
    if (destroy) {
      token_.reset();
    } else {
      EXPECT_TRUE(token_->Get(absl::ZeroDuration()).ok());
    }
    for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.ended, 1);
    probe_.refuse_runs = probe_.refuse_timers = false;
  }
}

// While `thread` is inside its GetAsync, the test's thread also calls GetAsync.
TEST_F(OverloadTest, R11ARefusedCallbackDoesNotRunInAnotherGetAsync) {
  class Refuser : public ProbeExecutor {
   public:
    using ProbeExecutor::ProbeExecutor;
    bool Run(Task task) override {
      if (std::this_thread::get_id() != refused.load()) {
        return ProbeExecutor::Run(std::move(task));
      }
      task = nullptr;
      inside.Notify();
      leave.WaitForNotification();
      refused = std::thread::id();
      return false;
    }
    std::atomic<std::thread::id> refused{};
    absl::Notification inside;
    absl::Notification leave;
  };
  Refuser refuser(&executor_);
  token_ = Make(&refuser, held_);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  Outcome a, other;
  std::thread thread([&] {
    refuser.refused = std::this_thread::get_id();
    token_->GetAsync(kForever, a.Callback());
  });
  refuser.inside.WaitForNotification();
  token_->GetAsync(kForever, other.Callback());
  EXPECT_EQ(a.ended, 0);
  refuser.leave.Notify();
  thread.join();
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(a.ended, 1);
  EXPECT_EQ(other.ended, 1);
  token_.reset();
}

// After the executor has recovered, a `Get` gives the callback to the executor
// again.
TEST_F(OverloadTest, R11AfterwardsTheExecutorRunsTheCallback) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  probe_.refuse_runs = probe_.refuse_timers = true;
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  probe_.refuse_runs = probe_.refuse_timers = false;
  EXPECT_TRUE(token_->Get(absl::ZeroDuration()).ok());
  EXPECT_EQ(outcome.ended, 0);
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.token, "t1");
}

// ---- Slow hooks and expired tokens ----

// Regression test: in the past, the read failed, although a token had been
// published.
TEST_F(OverloadTest, R7ADeadlineDuringASlowHookYieldsThePublishedToken) {
  absl::Notification published, release;
  Strings::Options options;
  options.on_token_changed = [&](const auto&) {
    published.Notify();
    release.WaitForNotification();
  };
  token_ = Make(&probe_, held_, options);
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::thread reader([&] { read = token_->Get(absl::Seconds(5)); });
  SpinUntil([&] { return token_->health().waiters > 0; });
  SpinUntil([&] { return executor_.pending() > 0; });
  executor_.RunUntilIdle();
  ASSERT_EQ(held_->calls(), 1u);
  std::thread answering([&] { held_->Answer(0, Hour("t1")); });
  published.WaitForNotification();
  executor_.AdvanceBy(absl::Seconds(5));
  reader.join();
  release.Notify();
  answering.join();
  ASSERT_TRUE(read->ok()) << read->status();
  EXPECT_EQ((*read)->token(), "t1");
}

TEST_F(OverloadTest, R7AnAsyncDeadlineDuringASlowHookYieldsThePublishedToken) {
  absl::Notification published, release;
  Strings::Options options;
  options.on_token_changed = [&](const auto&) {
    published.Notify();
    release.WaitForNotification();
  };
  token_ = Make(&probe_, held_, options);
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  int told = 0;
  token_->GetAsync(absl::Seconds(5), [&](auto result) {
    read = std::move(result);
    ++told;
  });
  executor_.RunUntilIdle();
  std::thread answering([&] { held_->Answer(0, Hour("t1")); });
  published.WaitForNotification();
  executor_.AdvanceBy(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(told, 0);
  executor_.AdvanceBy(absl::Nanoseconds(1));
  EXPECT_EQ(told, 1);
  release.Notify();
  answering.join();
  executor_.RunUntilIdle();
  ASSERT_EQ(told, 1);
  ASSERT_TRUE(read->ok()) << read->status();
  EXPECT_EQ((*read)->token(), "t1");
}

// Regression test: in the past, the read's callback ran before the hook had
// returned.
TEST_F(OverloadTest, S4TheHookComesFirstThoughTheTimerIsRefused) {
  int told = 0;
  int told_in_hook = -1;
  Strings::Options options;
  options.on_token_changed = [&](const auto&) {
    executor_.RunUntilIdle();
    told_in_hook = told;
  };
  token_ = Make(&probe_, held_, options);
  token_->GetAsync(absl::Hours(1), [&](const auto&) { ++told; });
  executor_.RunUntilIdle();
  probe_.refuse_timers = true;
  held_->Answer(0, Hour("t1"));
  EXPECT_EQ(told_in_hook, 0);
  executor_.RunUntilIdle();
  EXPECT_EQ(told, 1);
}

// Regression test: in the past, an expired token stayed in memory until it was
// replaced.
TEST_F(OverloadTest, R12AnExpiredTokenIsFreedWhenItExpires) {
  using Shared = std::shared_ptr<int>;
  Refreshable<Shared>::Options options;
  options.executor = &executor_;
  options.policy.jitter = 0;
  auto token = *Refreshable<Shared>::Create(
      std::make_shared<lifecycle_testing::LambdaSource<Shared>>(
          [](const auto&, auto) {}),
      options);
  auto secret = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = secret;
  ASSERT_TRUE(
      token->Install({std::move(secret), Expiry::In(absl::Seconds(400))}).ok());
  executor_.AdvanceBy(absl::Seconds(360) - absl::Nanoseconds(1));
  std::optional<Lease<Shared>> lease = *token->TryGet();
  executor_.AdvanceBy(absl::Nanoseconds(1));
  EXPECT_FALSE(seen.expired()) << "while a lease is held";
  lease.reset();
  EXPECT_TRUE(seen.expired());
}

}  // namespace
}  // namespace refreshable
