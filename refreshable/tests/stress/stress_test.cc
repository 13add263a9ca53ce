// SPDX-License-Identifier: Apache-2.0
//
// Tests in which many threads use a Refreshable at once, and in which it ends
// while they read. They are meant for the sanitizers, do a fixed amount of
// work, and assert only what holds in every interleaving (E1, E2, F1, F2, R8,
// R9).

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using absl::StatusCode;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::SpinUntil;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

constexpr int kRounds = 8;
constexpr int kReaders = 4;
constexpr int kAnswerers = 2;
constexpr int kOperations = 120;

// A source that answers on threads of its own: correctly, wrongly, late, twice
// or not at all. Each token is the number of the generation that was current
// when its call began.
class ForeignSource final : public TokenSource<std::string> {
 public:
  explicit ForeignSource(uint32_t seed) {
    for (int i = 0; i < kAnswerers; ++i) {
      answerers_.emplace_back([this, seed, i] { Answer(seed + i); });
    }
  }
  ~ForeignSource() override { EXPECT_TRUE(answerers_.empty()); }

  void Fetch(const FetchContext& context,
             FetchDone<std::string> done) override {
    std::string token = "installed";
    {
      // The Refreshable is alive while `alive_` points to it.
      absl::MutexLock lock(&alive_mutex_);
      if (alive_ != nullptr) {
        token = std::to_string(alive_->health().generation.value());
      }
    }
    ++calls_;
    absl::MutexLock lock(&mutex_);
    // (The number of outstanding calls has no limit here, because Reset()
    // forgets them.)
    contexts_.push_back(context);
    EXPECT_LE(
        std::count_if(contexts_.begin(), contexts_.end(),
                      [](const FetchContext& c) { return !c.cancelled(); }),
        1)
        << "F1: two calls that are waited for";
    queue_.push_back(
        {std::move(token), std::prev(contexts_.end()), std::move(done)});
  }

  void SetAlive(Strings* alive) {
    absl::MutexLock lock(&alive_mutex_);
    alive_ = alive;
  }
  // While `held` is true, nothing is answered.
  void Hold(bool held) {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }
  // Returns the number of calls that are not answered yet.
  int calls() const { return calls_; }
  // Answers the remaining calls and ends the threads.
  void Finish() {
    {
      absl::MutexLock lock(&mutex_);
      held_ = false;
      finished_ = true;
    }
    for (std::thread& thread : answerers_) thread.join();
    answerers_.clear();
  }

 private:
  struct Call {
    std::string token;
    std::list<FetchContext>::iterator context;
    FetchDone<std::string> done;
  };

  void Answer(uint32_t seed) {
    std::minstd_rand random(seed);
    for (;;) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](ForeignSource* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
            return !self->held_ && (self->finished_ || !self->queue_.empty());
          },
          this));
      if (queue_.empty()) return;
      auto [token, context, done] = std::move(queue_.front());
      queue_.pop_front();
      mutex_.Unlock();
      // (There are few yields because, on a busy computer, each takes as long
      // as a time slice of every other thread.)
      for (uint32_t i = random() % 8; i > 0; --i) std::this_thread::yield();
      --calls_;
      mutex_.Lock();
      contexts_.erase(context);
      mutex_.Unlock();
      switch (random() % 8) {
        case 0:
          done(absl::UnavailableError("down"));
          break;
        case 1:
          done(absl::PermissionDeniedError("no"));
          break;
        case 2:
          break;  // The call is dropped.
        case 3:
          done(Hour(token));
          done(Hour("twice"));
          break;
        default:
          done(Hour(token));
      }
      { FetchDone<std::string> dropped = std::move(done); }
      mutex_.Lock();
    }
  }

  absl::Mutex alive_mutex_;
  Strings* alive_ ABSL_GUARDED_BY(alive_mutex_) = nullptr;
  std::atomic<int> calls_{0};
  absl::Mutex mutex_;
  std::deque<Call> queue_ ABSL_GUARDED_BY(mutex_);
  // The contexts of the calls that no thread is answering yet.
  std::list<FetchContext> contexts_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> answerers_;
};

// The work and the observations of one thread.
class Reader {
 public:
  Reader(Strings* token, uint32_t seed) : token_(token), random_(seed) {}

  void Operate() {
    for (int i = 0; i < kOperations; ++i) OperateOnce();
  }
  // Starts a read that ends when the Refreshable ends, or before.
  void ReadLast() {
    AsyncRead* const read = Add();
    token_->GetAsync(absl::InfiniteDuration(),
                     [read](const auto&) { ++read->ended; });
  }
  bool nested_done() const { return nested_ == 0; }
  void ExpectEachEndedOnce() const {
    for (const auto& read : reads_) {
      EXPECT_EQ(read->ended, read->cancelled ? 0 : 1);
    }
  }

 private:
  struct AsyncRead {
    std::atomic<int> ended{0};
    bool cancelled = false;
  };

  void OperateOnce() {
    switch (random_() % 16) {
      case 0:
      case 1:
      case 2:
      case 3:
        See(token_->Get(Timeout()));
        return;
      case 4:
      case 5:
      case 6:
      case 7: {
        AsyncRead* const read = Add();
        const WaiterId id =
            token_->GetAsync(Timeout(), [read](const auto& lease) {
              CheckToken(lease);
              ++read->ended;
            });
        if (random_() % 3 == 0) read->cancelled = token_->Cancel(id);
        return;
      }
      case 8:
      case 9: {
        AsyncRead* const read = Add();
        ++nested_;
        token_->GetAsync(absl::Milliseconds(1), [this, read](const auto&) {
          CheckToken(token_->Get(absl::Milliseconds(1)));
          ++read->ended;
          --nested_;
        });
        return;
      }
      case 10:
      case 11:
        token_->Invalidate(Generation(seen_));
        least_ = seen_ + 1;  // R9: no read returns `seen_` again.
        return;
      case 12: {
        const auto installed = token_->Install(Hour("installed"));
        ASSERT_TRUE(installed.ok());
        EXPECT_GE(installed->value(), least_);
        least_ = seen_ = installed->value();
        return;
      }
      case 13:
        token_->Reset();
        return;
      case 14:
        See(token_->TryGet());
        return;
      default:
        EXPECT_GE(token_->health().generation.value(), seen_);
        EXPECT_GE(token_->stats().attempts_started, 0);
    }
  }

  absl::Duration Timeout() {
    switch (random_() % 4) {
      case 0:
        return absl::ZeroDuration();
      case 1:
        return absl::Microseconds(random_() % 2000);
      default:
        return absl::InfiniteDuration();
    }
  }
  AsyncRead* Add() {
    reads_.push_back(std::make_unique<AsyncRead>());
    return reads_.back().get();
  }

  // F2: a token fetched under one generation is published as the next.
  static void CheckToken(const absl::StatusOr<Lease<std::string>>& lease) {
    if (!lease.ok() || lease->token() == "installed") return;
    EXPECT_EQ(lease->token(), std::to_string(lease->generation().value() - 1));
  }
  void See(absl::StatusOr<Lease<std::string>> lease) {
    CheckToken(lease);
    if (!lease.ok()) return;
    EXPECT_GE(lease->generation().value(), least_);
    least_ = seen_ = lease->generation().value();
  }

  Strings* const token_;
  std::minstd_rand random_;
  uint64_t seen_ = 0;
  uint64_t least_ = 0;  // No lease of an earlier generation may be seen.
  std::vector<std::unique_ptr<AsyncRead>> reads_;
  std::atomic<int> nested_{0};
};

struct Round {
  uint32_t seed;
  absl::Duration attempt_timeout;
  ThreadExecutor::Options executor;
  // Whether threads are waiting when the Refreshable is destroyed. If true, the
  // executor must refuse nothing and no attempt may time out.
  bool blocked_at_the_end;
};

void RunRound(const Round& round) {
  SCOPED_TRACE(round.seed);
  auto executor = *ThreadExecutor::Create(round.executor);
  auto source = std::make_shared<ForeignSource>(round.seed);
  uint64_t events = 0;
  Strings::Options options;
  // Observer calls do not overlap. TSan would report a race here if they did.
  options.observer = Observe([&](const Event&) { ++events; });
  options.on_token_changed = [](const auto&) { std::this_thread::yield(); };
  RefreshPolicy& policy = options.policy;
  policy.min_interval = absl::ZeroDuration();
  policy.young_token_age = absl::ZeroDuration();
  policy.attempt_timeout = round.attempt_timeout;
  policy.retry.initial_backoff = absl::Microseconds(50);
  policy.retry.max_backoff = absl::Milliseconds(1);
  policy.retry.probe_interval = absl::Milliseconds(1);
  std::unique_ptr<Strings> token = Make(executor.get(), source, options);
  source->SetAlive(token.get());

  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kReaders; ++i) {
    readers.push_back(
        std::make_unique<Reader>(token.get(), round.seed * kReaders + i + 1));
    threads.emplace_back([&reader = *readers.back()] { reader.Operate(); });
  }
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  // A callback must not start a read while the Refreshable is being destroyed.
  // Reset is called because, if the executor refuses everything, callbacks wait
  // for the next operation.
  for (const auto& reader : readers) {
    SpinUntil([&] {
      token->Reset();
      return reader->nested_done();
    });
  }

  if (round.blocked_at_the_end) {
    SpinUntil([&] {
      const Health health = token->health();
      return !health.refreshing && health.waiters == 0 && source->calls() == 0;
    });
    source->Hold(true);
    token->Reset();
    token->Invalidate(token->health().generation);
    for (int i = 0; i < kReaders; ++i) {
      threads.emplace_back([&] {
        const absl::Status status = token->Get().status();
        EXPECT_TRUE(status.ok() || status.code() == StatusCode::kCancelled ||
                    status.code() == StatusCode::kUnavailable ||
                    status.code() == StatusCode::kPermissionDenied ||
                    status.code() == StatusCode::kInternal)
            << status;
      });
    }
    SpinUntil([&] { return token->health().waiters == kReaders; });
  }
  for (const auto& reader : readers) reader->ReadLast();
  source->SetAlive(nullptr);
  // In every other round, the calls are answered while the Refreshable ends.
  if (round.seed % 2 == 0) source->Hold(false);
  token.reset();
  for (std::thread& thread : threads) thread.join();
  source->Finish();
  executor.reset();
  for (const auto& reader : readers) reader->ExpectEachEndedOnce();
  EXPECT_GT(events, 0u);
}

TEST(StressTest, E1BlockedReadersAndAnswersAtTheEnd) {
  ThreadExecutor::Options executor;
  executor.workers = 2;
  executor.blocking_threads = 2;
  for (uint32_t seed = 1; seed <= kRounds; ++seed) {
    RunRound({seed, absl::Hours(1), executor, /*blocked_at_the_end=*/true});
  }
}

TEST(StressTest, F2AttemptsTimeOutAndAnswerLate) {
  ThreadExecutor::Options executor;
  executor.workers = 2;
  executor.blocking_threads = 2;
  for (uint32_t seed = 1; seed <= kRounds; ++seed) {
    RunRound({seed, absl::Microseconds(200), executor, false});
  }
}

TEST(StressTest, E2ExecutorRefusesNowAndThen) {
  ThreadExecutor::Options executor;
  executor.workers = 1;
  executor.blocking_threads = 1;
  executor.max_queued = 1;
  executor.max_timers = 1;
  for (uint32_t seed = 1; seed <= kRounds; ++seed) {
    RunRound({seed, absl::Milliseconds(1), executor, false});
  }
}

}  // namespace
}  // namespace refreshable
