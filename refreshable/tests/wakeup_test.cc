// SPDX-License-Identifier: Apache-2.0
//
// Tests of which blocked threads are woken, and when (R6, R10). If a thread is
// woken before its read has ended, it looks at the clock. So the tests count
// how often each thread does that.

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;

// A thread that makes one blocking read.
struct Reader {
  std::thread thread;
  // What InExecutorThread returns on this thread.
  bool in_executor_thread = false;
  std::atomic<int> readings{0};  // How often the thread has read the clock.
  std::atomic<bool> ended{false};
  absl::Status status;
};

// The Reader of this thread, or null.
thread_local Reader* this_reader = nullptr;

// An executor over `base`. Its clock counts the readings of each Reader.
class CountingExecutor final : public Executor {
 public:
  bool Run(Task task) override { return base.Run(std::move(task)); }
  TimerId RunAfter(absl::Duration delay, Task task) override {
    ++timers;
    return base.RunAfter(delay, std::move(task));
  }
  bool Cancel(TimerId id) override { return base.Cancel(id); }
  bool InExecutorThread() const override {
    return this_reader != nullptr && this_reader->in_executor_thread;
  }
  const Clock& clock() const override { return clock_; }

  ManualExecutor base;
  std::atomic<int> timers{0};  // How often RunAfter was called.

 private:
  class CountingClock final : public Clock {
   public:
    explicit CountingClock(const Clock* clock) : clock_(clock) {}
    Instant Now() const override {
      if (this_reader != nullptr) ++this_reader->readings;
      return clock_->Now();
    }

   private:
    const Clock* const clock_;
  };

  const CountingClock clock_{&base.clock()};
};

class WakeupTest : public ::testing::Test {
 protected:
  // A thread reads the clock this often before it waits.
  static constexpr int kBegin = 2;
  // Like `kBegin`, but for an executor that refuses timers. The thread then
  // also reads the clock while it tries to arm the timer.
  static constexpr int kBeginWithoutTimer = 8;

  WakeupTest() {
    Strings::Options options;
    options.policy.retry.max_retries = 50;
    options.policy.retry.max_consecutive_failures = 100;
    token_ = Make(&executor_, held_, std::move(options));
  }
  ~WakeupTest() override {
    token_.reset();
    for (auto& reader : readers_) reader->thread.join();
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Starts a thread that makes a read. Returns when the read waits, after
  // `readings` readings of the clock.
  Reader& Begin(Strings::ReadOptions options, bool in_executor_thread = false,
                int readings = kBegin) {
    readers_.push_back(std::make_unique<Reader>());
    Reader& reader = *readers_.back();
    reader.in_executor_thread = in_executor_thread;
    reader.thread = std::thread([this, options, &reader] {
      this_reader = &reader;
      reader.status = token_->Get(options).status();
      reader.ended = true;
    });
    SpinUntil([&] { return reader.readings >= readings; });
    // From its last reading until it counts as waiting, the thread holds the
    // lock that health() takes. So it counts as waiting when health() returns.
    (void)token_->health();
    return reader;
  }

  void BeginFlight() {
    token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
    executor_.base.RunUntilIdle();
    ASSERT_EQ(held_->calls(), 1u);
  }

  // Returns how many readers were woken. Does not count the reader that reads
  // the clock every second for all readers.
  int Woken() const {
    int woken = 0;
    for (auto& reader : readers_) woken += reader->readings > kBegin;
    return woken > 0 ? woken - 1 : 0;
  }

  void End() {
    for (auto& reader : readers_) {
      SpinUntil([&] { return reader->ended.load(); });
    }
  }

  CountingExecutor executor_;
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_;
  std::vector<std::unique_ptr<Reader>> readers_;
};

TEST_F(WakeupTest, R10AttemptsDoNotWakeThreadsThatCannotRunThem) {
  BeginFlight();
  for (int i = 0; i < 8; ++i) Begin({});
  for (size_t i = 0; i < 20; ++i) {
    held_->Answer(i, absl::UnavailableError("down"));
    executor_.base.Suspend(absl::Minutes(2));
    executor_.base.RunUntilIdle();
    ASSERT_EQ(held_->calls(), i + 2);
  }
  held_->Answer(20, absl::PermissionDeniedError("no"));
  End();
  for (auto& reader : readers_) {
    EXPECT_EQ(reader->status.code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(Woken(), 0);
}

TEST_F(WakeupTest, R10OneThreadOfTheExecutorIsWokenForAnAttempt) {
  BeginFlight();
  for (int i = 0; i < 4; ++i) Begin({});
  for (int i = 0; i < 4; ++i) Begin({}, true);
  for (size_t i = 0; i < 20; ++i) {
    // If a blocked thread made call `i`, the attempt's task is still queued,
    // and does nothing here.
    executor_.base.RunUntilIdle();
    held_->Answer(i, absl::UnavailableError("down"));
    // Only the timer runs here, and queues the attempt that a blocked thread
    // then makes.
    executor_.base.Suspend(absl::Minutes(2));
    ASSERT_TRUE(executor_.base.RunNext());
    SpinUntil([&] { return held_->calls() == i + 2; });
  }
  held_->Answer(20, absl::PermissionDeniedError("no"));
  End();
  // At most one thread was woken before its read had ended.
  EXPECT_LE(Woken(), 1);
}

// A thread is woken to run an attempt, but the deadline of its read has passed.
TEST_F(WakeupTest, R10AnotherThreadRunsTheAttemptIfTheFirstLeaves) {
  BeginFlight();
  Begin({});  // The first thread looks at the clock for all.
  Begin({absl::Seconds(30)}, true);
  Begin({}, true);
  held_->Answer(0, absl::UnavailableError("down"));
  // The second thread is woken after its deadline.
  executor_.base.Suspend(absl::Minutes(2));
  ASSERT_TRUE(executor_.base.RunNext());
  SpinUntil([&] { return held_->calls() == 2; });
  held_->Answer(1, Hour("t1"));
  End();
  EXPECT_TRUE(IsReadTimeout(readers_[1]->status)) << readers_[1]->status;
  EXPECT_TRUE(readers_[2]->status.ok());
}

// One thread looks at the clock for all. After its deadline, another thread
// takes its place.
TEST_F(WakeupTest, R6OneThreadSeesForAllThatDeadlinesHavePassed) {
  BeginFlight();
  Reader& first = Begin({absl::Minutes(30)});
  Reader& early = Begin({absl::Minutes(10)});
  for (int i = 0; i < 5; ++i) Begin({absl::Hours(1)});
  SpinUntil([&] { return first.readings >= kBegin + 2; });
  EXPECT_EQ(Woken(), 0);
  executor_.base.Suspend(absl::Minutes(11));
  SpinUntil([&] { return early.ended.load(); });
  EXPECT_FALSE(first.ended);
  executor_.base.Suspend(absl::Minutes(20));
  Reader& next = *readers_[2];
  SpinUntil([&] { return first.ended && next.readings >= kBegin + 2; });
  executor_.base.Suspend(absl::Hours(1));
  End();
  for (auto& reader : readers_) {
    EXPECT_TRUE(IsReadTimeout(reader->status)) << reader->status;
  }
}

// The first thread looks at the clock for all. The attempt fails. This ends the
// first thread's read, which allows no retry.
TEST_F(WakeupTest, R6TheNextThreadLooksIfTheFirstIsTold) {
  BeginFlight();
  Reader& first = Begin({absl::InfiniteDuration(), /*max_retries=*/0});
  Reader& next = Begin({absl::Hours(1)});
  held_->Answer(0, absl::UnavailableError("down"));
  SpinUntil([&] { return first.ended.load(); });
  EXPECT_EQ(first.status.code(), absl::StatusCode::kUnavailable);
  executor_.base.Suspend(absl::Hours(2));
  SpinUntil([&] { return next.ended.load(); });
  EXPECT_TRUE(IsReadTimeout(next.status)) << next.status;
}

// Without a timer, the thread that looks at the clock also ends an attempt that
// takes too long. Regression test: in the past, the threads woke each other
// without end.
TEST_F(WakeupTest, E2WithoutATimerOneThreadLooks) {
  executor_.base.set_refuse_timers(true);
  BeginFlight();
  const auto begin = [this]() -> Reader& {
    return Begin({}, /*in_executor_thread=*/false, kBeginWithoutTimer);
  };
  Reader& first = begin();
  for (int i = 0; i < 2; ++i) begin();
  const int timers = executor_.timers;
  const int readings = first.readings;
  SpinUntil([&] { return first.readings >= readings + 4; });
  EXPECT_EQ(executor_.timers, timers);
  executor_.base.Suspend(absl::Seconds(31));  // The attempt times out.
  End();
  for (auto& reader : readers_) {
    EXPECT_EQ(reader->status.code(), absl::StatusCode::kDeadlineExceeded)
        << reader->status;
    EXPECT_FALSE(IsReadTimeout(reader->status)) << reader->status;
  }
}

}  // namespace
}  // namespace refreshable
