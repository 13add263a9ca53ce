// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses R9 to R12 and T2.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/testing/scripted_source.h"
#include "refreshable/tests/scenario_test_util.h"

namespace refreshable {
namespace {

using ::refreshable_testing::CausedBy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HasGeneration;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::MessageIs;
using ::refreshable_testing::ScriptedSource;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

static_assert(sizeof(Lease<std::string>) == 16);
static_assert(std::is_nothrow_move_constructible_v<Lease<std::string>>);
static_assert(std::is_nothrow_move_assignable_v<Lease<std::string>>);
static_assert(!std::is_copy_constructible_v<Lease<std::string>>);
static_assert(!std::is_default_constructible_v<Lease<std::string>>);

class RefreshablePromisesTest : public ScenarioTest {
 protected:
  // Under this policy no token is young, so an invalidation does not count as a
  // failure (A5).
  static RefreshPolicy AnyAge() {
    RefreshPolicy policy = ExactPolicy();
    policy.young_token_age = absl::ZeroDuration();
    return policy;
  }
};

// ---- R9: an invalidated token is never read again ----

TEST_F(RefreshablePromisesTest, R9InvalidatedTokenIsNotRead) {
  const auto token = MakeWithToken(AnyAge());
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  EXPECT_THAT(token->TryGet(), FailsWith(absl::StatusCode::kUnavailable));
  EXPECT_THAT(token->Get(absl::ZeroDuration()),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), AllOf(HoldsToken("t2"), HasGeneration(2)));
}

// The token is invalidated while the read's callback is queued. The read then
// waits for the next token.
TEST_F(RefreshablePromisesTest, R9NotByACallbackThatWasQueuedBefore) {
  const auto token = MakeWithToken(AnyAge());
  token->GetAsync(absl::InfiniteDuration(), Note());
  ASSERT_EQ(QueuedTasks(), 1u);  // This task runs the callback.
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, IsEmpty());
  source_.Release(1, "t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
}

// The token is published and invalidated before the waiting read's callback
// runs.
TEST_F(RefreshablePromisesTest, R9NotByAWaiterOnItsWay) {
  const auto token = Make(AnyAge());
  token->GetAsync(absl::InfiniteDuration(), Note());
  executor_.RunUntilIdle();
  source_.Release(0, "t1", absl::Hours(1));
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  source_.Answer("t2", absl::Hours(1));
  executor_.RunUntilIdle();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t2")));
}

// The hook invalidates the first token before the blocking read ends. The read
// must then wait for the next token.
TEST_F(RefreshablePromisesTest, R9NotByABlockedReaderOnItsWay) {
  Token* self = nullptr;
  Token::Options options{&executor_, AnyAge()};
  options.on_token_changed = [&](const Lease<std::string>& lease) {
    if (lease.generation() == Generation(1)) {
      self->Invalidate(lease.generation());
    }
  };
  const auto token = *Token::Create(source_.Share(), options);
  self = token.get();
  source_.Answer("t1", absl::Hours(1));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

TEST_F(RefreshablePromisesTest, R9FailedRefreshDoesNotBringItBack) {
  RefreshPolicy policy = ExactPolicy();
  policy.max_stale_on_error = absl::Hours(1);
  policy.retry.max_retries = 0;
  const auto token = MakeWithToken(policy);
  executor_.AdvanceBy(absl::Seconds(60));
  // Now the token is stale. It is no longer young, so its invalidation does not
  // count as a failure (A5).
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  source_.Always(absl::UnavailableError("502"));
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(token->Get(), CausedBy("502"));
    EXPECT_FALSE(token->TryGet().ok());
    executor_.AdvanceBy(absl::Seconds(1));
  }
}

TEST_F(RefreshablePromisesTest, R9SameTokenAgainIsAFailure) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = MakeWithToken(policy);
  executor_.AdvanceBy(absl::Seconds(40));
  EXPECT_TRUE(token->Invalidate(Generation(1)));
  source_.Answer("t1", absl::Hours(1));
  EXPECT_FALSE(token->Get().ok());
  EXPECT_EQ(source_.calls()[1].context.reason(), RefreshReason::kRejected);
  EXPECT_EQ(source_.calls()[1].context.rejected(), Generation(1));
  executor_.AdvanceBy(absl::Seconds(2));
  source_.Answer("t2", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
  EXPECT_FALSE(token->Invalidate(Generation(1)));
  EXPECT_THAT(token->TryGet(), HoldsToken("t2"));
}

// ---- R10: no read waits for what is queued behind it ----

TEST_F(RefreshablePromisesTest, R10ReadInsideATaskRunsItsOwnAttempt) {
  const auto token = Make();
  source_.Answer("t1", absl::Hours(1));
  std::vector<std::string> order;
  executor_.Run([&] {
    EXPECT_THAT(token->Get(), HoldsToken("t1"));
    order.push_back("read");
  });
  executor_.Run([&] { order.push_back("behind"); });
  executor_.RunUntilIdle();
  EXPECT_THAT(order, ElementsAre("read", "behind"));
}

// The reader occupies the only thread for attempts, so only the reader can run
// the queued attempt.
TEST_F(RefreshablePromisesTest, R10PoolOfOneThreadClaimsAQueuedAttempt) {
  ThreadExecutor::Options one;
  one.blocking_threads = 1;
  const auto pool = *ThreadExecutor::Create(one);
  ScriptedSource<std::string> source;
  source.Answer("t1", absl::Hours(1));
  const auto token = *Token::Create(source.Share(), {pool.get()});
  std::optional<LeaseOr> async;
  std::optional<LeaseOr> seen;
  absl::Notification queued, read, done;
  pool->RunBlocking([&] {
    queued.WaitForNotification();
    seen = token->Get();
    read.Notify();
  });
  token->GetAsync(absl::InfiniteDuration(), [&](LeaseOr lease) {
    async = std::move(lease);
    done.Notify();
  });
  queued.Notify();
  read.WaitForNotification();
  done.WaitForNotification();
  EXPECT_THAT(*seen, HoldsToken("t1"));
  EXPECT_THAT(*async, HoldsToken("t1"));
  EXPECT_EQ(source.call_count(), 1u);
}

// The reader occupies the only thread for attempts. A timer queues the retry
// while the reader waits.
TEST_F(RefreshablePromisesTest, R10PoolOfOneThreadRunsTheRetries) {
  ThreadExecutor::Options one;
  one.blocking_threads = 1;
  const auto pool = *ThreadExecutor::Create(one);
  ScriptedSource<std::string> source;
  source.Answer(absl::UnavailableError("502"));
  source.Answer("t1", absl::Hours(1));
  RefreshPolicy policy = ExactPolicy();
  policy.retry.initial_backoff = absl::Milliseconds(1);
  policy.min_interval = absl::ZeroDuration();
  const auto token = *Token::Create(source.Share(), {pool.get(), policy});
  std::optional<LeaseOr> seen;
  absl::Notification done;
  pool->RunBlocking([&] {
    seen = token->Get();
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_THAT(*seen, HoldsToken("t1"));
  EXPECT_EQ(source.call_count(), 2u);
}

// The read's deadline passes while the read runs an attempt itself. The read
// ends only after that attempt.
TEST_F(RefreshablePromisesTest, R10ClaimersDeadlineIsCheckedBetweenAttempts) {
  const auto token = Make();
  source_.AnswerWith([&](const FetchContext&) {
    executor_.Suspend(absl::Seconds(10));
    return absl::UnavailableError("502");
  });
  source_.Always("t1", absl::Hours(1));
  std::optional<LeaseOr> seen;
  executor_.Run([&] { seen = token->Get(absl::Seconds(5)); });
  executor_.RunNext();
  ASSERT_TRUE(seen.has_value());
  EXPECT_FALSE(seen->ok());
  EXPECT_EQ(source_.call_count(), 1u);
  EXPECT_EQ(Elapsed(), absl::Seconds(10));
}

TEST_F(RefreshablePromisesTest, R10SourceMayReadAnotherRefreshable) {
  const auto token = Make();
  ScriptedSource<std::string> other_source;
  other_source.Answer("secret", absl::Hours(1));
  const auto other = *Token::Create(other_source.Share(), {&executor_});
  source_.AnswerWith([&](const FetchContext&) {
    return Credential<std::string>("t1 by " + other->Get()->token(),
                                   Expiry::Never());
  });
  EXPECT_THAT(token->Get(), HoldsToken("t1 by secret"));
}

// The source of `token` reads `other`, whose source reads `token`. This last
// read would wait for the attempt that it is part of, so it fails at once.
TEST_F(RefreshablePromisesTest, R10CircleOfSourcesEnds) {
  const auto token = Make();
  ScriptedSource<std::string> other_source;
  const auto other = *Token::Create(other_source.Share(), {&executor_});
  other_source.AnswerWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        return token->Get().status();
      });
  source_.AnswerWith(
      [&](const FetchContext&) -> absl::StatusOr<Credential<std::string>> {
        return other->Get().status();
      });
  EXPECT_THAT(token->Get(), FailsWith(absl::StatusCode::kFailedPrecondition));
}

// ---- R11: what does not wait, and where callbacks run ----

TEST_F(RefreshablePromisesTest, R11TryGetStartsNothing) {
  const auto token = Make();
  EXPECT_THAT(token->TryGet(),
              AllOf(FailsWith(absl::StatusCode::kUnavailable),
                    MessageIs(HasSubstr("expired, not being refreshed"))));
  EXPECT_EQ(executor_.pending(), 0u);
  token->GetAsync(absl::InfiniteDuration(), Note());
  EXPECT_THAT(token->TryGet(), MessageIs(HasSubstr("expired, being")));
  source_.Answer("t1", absl::Seconds(100));
  executor_.RunUntilIdle();
  executor_.AdvanceBy(absl::Seconds(60));
  EXPECT_THAT(token->TryGet(), HoldsToken("t1"));  // This token is stale.
  EXPECT_EQ(QueuedTasks(), 0u);
  executor_.AdvanceBy(absl::Seconds(60));
  EXPECT_FALSE(token->TryGet().ok());
  EXPECT_EQ(QueuedTasks(), 0u);
  EXPECT_EQ(source_.call_count(), 1u);
}

TEST_F(RefreshablePromisesTest, R11CallbackRunsThroughTheExecutor) {
  const auto token = MakeWithToken();
  token->GetAsync(absl::ZeroDuration(), Note());
  EXPECT_THAT(outcomes_, IsEmpty());
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunNext();
  EXPECT_THAT(outcomes_, ElementsAre(HoldsToken("t1")));
}

// The first error is known when the read begins. The second error is a read's
// timeout.
TEST_F(RefreshablePromisesTest, R11ErrorsRunThroughTheExecutorToo) {
  RefreshPolicy policy = ExactPolicy();
  policy.retry.max_retries = 0;
  const auto token = Make(policy);
  source_.Answer(absl::UnavailableError("502"));
  EXPECT_FALSE(token->Get().ok());
  token->GetAsync(absl::InfiniteDuration(), Note());
  EXPECT_THAT(outcomes_, IsEmpty());
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunNext();
  EXPECT_THAT(outcomes_, ElementsAre(CausedBy("502")));
  executor_.AdvanceBy(absl::Seconds(2));
  token->GetAsync(absl::Seconds(1), Note());  // The source does not answer.
  executor_.RunUntilIdle();
  executor_.RunPending(0);  // Runs the timer for the deadline.
  EXPECT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(QueuedTasks(), 1u);
  executor_.RunUntilIdle();
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_THAT(outcomes_[1], FailsWith(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(RefreshablePromisesTest, R11CallbackRunsUnderNoLock) {
  const auto token = MakeWithToken();
  int ran = 0;
  token->GetAsync(absl::InfiniteDuration(), [&](LeaseOr lease) {
    std::thread other([&] { EXPECT_TRUE(token->TryGet().ok()); });
    other.join();
    EXPECT_TRUE(token->Invalidate(lease->generation()));
    token->Reset();
    const WaiterId id = token->GetAsync(absl::Seconds(9), Note());
    EXPECT_TRUE(token->Cancel(id));
    ++ran;
  });
  executor_.RunUntilIdle();
  EXPECT_EQ(ran, 1);
}

// ---- R12: leases outlive everything ----

// A token that counts its living objects, without those that were moved from.
class Counted {
 public:
  explicit Counted(std::string text) : text_(std::move(text)), live_(true) {
    ++count_;
  }
  Counted(Counted&& other) noexcept
      : text_(std::move(other.text_)),
        live_(std::exchange(other.live_, false)) {}
  ~Counted() {
    if (live_) --count_;
  }
  const std::string& text() const { return text_; }
  static int count() { return count_; }

 private:
  static std::atomic<int> count_;
  std::string text_;
  bool live_;
};
std::atomic<int> Counted::count_{0};

class CountedTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(Counted::count(), 0); }
  void TearDown() override { EXPECT_EQ(Counted::count(), 0); }
};
using RefreshableLeaseTest = CountedTest;

TEST_F(RefreshableLeaseTest, R12LeaseOutlivesEverything) {
  std::optional<Lease<Counted>> lease;
  std::shared_ptr<const Counted> share;
  std::thread thread([&] {
    ManualExecutor executor;
    ScriptedSource<Counted> source;
    const auto token =
        *Refreshable<Counted>::Create(source.Share(), {&executor});
    source.Answer(Counted("one"), absl::Hours(1));
    lease = *token->Get();
    share = lease->Share();
    ASSERT_TRUE(token->Invalidate(Generation(1)));
    ASSERT_TRUE(token->Install({Counted("two"), Expiry::Never()}).ok());
    EXPECT_EQ(Counted::count(), 2);
  });
  thread.join();
  EXPECT_EQ(Counted::count(), 1);
  EXPECT_EQ(lease->token().text(), "one");
  EXPECT_EQ(lease->generation(), Generation(1));
  lease.reset();
  EXPECT_EQ(share->text(), "one");
  share.reset();
  EXPECT_EQ(Counted::count(), 0);
}

TEST_F(RefreshableLeaseTest, R12ReplacedTokenIsFreedWithItsLastLease) {
  ManualExecutor executor;
  ScriptedSource<Counted> source;
  const auto token = *Refreshable<Counted>::Create(source.Share(), {&executor});
  source.Answer(Counted("one"), absl::Hours(1));
  auto first = *token->Get();
  auto second = *token->Get();
  ASSERT_TRUE(token->Install({Counted("two"), Expiry::Never()}).ok());
  EXPECT_EQ(Counted::count(), 2);
  first = std::move(second);
  EXPECT_EQ(first.token().text(), "one");
  EXPECT_EQ(Counted::count(), 2);
  first = *token->Get();  // Ends the last lease of "one".
  EXPECT_EQ(first.token().text(), "two");
  EXPECT_EQ(Counted::count(), 1);
}

TEST_F(RefreshableLeaseTest, R12UnleasedTokenIsFreedWhenReplaced) {
  ManualExecutor executor;
  ScriptedSource<Counted> source;
  const auto token = *Refreshable<Counted>::Create(source.Share(), {&executor});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(token->Install({Counted("t"), Expiry::Never()}).ok());
    EXPECT_EQ(Counted::count(), 1);
  }
}

// The library keeps an invalidated token, to recognize it if the source returns
// it again.
TEST_F(RefreshableLeaseTest, R12InvalidatedTokenIsFreedByTheNextPublication) {
  ManualExecutor executor;
  ScriptedSource<Counted> source;
  const auto token = *Refreshable<Counted>::Create(source.Share(), {&executor});
  ASSERT_TRUE(token->Install({Counted("one"), Expiry::Never()}).ok());
  ASSERT_TRUE(token->Invalidate(Generation(1)));
  EXPECT_EQ(Counted::count(), 1);
  ASSERT_TRUE(token->Install({Counted("two"), Expiry::Never()}).ok());
  EXPECT_EQ(Counted::count(), 1);
}

// The destructor frees all tokens, although a call of the source is not
// answered yet.
TEST_F(RefreshableLeaseTest, R12NothingIsKeptBeyondTheEnd) {
  ManualExecutor executor;
  ScriptedSource<Counted> source;
  auto token = *Refreshable<Counted>::Create(source.Share(), {&executor});
  ASSERT_TRUE(token->Install({Counted("one"), Expiry::Never()}).ok());
  ASSERT_TRUE(token->Invalidate(Generation(1)));
  token->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor.RunUntilIdle();  // The source is called.
  token.reset();
  EXPECT_EQ(Counted::count(), 0);
  source.Release(0, Counted("late"), absl::Hours(1));
  EXPECT_EQ(Counted::count(), 0);
}

// ---- T2: scenarios are reproducible ----

TEST(RefreshableScenarioTest, T2SeededJitterRepeats) {
  const auto run = [](uint64_t seed) {
    ManualExecutor executor;
    ScriptedSource<std::string> source(&executor.clock());
    source.Always(absl::UnavailableError("502"));
    Refreshable<std::string>::Options options{&executor};
    options.jitter_seed = seed;
    const auto token =
        *Refreshable<std::string>::Create(source.Share(), options);
    EXPECT_FALSE(token->Get().ok());
    return source.start_times();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
  EXPECT_EQ(run(1).size(), 7u);
}

}  // namespace
}  // namespace refreshable
