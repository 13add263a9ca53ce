// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses E5, R8, S4 and T1: what user code may do while the
// library runs it.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
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
using lifecycle_testing::Answering;
using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Outcome;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

constexpr absl::Duration kForever = absl::InfiniteDuration();

// Calls methods of `refreshable`. They would not return if this thread held a
// lock of the library. Returns the status code of a `Get` without a timeout.
template <typename Token>
StatusCode UseAll(Refreshable<Token>& refreshable) {
  (void)refreshable.TryGet();
  refreshable.health();
  refreshable.stats();
  refreshable.Invalidate(Generation(1000));
  refreshable.Cancel(
      refreshable.GetAsync(absl::ZeroDuration(), [](const auto&) {}));
  (void)refreshable.Get(absl::ZeroDuration());
  return refreshable.Get().status().code();
}

// A token whose comparison and destructor call functions of the test.
class Nosy {
 public:
  using Function = std::function<void()>;

  Nosy(std::string bytes, Function compared, Function destroyed)
      : bytes_(std::move(bytes)),
        compared_(std::move(compared)),
        destroyed_(std::move(destroyed)) {}
  Nosy(Nosy&& other) noexcept
      : bytes_(std::move(other.bytes_)),
        compared_(std::exchange(other.compared_, nullptr)),
        destroyed_(std::exchange(other.destroyed_, nullptr)) {}
  ~Nosy() {
    if (destroyed_) destroyed_();
  }

  friend bool operator==(const Nosy& a, const Nosy& b) {
    if (a.compared_) a.compared_();
    return a.bytes_ == b.bytes_;
  }

 private:
  std::string bytes_;
  Function compared_;
  Function destroyed_;
};

class ReentrancyTest : public ::testing::Test {
 protected:
  ~ReentrancyTest() override {
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  ManualExecutor executor_;
  ProbeExecutor probe_{&executor_};
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_;
};

// ---- E5: user code uses the Refreshable ----

TEST_F(ReentrancyTest, E5SourceMayUseTheRefreshable) {
  int fetched = 0;
  token_ = Make(&executor_, MakeSource([&](const auto&, auto done) {
    EXPECT_EQ(UseAll(*token_), StatusCode::kFailedPrecondition);
    ++fetched;
    done(Hour("t1"));
    EXPECT_EQ(UseAll(*token_), StatusCode::kOk);
  }));
  EXPECT_EQ(token_->Get()->token(), "t1");
  EXPECT_EQ(fetched, 1);
}

TEST_F(ReentrancyTest, E5CallbackMayUseTheRefreshable) {
  token_ = Make(&executor_, Answering("t1"));
  Outcome outcome;
  token_->GetAsync(kForever, [&](auto lease) {
    EXPECT_EQ(UseAll(*token_), StatusCode::kOk);
    outcome.Callback()(std::move(lease));
  });
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t1");
}

TEST_F(ReentrancyTest, E5HookMayUseTheRefreshable) {
  int ran = 0;
  Strings::Options options;
  options.on_token_changed = [&](const auto&) {
    EXPECT_EQ(UseAll(*token_), StatusCode::kOk);
    ++ran;
  };
  token_ = Make(&executor_, Answering("t1"), options);
  EXPECT_TRUE(token_->Get().ok());
  EXPECT_TRUE(token_->Install(Hour("t2")).ok());
  EXPECT_EQ(ran, 2);
}

// The observer's own reads cause further events, so the observer stops reading
// after 99 events.
TEST_F(ReentrancyTest, E5ObserverMayUseTheRefreshable) {
  int depth = 0;
  std::vector<EventKind> told;
  int answers = 0;
  Strings::Options options;
  options.policy.retry.max_retries = 0;
  options.observer = Observe([&](const Event& event) {
    EXPECT_EQ(++depth, 1) << "events are told one at a time";
    told.push_back(event.kind);
    if (told.size() < 100) UseAll(*token_);
    --depth;
  });
  token_ = Make(&executor_, MakeSource([&](const auto&, auto done) {
    done(++answers % 3 == 0 ? lifecycle_testing::Result(Hour("t"))
                            : absl::UnavailableError("down"));
  }),
                options);
  for (int i = 0; i < 10; ++i) {
    (void)token_->Get(absl::Minutes(5));
    executor_.AdvanceBy(absl::Minutes(11));
    token_->Invalidate(token_->health().generation);
  }
  EXPECT_GT(told.size(), 20u);
  EXPECT_EQ(token_->health().waiters, 0);
}

// Regression test: in the past, the observer's read waited for the attempt that
// its own thread was about to make.
TEST_F(ReentrancyTest, E5ObserverOfAnAttemptMayNotWaitForIt) {
  std::optional<StatusCode> code;
  Strings::Options options;
  options.observer = Observe([&](const Event& event) {
    if (event.kind == EventKind::kAttemptStarted) code = UseAll(*token_);
  });
  token_ = Make(&executor_, Answering("t1"), options);
  EXPECT_EQ(token_->Get()->token(), "t1");
  EXPECT_EQ(code, StatusCode::kFailedPrecondition);
  EXPECT_EQ(token_->health().failures, 0);
}

// Regression test: in the past, a read inside `classify` waited for the attempt
// whose failure was being classified.
TEST_F(ReentrancyTest, E5ClassifyMayUseTheRefreshable) {
  std::optional<StatusCode> code;
  Strings::Options options;
  options.policy.retry.max_retries = 0;
  options.classify = [&](const absl::Status&) {
    code = UseAll(*token_);
    return FailureClass::kTransient;
  };
  token_ = Make(&executor_, held_, options);
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  // `Fetch` has already returned, so `classify` runs outside it.
  held_->Answer(0, absl::AbortedError("down"));
  executor_.RunUntilIdle();
  EXPECT_EQ(code, StatusCode::kFailedPrecondition);
  EXPECT_EQ(outcome.status.code(), StatusCode::kAborted);
}

// The library calls `operator==` to find out whether the source has returned
// the invalidated token again.
TEST_F(ReentrancyTest, E5TokenMayUseTheRefreshable) {
  std::unique_ptr<Refreshable<Nosy>> token;
  std::vector<StatusCode> compared;
  int destroyed = 0;
  const auto make = [&](std::string bytes) -> Credential<Nosy> {
    return {Nosy(
                std::move(bytes), [&] { compared.push_back(UseAll(*token)); },
                [&] {
                  ++destroyed;
                  if (token != nullptr) UseAll(*token);
                }),
            Expiry::In(absl::Hours(1))};
  };
  std::vector<FetchDone<Nosy>> calls;
  typename Refreshable<Nosy>::Options options;
  options.executor = &executor_;
  options.policy.jitter = 0;
  options.policy.retry.max_retries = 0;
  options.policy.min_interval = absl::ZeroDuration();
  token = *Refreshable<Nosy>::Create(
      std::make_shared<lifecycle_testing::LambdaSource<Nosy>>(
          [&](const FetchContext&, FetchDone<Nosy> done) {
            calls.push_back(std::move(done));
          }),
      options);
  ASSERT_TRUE(token->Install(make("t1")).ok());
  ASSERT_TRUE(token->Invalidate(Generation(1)));
  EXPECT_EQ(destroyed, 0) << "kept to be compared";
  int ended = 0;
  token->GetAsync(kForever, [&](const auto& lease) {
    EXPECT_EQ(lease.status().code(), StatusCode::kFailedPrecondition);
    ++ended;
  });
  executor_.RunUntilIdle();
  ASSERT_EQ(calls.size(), 1u);
  calls[0](make("t1"));  // The source returns the invalidated token again.
  EXPECT_EQ(compared, std::vector{StatusCode::kFailedPrecondition});
  executor_.RunUntilIdle();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(destroyed, 1);
  ASSERT_TRUE(token->Install(make("t2")).ok());
  EXPECT_EQ(destroyed, 2);
  ASSERT_TRUE(token->Install(make("t3")).ok());
  EXPECT_EQ(destroyed, 3);
  Refreshable<Nosy>* const dying = token.get();
  (void)token.release();  // The destructor of "t3" must find `token` null.
  delete dying;
  EXPECT_EQ(destroyed, 4);
}

TEST_F(ReentrancyTest, E5BlockedObserverHoldsUpNobody) {
  absl::Notification inside;
  absl::Notification leave;
  Strings::Options options;
  options.observer = Observe([&](const Event& event) {
    if (event.kind != EventKind::kTokenPublished || inside.HasBeenNotified()) {
      return;
    }
    inside.Notify();
    leave.WaitForNotification();
  });
  token_ = Make(&executor_, Answering("t2"), options);
  std::thread blocked([&] { EXPECT_TRUE(token_->Install(Hour("t1")).ok()); });
  inside.WaitForNotification();
  EXPECT_EQ(UseAll(*token_), StatusCode::kOk);
  EXPECT_TRUE(token_->Invalidate(Generation(1)));
  EXPECT_EQ(token_->Get()->token(), "t2");
  leave.Notify();
  blocked.join();
}

// ---- E5, S4: the hook ----

TEST_F(ReentrancyTest, S4HookRunsAfterPublicationAndBeforeWaitersWake) {
  Outcome outcome;
  std::atomic<bool> read{false};
  int ran = 0;
  Strings::Options options;
  options.on_token_changed = [&](const Lease<std::string>& lease) {
    ++ran;
    EXPECT_EQ(lease.generation(), Generation(1));
    EXPECT_EQ(token_->TryGet()->token(), "t1");
    EXPECT_EQ(token_->health().waiters, 2);
    executor_.RunUntilIdle();
    EXPECT_EQ(outcome.ended, 0);
    EXPECT_FALSE(read);
  };
  token_ = Make(&executor_, held_, options);
  token_->GetAsync(kForever, outcome.Callback());
  std::thread reader([&] {
    EXPECT_TRUE(token_->Get().ok());
    read = true;
  });
  SpinUntil([&] { return token_->health().waiters == 2; });
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  reader.join();
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t1");
  EXPECT_EQ(ran, 1);
}

#ifdef ABSL_HAVE_EXCEPTIONS
// Regression test: in the past, a read that an exception had ended remained in
// the list of waiting reads.
TEST_F(ReentrancyTest, T1AnExceptionOfATaskEndsTheReadThatDrives) {
  token_ = Make(&executor_, held_);
  executor_.Run([] { throw 1; });
  EXPECT_THROW(token_->Get(kForever).status().IgnoreError(), int);
  EXPECT_EQ(token_->health().waiters, 0);
  executor_.RunUntilIdle();
  executor_.Run([] { throw 1; });
  EXPECT_THROW(token_->Get(absl::Seconds(5)).status().IgnoreError(), int);
  EXPECT_EQ(token_->health().waiters, 0);
  held_->Answer(0, Hour("t1"));
  EXPECT_TRUE(token_->Get().ok());
}

TEST_F(ReentrancyTest, E5WhatUserCodeThrowsIsIgnored) {
  Strings::Options options;
  options.on_token_changed = [](const auto&) { throw 1; };
  options.observer = Observe([](const Event&) { throw 1; });
  options.classify = [](const absl::Status&) -> FailureClass { throw 1; };
  options.same_token = [](const auto&, const auto&) -> bool { throw 1; };
  token_ = Make(&executor_, held_, options);
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, absl::UnavailableError("down"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.status.code(), StatusCode::kUnavailable)
      << "unsorted, a failure is permanent";
  EXPECT_TRUE(token_->Install(Hour("t1")).ok());
  EXPECT_TRUE(token_->Invalidate(Generation(1)));
  token_->GetAsync(kForever, outcome.Callback());
  executor_.RunUntilIdle();
  ASSERT_EQ(held_->calls(), 2u);
  held_->Answer(1, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(outcome.token, "t1") << "not known to be the same";
}
#endif

// The hook invalidates the first token before the readers wake, so they must
// wait for the next token.
TEST_F(ReentrancyTest, E5WakingReadersRecheckAndJoinTheNextFlight) {
  Strings::Options options;
  options.on_token_changed = [&](const Lease<std::string>& lease) {
    if (lease.generation() == Generation(1)) {
      EXPECT_TRUE(token_->Invalidate(Generation(1)));
    }
  };
  options.policy.young_token_age = absl::ZeroDuration();
  token_ = Make(&executor_, held_, options);
  Outcome outcome;
  token_->GetAsync(kForever, outcome.Callback());
  std::optional<absl::StatusOr<Lease<std::string>>> read;
  std::thread reader([&] { read = token_->Get(); });
  SpinUntil([&] { return token_->health().waiters == 2; });
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  SpinUntil([&] {
    executor_.RunUntilIdle();
    return held_->calls() == 2 && token_->health().waiters == 2;
  });
  EXPECT_EQ(outcome.ended, 0);
  held_->Answer(1, Hour("t2"));
  reader.join();
  executor_.RunUntilIdle();
  EXPECT_EQ((*read)->token(), "t2");
  EXPECT_EQ(outcome.token, "t2");
}

// A read without a deadline usually fails if a ManualExecutor has nothing left
// to run. But here another thread, which is inside `on_token_changed`, will
// wake the read.
TEST_F(ReentrancyTest, T1DrivingReadWaitsForTheThreadThatIsToWakeIt) {
  absl::Notification published;
  absl::Notification idle;
  Strings::Options options;
  options.on_token_changed = [&](const auto&) {
    published.Notify();
    idle.WaitForNotification();
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
  };
  token_ = Make(&probe_, held_, options);
  token_->GetAsync(kForever, [](const auto&) {});
  executor_.RunUntilIdle();
  std::thread answering;
  int drives = 0;
  probe_.on_drive = [&] {
    // The first call only asks whether this thread may drive the executor.
    if (++drives != 2) return;
    answering = std::thread([&] {
      held_->Answer(0, Credential<std::string>("t1", Expiry::Never()));
    });
    published.WaitForNotification();
    idle.Notify();
  };
  const auto lease = token_->Get();
  answering.join();
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->token(), "t1");
}

// ---- R8: Cancel ----

TEST_F(ReentrancyTest, R8EachReadIsCancelledAlone) {
  token_ = Make(&executor_, held_);
  Outcome outcome[3];
  WaiterId ids[3];
  for (int i = 0; i < 3; ++i) {
    ids[i] = token_->GetAsync(kForever, outcome[i].Callback());
  }
  EXPECT_TRUE(token_->Cancel(ids[1]));
  EXPECT_FALSE(token_->Cancel(ids[1]));
  EXPECT_FALSE(token_->Cancel(WaiterId::kNone));
  executor_.RunUntilIdle();
  ASSERT_EQ(held_->calls(), 1u);
  EXPECT_FALSE(held_->context(0).cancelled());
  held_->Answer(0, Hour("t1"));
  // The third read can still be cancelled, because its callback is only queued.
  EXPECT_TRUE(token_->Cancel(ids[2]));
  executor_.RunUntilIdle();
  EXPECT_FALSE(token_->Cancel(ids[0]));
  EXPECT_EQ(outcome[0].ended, 1);
  EXPECT_EQ(outcome[1].ended, 0);
  EXPECT_EQ(outcome[2].ended, 0);
}

TEST_F(ReentrancyTest, R8CallbackMayCancelItsNeighbour) {
  token_ = Make(&executor_, held_);
  Outcome second;
  WaiterId ids[2];
  ids[0] = token_->GetAsync(kForever, [&](auto) {
    EXPECT_FALSE(token_->Cancel(ids[0])) << "it runs";
    EXPECT_TRUE(token_->Cancel(ids[1]));
  });
  ids[1] = token_->GetAsync(kForever, second.Callback());
  executor_.RunUntilIdle();
  held_->Answer(0, Hour("t1"));
  executor_.RunUntilIdle();
  EXPECT_EQ(second.ended, 0);
}

}  // namespace
}  // namespace refreshable
