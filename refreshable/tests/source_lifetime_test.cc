// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E7: who owns the source, and on which thread it is destroyed.
// An IoSource must not be destroyed on its own I/O thread, because its
// destructor joins that thread.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
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

using lifecycle_testing::Hour;
using lifecycle_testing::MakeSource;
using lifecycle_testing::ProbeExecutor;
using lifecycle_testing::Result;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

// The server that a source talks to. It outlives the source.
struct Server {
  void Open() {
    absl::MutexLock lock(&mutex);
    open = true;
  }

  absl::Mutex mutex;
  bool open ABSL_GUARDED_BY(mutex) = false;  // If true, calls are answered.
  std::atomic<int> calls{0};
  Result answer = Hour("t");
  absl::Notification destroyed;
  std::thread::id destroyed_on;
  std::thread::id io_thread;
};

// A source whose I/O thread answers calls when the server is open. The
// destructor joins that thread and drops unanswered calls.
class IoSource final : public TokenSource<std::string> {
 public:
  explicit IoSource(Server* server)
      : server_(server), thread_([this] { AnswerCalls(); }) {
    server_->io_thread = thread_.get_id();
  }

  ~IoSource() override {
    server_->destroyed_on = std::this_thread::get_id();
    {
      absl::MutexLock lock(&server_->mutex);
      ended_ = true;
    }
    Server* const server = server_;
    // If this is the I/O thread, `join` throws, which ends the program.
    thread_.join();
    server->destroyed.Notify();
  }

  void Fetch(const FetchContext&, FetchDone<std::string> done) override {
    absl::MutexLock lock(&server_->mutex);
    calls_.push_back(std::move(done));
    ++server_->calls;
  }

 private:
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(server_->mutex) {
    return ended_ || (!calls_.empty() && server_->open);
  }

  void AnswerCalls() {
    for (;;) {
      std::deque<FetchDone<std::string>> calls;
      {
        absl::MutexLock lock(&server_->mutex);
        server_->mutex.Await(absl::Condition(this, &IoSource::Ready));
        calls.swap(calls_);
        if (ended_) return;
      }
      for (FetchDone<std::string>& done : calls) done(server_->answer);
    }
  }

  Server* const server_;
  bool ended_ ABSL_GUARDED_BY(server_->mutex) = false;
  std::deque<FetchDone<std::string>> calls_ ABSL_GUARDED_BY(server_->mutex);
  std::thread thread_;
};

// Lets the source answer a read, and waits until the source is destroyed.
// Checks that its I/O thread did not destroy it.
void AwaitEnd(Strings* token, Server& server) {
  token->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  server.Open();
  server.destroyed.WaitForNotification();
  EXPECT_NE(server.destroyed_on, server.io_thread);
}

class SourceLifetimeTest : public ::testing::Test {
 protected:
  // The number of functions that `EndingIn` can select.
  static constexpr int kPlaces = 4;

  // Returns options in which the function that `place` selects calls `end`. The
  // library calls that function while the source is inside its call of `done`.
  // Place 0 is the hook.
  Strings::Options EndingIn(int place, std::function<void()> end) {
    Strings::Options options;
    options.executor = &executor_;
    switch (place) {
      case 0:
        options.on_token_changed = [end](const auto&) { end(); };
        break;
      case 1:
        options.observer = Observe([end](const Event& event) {
          if (event.kind == EventKind::kTokenPublished) end();
        });
        break;
      case 2:
        server_.answer = absl::UnavailableError("down");
        options.classify = [end](const absl::Status&) {
          end();
          return FailureClass::kTransient;
        };
        break;
      default:
        options.same_token = [end](const auto&, const auto&) {
          end();
          return false;
        };
    }
    return options;
  }

  void Make(Strings::Options options) {
    token_ = *Strings::Create(std::make_shared<IoSource>(&server_),
                              std::move(options));
  }

  Server server_;
  ThreadExecutor threads_;
  ProbeExecutor executor_{&threads_};
  std::unique_ptr<Strings> token_;
};

TEST_F(SourceLifetimeTest, E7ARefreshableThatEndsInsideDoneHandsItsSourceOver) {
  for (int place = 0; place < kPlaces; ++place) {
    SCOPED_TRACE(place);
    Server server;
    std::unique_ptr<Strings> token;
    Strings::Options options = EndingIn(place, [&] { token.reset(); });
    server.answer = server_.answer;
    server_.answer = Hour("t");
    token = *Strings::Create(std::make_shared<IoSource>(&server), options);
    if (place == 3) {
      ASSERT_TRUE(token->Install(Hour("rejected")).ok());
      ASSERT_TRUE(token->Invalidate(Generation(1)));
    }
    AwaitEnd(token.get(), server);
  }
}

// A source's destructor may block, so the library destroys the source in a task
// of `RunBlocking`.
TEST_F(SourceLifetimeTest, E7TheExecutorIsToldThatTheEndOfASourceMayBlock) {
  class CountsBlocking final : public ProbeExecutor {
   public:
    using ProbeExecutor::ProbeExecutor;
    bool RunBlocking(Task task) override {
      ++blocking;
      return ProbeExecutor::Run(std::move(task));
    }
    std::atomic<int> blocking{0};
  };
  CountsBlocking executor(&threads_);
  Strings::Options options = EndingIn(0, [&] { token_.reset(); });
  options.executor = &executor;
  Make(options);
  AwaitEnd(token_.get(), server_);
  // One task calls the source, the other destroys it.
  EXPECT_EQ(executor.blocking, 2);
}

// The executor refuses the task that would destroy the source. So the library
// destroys the source on a new thread.
TEST_F(SourceLifetimeTest, E7AnExecutorThatRefusesTheSourceDoesNotKeepIt) {
  Make({&executor_});
  token_->GetAsync(absl::InfiniteDuration(), [&](const auto&) {
    EXPECT_EQ(std::this_thread::get_id(), server_.io_thread);
    token_.reset();
  });
  lifecycle_testing::SpinUntil([&] { return server_.calls == 1; });
  executor_.refuse_runs = true;
  server_.Open();
  server_.destroyed.WaitForNotification();
  EXPECT_NE(server_.destroyed_on, server_.io_thread);
}

// On the I/O thread, the hook runs the task that is meant to destroy the
// source. The task must not do so on this thread.
TEST_F(SourceLifetimeTest, E7AnExecutorRunByTheSourcesThreadDoesNotEndIt) {
  ManualExecutor manual;
  Strings::Options options = EndingIn(0, [&] {
    token_.reset();
    manual.BindToCurrentThread();
    manual.RunUntilIdle();
  });
  options.executor = &manual;
  Make(options);
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  manual.RunUntilIdle();
  server_.Open();
  server_.destroyed.WaitForNotification();
  EXPECT_NE(server_.destroyed_on, server_.io_thread);
}

// The task that is to destroy the source is still queued when the executor is
// destroyed.
TEST_F(SourceLifetimeTest, E7AnExecutorThatDropsTheSourceDestroysIt) {
  auto manual = std::make_unique<ManualExecutor>();
  absl::Notification ended;
  Strings::Options options = EndingIn(0, [&] {
    token_.reset();
    ended.Notify();
  });
  options.executor = manual.get();
  Make(options);
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  manual->RunUntilIdle();
  server_.Open();
  ended.WaitForNotification();
  manual = nullptr;
  server_.destroyed.WaitForNotification();
  EXPECT_NE(server_.destroyed_on, server_.io_thread);
}

// The hook, which runs inside `done`, destroys both Refreshables that share the
// source.
TEST_F(SourceLifetimeTest, E7ASharedSourceIsNotDestroyedInsideTheOthersDone) {
  std::unique_ptr<Strings> other;
  Strings::Options options = EndingIn(0, [&] {
    token_.reset();
    other.reset();
  });
  {
    const auto source = std::make_shared<IoSource>(&server_);
    token_ = *Strings::Create(source, options);
    other = *Strings::Create(source, {&executor_});
  }
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  lifecycle_testing::SpinUntil([&] { return server_.calls == 1; });
  server_.Open();
  server_.destroyed.WaitForNotification();
  EXPECT_NE(server_.destroyed_on, server_.io_thread);
}

// Regression test: in the past, each outstanding `done` owned the source. The
// last of them destroyed the source on its I/O thread.
TEST_F(SourceLifetimeTest, E7AnOutstandingAnswerDoesNotOwnTheSource) {
  Make({&executor_});
  std::atomic<int> ended{0};
  token_->GetAsync(absl::InfiniteDuration(), [&](const auto& lease) {
    EXPECT_EQ(lease.status().code(), absl::StatusCode::kCancelled);
    ++ended;
  });
  lifecycle_testing::SpinUntil([&] { return server_.calls == 1; });
  token_ = nullptr;
  // `Fetch` may still be running, so the source may be destroyed a little
  // later.
  server_.destroyed.WaitForNotification();
  EXPECT_NE(server_.destroyed_on, server_.io_thread);
  EXPECT_EQ(ended, 1);
}

TEST_F(SourceLifetimeTest, E7TheThreadInsideFetchOwnsTheSource) {
  absl::Notification inside, ended, destroyed;
  struct Witness {
    explicit Witness(absl::Notification* n) : destroyed(n) {}
    ~Witness() { destroyed->Notify(); }
    absl::Notification* const destroyed;
  };
  token_ = *Strings::Create(
      MakeSource([&, witness = std::make_shared<Witness>(&destroyed)](
                     const FetchContext&, FetchDone<std::string> done) {
        inside.Notify();
        ended.WaitForNotification();
        EXPECT_FALSE(destroyed.HasBeenNotified());
        done(Hour("t"));
        EXPECT_FALSE(destroyed.HasBeenNotified());
      }),
      {&executor_});
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  inside.WaitForNotification();
  token_ = nullptr;
  ended.Notify();
  destroyed.WaitForNotification();
}

// `token_` reads from the IoSource, and `inner` from a Wrapper that shares the
// IoSource. The IoSource's `done` runs a hook that calls `Wrapper::Fetch`.
// Before `Wrapper::Fetch` returns, both Refreshables are destroyed. Then the
// I/O thread, inside `Wrapper::Fetch`, is the last owner of the Wrapper and so
// of the IoSource. The I/O thread must not destroy the IoSource inside `done`.
TEST_F(SourceLifetimeTest, E7ASourceCalledInsideItsOwnDoneIsNotDestroyedThere) {
  ManualExecutor manual;
  struct Wrapper final : TokenSource<std::string> {
    Wrapper(std::shared_ptr<TokenSource<std::string>> s,
            std::function<void()> e)
        : source(std::move(s)), end(std::move(e)) {}
    void Fetch(const FetchContext&, FetchDone<std::string> done) override {
      done(Hour("t"));
      end();
    }
    const std::shared_ptr<TokenSource<std::string>> source;
    const std::function<void()> end;
  };
  std::unique_ptr<Strings> inner;
  Strings::Options options = EndingIn(0, [&] {
    token_.reset();
    manual.BindToCurrentThread();
    inner->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
    manual.RunUntilIdle();
  });
  options.executor = &executor_;
  {
    const auto source = std::make_shared<IoSource>(&server_);
    token_ = *Strings::Create(source, options);
    inner = *Strings::Create(
        std::make_shared<Wrapper>(
            source, [&] { std::thread([&] { inner.reset(); }).join(); }),
        {&manual});
  }
  AwaitEnd(token_.get(), server_);
  EXPECT_EQ(inner, nullptr);
}

}  // namespace
}  // namespace refreshable
