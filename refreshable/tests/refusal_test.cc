// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses E2 and E3: executors that refuse or drop work, and
// sources that violate their interface.

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Outcome;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::Strings;

constexpr absl::Duration kForever = absl::InfiniteDuration();

class RefusalTest : public ::testing::Test {
 protected:
  ~RefusalTest() override {
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Lets the executor accept everything again. Expects that a read then gets
  // its token from the source's call number `call`, counted from 0.
  void ExpectWorks(size_t call) {
    probe_.refuse_runs = false;
    probe_.refuse_timers = false;
    Outcome outcome;
    token_->GetAsync(kForever, outcome.Callback());
    executor_.RunUntilIdle();
    ASSERT_EQ(held_->calls(), call + 1);
    held_->Answer(call, Hour("good"));
    executor_.RunUntilIdle();
    EXPECT_EQ(outcome.token, "good");
    EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "good");
  }

  ManualExecutor executor_;
  ProbeExecutor probe_{&executor_};
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_ = Make(&probe_, held_);
};

// ---- Attempts ----

TEST_F(RefusalTest, E2RefusedAttemptEndsTheFlight) {
  probe_.refuse_runs = true;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(token_->Get().status().code(), StatusCode::kUnavailable);
  }
  const Health health = token_->health();
  EXPECT_FALSE(health.refreshing);
  EXPECT_EQ(health.failures, 0) << "it is no failure of the source";
  EXPECT_EQ(health.waiters, 0);
  EXPECT_FALSE(health.exhausted);
  ExpectWorks(0);
}

TEST_F(RefusalTest, E2DroppedAttemptEndsTheFlight) {
  Outcome outcome[2];
  token_->GetAsync(kForever, outcome[0].Callback());
  token_->GetAsync(absl::Hours(1), outcome[1].Callback());
  // The task of the attempt and the Refreshable's timer.
  ASSERT_EQ(executor_.pending(), 2u);
  ASSERT_TRUE(executor_.DropPending(0));
  executor_.RunUntilIdle();
  for (const Outcome& each : outcome) {
    EXPECT_EQ(each.ended, 1);
    EXPECT_EQ(each.status.code(), StatusCode::kUnavailable);
  }
  EXPECT_EQ(token_->health().failures, 0);
  EXPECT_FALSE(token_->health().refreshing);
  ExpectWorks(0);
}

TEST_F(RefusalTest, E2DroppedAttemptWakesABlockedThread) {
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::thread reader([&] { read = token_->Get(); });
  lifecycle_testing::SpinUntil([&] { return executor_.pending() > 0; });
  ASSERT_TRUE(executor_.DropPending(0));
  reader.join();
  EXPECT_EQ(read->status().code(), StatusCode::kUnavailable);
}

TEST_F(RefusalTest, E2RefusedRefreshLeavesTheUsableToken) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  executor_.AdvanceBy(absl::Minutes(50));
  probe_.refuse_runs = true;
  EXPECT_EQ(token_->health().freshness, Freshness::kStale);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "t1");
    EXPECT_FALSE(token_->health().refreshing);
  }
  probe_.refuse_runs = false;
  EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "t1");
  executor_.RunUntilIdle();
  EXPECT_EQ(held_->calls(), 1u);
}

// ---- Callbacks ----

TEST_F(RefusalTest, E2RefusedCallbackRunsInTheCompletingThread) {
  std::thread::id ran_in;
  token_->GetAsync(kForever, [&](auto lease) {
    EXPECT_EQ(lease->token(), "t1");
    ran_in = std::this_thread::get_id();
  });
  executor_.RunUntilIdle();
  probe_.refuse_runs = true;
  std::thread completing([&] {
    held_->Answer(0, Hour("t1"));
    EXPECT_EQ(ran_in, std::this_thread::get_id());
  });
  completing.join();
}

// Regression test: in the past, a refused callback ran inside its own
// `GetAsync`, perhaps under the caller's locks. Now a timer gives the callback
// to the executor again a second later. If the executor still refuses the
// callback, the timer's task runs it.
TEST_F(RefusalTest, E2RefusedCallbackDoesNotRunInItsOwnGetAsync) {
  probe_.refuse_runs = true;
  Outcome failing;
  token_->GetAsync(kForever, failing.Callback());
  EXPECT_EQ(failing.ended, 0);
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(failing.ended, 1);
  EXPECT_EQ(failing.status.code(), StatusCode::kUnavailable);

  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  Outcome serving;
  token_->GetAsync(kForever, serving.Callback());
  EXPECT_EQ(serving.ended, 0);
  executor_.AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(serving.ended, 1);
  EXPECT_EQ(serving.token, "t1");
  EXPECT_EQ(executor_.RunUntilIdle(), 0u);
}

// The executor refuses both the callback and the timer that would offer it
// again. Regression test: in the past, the callback ran inside its own
// `GetAsync`. Now the next operation or the destructor runs the callback.
TEST_F(RefusalTest, E2WithTimersRefusedTooTheNextOperationRunsIt) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  probe_.refuse_runs = true;
  probe_.refuse_timers = true;
  Outcome outcome[3];
  token_->GetAsync(kForever, outcome[0].Callback());
  EXPECT_EQ(outcome[0].ended, 0) << "inside its own GetAsync";
  token_->GetAsync(kForever, outcome[1].Callback());
  EXPECT_EQ(outcome[0].ended, 1);
  EXPECT_EQ(outcome[1].ended, 0) << "inside its own GetAsync";
  token_->Reset();
  EXPECT_EQ(outcome[1].ended, 1);
  token_->GetAsync(kForever, outcome[2].Callback());
  token_.reset();
  EXPECT_EQ(outcome[2].ended, 1);
  EXPECT_EQ(outcome[2].status.code(), StatusCode::kCancelled);
}

TEST_F(RefusalTest, E2ParkedCallbackCanBeCancelled) {
  probe_.refuse_runs = true;
  Outcome outcome;
  const WaiterId id = token_->GetAsync(kForever, outcome.Callback());
  EXPECT_TRUE(token_->Cancel(id));
  EXPECT_FALSE(token_->Cancel(id));
  executor_.AdvanceBy(absl::Seconds(2));
  token_->Reset();
  EXPECT_EQ(outcome.ended, 0);
}

// Regression test: if the executor dropped the task that runs a callback, only
// the Refreshable's destructor ran the callback. Now the thread that drops the
// task runs the callback.
TEST_F(RefusalTest, E2DroppedCallbackRunsAllTheSame) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  Outcome outcome[2];
  token_->GetAsync(kForever, outcome[0].Callback());
  const WaiterId id = token_->GetAsync(kForever, outcome[1].Callback());
  EXPECT_TRUE(token_->Cancel(id));
  // The tasks of the two reads, and the Refreshable's timer.
  ASSERT_EQ(executor_.pending(), 3u);
  ASSERT_TRUE(executor_.DropPending(0));
  ASSERT_TRUE(executor_.DropPending(0));
  EXPECT_EQ(outcome[0].ended, 1);
  EXPECT_EQ(outcome[0].token, "t1");
  EXPECT_EQ(outcome[1].ended, 0);
}

// ---- Timers ----

TEST_F(RefusalTest, E2RefusedRetryTimerEndsTheFlightWithItsLastCause) {
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  probe_.refuse_timers = true;
  held_->Answer(0, absl::AbortedError("down"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kAborted);
  EXPECT_EQ(GetRefreshError(outcome.status)->cause, "down");
  EXPECT_FALSE(token_->health().refreshing);
  // Without a timer, reads still follow the schedule.
  EXPECT_EQ(token_->Get().status().code(), StatusCode::kAborted);
  EXPECT_EQ(token_->health().failures, 1);
  executor_.AdvanceBy(absl::Seconds(2));
  ExpectWorks(1);
}

TEST_F(RefusalTest, E2DroppedRetryTimerEndsTheFlightWithItsLastCause) {
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, absl::AbortedError("down"));
  ASSERT_EQ(executor_.pending(), 1u);
  ASSERT_TRUE(executor_.DropPending(0));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kAborted);
  executor_.AdvanceBy(absl::Seconds(2));
  ExpectWorks(1);
}

TEST_F(RefusalTest, E2RefusedAttemptTimeoutIsSeenByTheNextRead) {
  probe_.refuse_timers = true;
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  executor_.AdvanceBy(absl::Seconds(31));
  EXPECT_FALSE(held_->context(0).cancelled());
  EXPECT_FALSE(token_->Get(absl::ZeroDuration()).ok());
  EXPECT_TRUE(held_->context(0).cancelled());
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kDeadlineExceeded);
  executor_.AdvanceBy(absl::Seconds(2));
  ExpectWorks(1);
}

TEST_F(RefusalTest, E2WithoutTimersAnAnswerStillGoesToAll) {
  probe_.refuse_timers = true;
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t1");
  // Without a timer, each read looks at the clock.
  executor_.AdvanceBy(absl::Minutes(50));
  EXPECT_EQ(token_->Get(absl::ZeroDuration())->token(), "t1");
  executor_.RunUntilIdle();
  EXPECT_EQ(held_->calls(), 2u) << "a stale read starts a refresh";
  executor_.StepWall(-absl::Hours(2));
  executor_.AdvanceBy(absl::Minutes(10));
  EXPECT_FALSE(token_->TryGet().ok());
  EXPECT_FALSE(token_->Get(absl::ZeroDuration()).ok());
}

TEST_F(RefusalTest, E2RefusedDeadlineTimerEndsTheRead) {
  probe_.refuse_timers = true;
  Outcome outcome;
  token_->GetAsync(absl::Seconds(5), outcome.Callback());
  EXPECT_EQ(outcome.ended, 0);
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.status.code(), StatusCode::kUnavailable);
  ASSERT_EQ(held_->calls(), 1u) << "the flight goes on";
  held_->Answer(0, Hour("t1"));
  EXPECT_EQ(token_->TryGet()->token(), "t1");
}

// The second read's deadline is the moment for which the executor refused a
// timer. The Refreshable must not believe that this timer is armed.
TEST_F(RefusalTest, E2LostTimerIsTriedAgainForADeadline) {
  probe_.refuse_timers = true;
  Outcome outcome[3];
  token_->GetAsync(kForever, outcome[0].Callback());
  executor_.RunUntilIdle();
  probe_.refuse_timers = false;
  token_->GetAsync(absl::Seconds(30), outcome[1].Callback());
  token_->GetAsync(absl::Seconds(31), outcome[2].Callback());
  executor_.AdvanceBy(absl::Seconds(31));
  EXPECT_EQ(outcome[1].status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(outcome[2].ended, 1);
  token_.reset();
}

// The backoff ends at the moment for which the executor refused a timer.
// Regression test: in the past, the Refreshable believed that this timer was
// armed.
TEST_F(RefusalTest, E2LostTimerIsTriedAgainForABackoff) {
  Strings::Options options;
  options.policy.attempt_timeout = absl::Seconds(2);
  token_ = Make(&probe_, held_, options);
  Outcome outcome;
  probe_.refuse_timers = true;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  probe_.refuse_timers = false;
  held_->Answer(0, absl::AbortedError("down"));
  executor_.AdvanceBy(absl::Seconds(2));
  ASSERT_EQ(held_->calls(), 2u);
  held_->Answer(1, Hour("t2"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t2");
}

// Operations try to arm a refused timer again, which must not become an endless
// loop.
TEST_F(RefusalTest, E2RefusingForeverEndsInNoLoop) {
  probe_.refuse_timers = true;
  Strings::Options options;
  options.policy.refresh_ahead = true;
  token_ = Make(&probe_, held_, options);
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  Outcome outcome;
  token_->GetAsync(absl::Seconds(9), outcome.Callback());
  token_->Invalidate(Generation(1));
  token_->GetAsync(absl::Seconds(9), outcome.Callback());
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.ended, 2);
  EXPECT_LT(probe_.timers(), 20);
}

// ---- The source ----

class SourceTest : public RefusalTest {
 protected:
  // Returns the status of a read from a source that calls `function`.
  absl::Status Get(lifecycle_testing::LambdaSource<>::Function function) {
    Strings::Options options;
    options.policy.retry.max_retries = 0;
    token_ = Make(&probe_, MakeSource(std::move(function)), options);
    const absl::Status status = token_->Get().status();
    EXPECT_FALSE(token_->health().refreshing);
    EXPECT_EQ(token_->health().waiters, 0);
    return status;
  }
};

#ifdef ABSL_HAVE_EXCEPTIONS
TEST_F(SourceTest, E3SourceThatThrowsHasFailed) {
  const absl::Status status =
      Get([](const auto&, auto) { throw std::runtime_error("secret"); });
  EXPECT_EQ(status.code(), StatusCode::kUnknown) << status;
  EXPECT_EQ(status.message().find("secret"), std::string::npos) << status;
  EXPECT_EQ(token_->health().failures, 1);
}

#ifdef __cpp_rtti
TEST_F(SourceTest, E3TheErrorNamesTheExceptionsType) {
  const auto cause = [](const absl::Status& status) {
    return GetRefreshError(status).value_or(RefreshError()).cause;
  };
  const auto in_fetch = [](const auto&, auto) {
    throw std::out_of_range("secret");
  };
  EXPECT_EQ(cause(Get(in_fetch)), "the token source threw std::out_of_range");
  EXPECT_EQ(cause(Get([](const auto&, auto) { throw 1; })),
            "the token source threw int");
  std::optional<FetchDone<std::string>> kept;
  EXPECT_EQ(cause(Get([&](const auto&, auto done) {
              kept.emplace(std::move(done));
              throw std::out_of_range("secret");
            })),
            "the token source threw std::out_of_range");
  // If the source itself catches the exception, the error cannot name the
  // exception's type.
  EXPECT_EQ(cause(Get([](const auto&, auto done) {
              try {
                const auto dropped = std::move(done);
                throw std::out_of_range("secret");
              } catch (const std::exception&) {
              }
            })),
            "the token source threw");

  Strings::Options options;
  options.show_exception_text = true;
  token_ = Make(&probe_, MakeSource(in_fetch), options);
  EXPECT_EQ(cause(token_->Get().status()),
            "the token source threw std::out_of_range: secret");
}
#endif

TEST_F(SourceTest, E3BlockingSourceThatThrowsHasFailed) {
  token_ = Make(&probe_, BlockingSource<std::string>(
                             []() -> lifecycle_testing::Result { throw 1; }));
  EXPECT_EQ(token_->Get().status().code(), StatusCode::kUnknown);
  EXPECT_EQ(token_->health().failures, 1);
}

TEST_F(SourceTest, E3WhatIsThrownAfterTheAnswerIsIgnored) {
  EXPECT_TRUE(Get([](const auto&, auto done) {
                done(Hour("t1"));
                throw 1;
              }).ok());
  EXPECT_EQ(token_->health().failures, 0);
  EXPECT_EQ(Get([](const auto&, auto done) {
              done(absl::NotFoundError("none"));
              throw 1;
            }).code(),
            StatusCode::kNotFound);
  EXPECT_EQ(token_->health().failures, 1);
}

TEST_F(SourceTest, E3ThrowingWithDoneKeptHasFailed) {
  std::optional<FetchDone<std::string>> kept;
  EXPECT_EQ(Get([&](const auto&, auto done) {
              kept.emplace(std::move(done));
              throw 1;
            }).code(),
            StatusCode::kUnknown);
  (*kept)(Hour("late"));
  EXPECT_FALSE(token_->TryGet().ok());
  EXPECT_EQ(token_->health().failures, 1);
  EXPECT_EQ(token_->stats().attempts_discarded, 1);
}
#endif

TEST_F(SourceTest, E3DroppingDoneHasFailed) {
  EXPECT_EQ(Get([](const auto&, auto) {}).code(), StatusCode::kInternal);
  EXPECT_EQ(token_->health().failures, 1);
}

TEST_F(SourceTest, E3DroppingDoneLaterOnAnyThreadHasFailed) {
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  std::thread([&] { held_->Drop(0); }).join();
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.status.code(), StatusCode::kInternal);
  EXPECT_EQ(token_->health().failures, 1);
}

TEST_F(SourceTest, E3SecondAnswerIsIgnored) {
  EXPECT_TRUE(Get([](const auto&, auto done) {
                done(Hour("t1"));
                done(Hour("t2"));
                done(absl::InternalError("no"));
              }).ok());
  EXPECT_EQ(token_->TryGet()->token(), "t1");
  EXPECT_EQ(token_->stats().tokens_published, 1);
  EXPECT_EQ(token_->stats().attempts_discarded, 0);
  EXPECT_EQ(Get([](const auto&, auto done) {
              done(absl::NotFoundError("none"));
              done(Hour("t2"));
            }).code(),
            StatusCode::kNotFound);
  EXPECT_FALSE(token_->TryGet().ok());
}

TEST_F(SourceTest, E3AssigningToDoneDropsIt) {
  EXPECT_EQ(Get([](const auto&, auto done) {
              done = FetchDone<std::string>(nullptr);
              done(Hour("nowhere"));
            }).code(),
            StatusCode::kInternal);
}

}  // namespace
}  // namespace refreshable
