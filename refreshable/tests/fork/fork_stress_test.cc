// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E4 in which the process forks while its other threads are
// inside the library or user code. The tests do not run under sanitizers. If
// one of these threads holds a lock of the sanitizer's runtime during the
// fork(), the child may hang.

#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/fork/fork_test_util.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using fork_testing::EndedWell;
using fork_testing::Fork;
using fork_testing::HoldsInChild;
using lifecycle_testing::Hour;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Result;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

std::unique_ptr<ThreadExecutor> MakeExecutor(int workers) {
  ThreadExecutor::Options options;
  options.workers = workers;
  return *ThreadExecutor::Create(options);
}

TEST(ForkStressTest, E4ChildReadsWhatTheParentHeld) {
  const auto executor = MakeExecutor(1);
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([]() -> Result {
        return Credential<std::string>("t1", Expiry::Never());
      }),
      {executor.get()});
  ASSERT_TRUE((*token)->Get().ok());
  EXPECT_TRUE(HoldsInChild([&] {
    auto lease = (*token)->Get();
    return lease.ok() && lease->token() == "t1";
  }));
}

TEST(ForkStressTest, E4ChildRefreshesThoughTheParentIsInTheMiddleOfIt) {
  const auto executor = MakeExecutor(1);
  const pid_t parent = getpid();
  absl::Notification called;
  absl::Notification release;
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([&]() -> Result {
        if (getpid() == parent) {
          called.Notify();
          release.WaitForNotification();
        }
        return Credential<std::string>("t1", Expiry::Never());
      }),
      {executor.get()});
  (*token)->GetAsync(absl::InfiniteDuration(),
                     [](absl::StatusOr<Lease<std::string>>) {});
  called.WaitForNotification();
  EXPECT_TRUE(HoldsInChild([&] {
    auto lease = (*token)->Get();
    return lease.ok() && lease->token() == "t1" &&
           lease->generation() == Generation(1);
  }));
  release.Notify();
  EXPECT_TRUE((*token)->Get().ok());
}

TEST(ForkStressTest, E4ChildReadsWhileTheParentsThreadsAreInsideEveryCall) {
  const auto executor = MakeExecutor(2);
  std::atomic<int> calls{0};
  RefreshPolicy policy;  // An invalidated token may be replaced at once.
  policy.young_token_age = absl::ZeroDuration();
  policy.min_interval = absl::ZeroDuration();
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([&]() -> Result {
        return Credential<std::string>(absl::StrCat("t", ++calls),
                                       Expiry::Never());
      }),
      {executor.get(), policy});
  std::atomic<bool> stop{false};
  // The first fork waits until every thread has made each of its calls once.
  constexpr int kReaders = 3;
  absl::BlockingCounter started(kReaders);
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      const auto read_and_install = [&] {
        auto lease = (*token)->Get();
        (*token)->health();
        EXPECT_TRUE((*token)
                        ->Install(Credential<std::string>("i", Expiry::Never()))
                        .ok());
      };
      read_and_install();
      started.DecrementCount();
      while (!stop.load()) read_and_install();
    });
  }
  started.Wait();
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(HoldsInChild([&] {
      auto lease = (*token)->Get();
      if (!lease.ok() || !(*token)->Invalidate(lease->generation())) {
        return false;
      }
      lease = (*token)->Get();
      return lease.ok() && lease->token()[0] == 't';
    })) << "fork "
        << i;
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

// A gate that blocks the first thread that enters, until the gate is opened.
class Gate {
 public:
  // Opens the gate, and waits until the thread of `Hold` has ended.
  void Open() {
    open_ = true;
    thread_.join();
  }
  // Calls `call` on a thread, and waits until a thread has entered the gate.
  void Hold(std::function<void()> call) {
    thread_ = std::thread(std::move(call));
    lifecycle_testing::SpinUntil([&] { return entered_.load(); });
  }
  // Blocks the first caller until `Open` is called. Takes no lock, because a
  // lock would stay locked in the child forever.
  void Enter() {
    if (entered_.exchange(true)) return;
    lifecycle_testing::SpinUntil([&] { return open_.load(); });
  }

 private:
  std::atomic<bool> entered_{false};
  std::atomic<bool> open_{false};
  std::thread thread_;
};

// Regression test: in the past, the child told its observer nothing. The child
// left all events to the thread inside the observer. Only the parent has that
// thread.
TEST(ForkStressTest, S1TheChildsEventsAreToldThoughTheParentIsTellingOne) {
  ManualExecutor executor;
  Gate gate;
  int told = 0;
  Strings::Options options;
  options.observer = Observe([&](const Event&) {
    ++told;
    gate.Enter();
  });
  const auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>(), options);
  gate.Hold([&] { EXPECT_TRUE(token->Install(Hour("t1")).ok()); });
  EXPECT_TRUE(HoldsInChild([&] {
    token->Reset();
    const int before = told;
    return token->Install(Hour("t2")).ok() && told > before;
  }));
  gate.Open();
}

// Regression test: in the past, the child waited in the Refreshable's
// destructor for the thread inside the executor. Only the parent has that
// thread.
TEST(ForkStressTest, E4TheChildEndsItThoughTheParentIsInsideTheExecutor) {
  ManualExecutor manual;
  lifecycle_testing::ProbeExecutor executor(&manual);
  Gate gate;
  auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>());
  executor.on_run = [&] { gate.Enter(); };
  gate.Hold(
      [&] { token->GetAsync(absl::InfiniteDuration(), [](const auto&) {}); });
  EXPECT_TRUE(HoldsInChild([&] {
    token = nullptr;
    return true;
  }));
  gate.Open();
}

// Regression test: in the past, the child armed no timer.
TEST(ForkStressTest, E4TheChildHasATimerThoughTheParentIsArmingOne) {
  ManualExecutor manual;
  lifecycle_testing::ProbeExecutor executor(&manual);
  Gate gate;
  const auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>());
  executor.on_run_after = [&] { gate.Enter(); };
  gate.Hold([&] { EXPECT_TRUE(token->Install(Hour("t1")).ok()); });
  EXPECT_TRUE(HoldsInChild([&] {
    bool ended = false;
    token->Invalidate(Generation(1));
    token->GetAsync(absl::Seconds(1), [&](const auto&) { ended = true; });
    manual.AdvanceBy(absl::Seconds(1));
    return ended;
  }));
  gate.Open();
}

// Regression test: in the past, the child kept the parent's record of threads
// inside attempts. A read failed if its thread had the id of a recorded thread.
TEST(ForkStressTest, E4AThreadOfTheChildIsNotTakenForOneOfTheParents) {
  const auto executor = MakeExecutor(1);
  Gate gate;
  const auto token = lifecycle_testing::Make(
      executor.get(),
      lifecycle_testing::MakeSource([&](const FetchContext&, auto done) {
        gate.Enter();
        done(Hour("t"));
      }));
  gate.Hold(
      [&] { token->GetAsync(absl::InfiniteDuration(), [](const auto&) {}); });
  EXPECT_TRUE(HoldsInChild([&] {
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        if (!token->Get().ok()) ++failed;
      });
    }
    for (std::thread& thread : threads) thread.join();
    return failed == 0;
  }));
  gate.Open();
}

// Regression test: in the past, the child waited for a reader of the parent
// that was leaving a condition variable.
TEST(ForkStressTest, E4ChildRefreshesWhileTheParentsThreadsWait) {
  const auto executor = MakeExecutor(1);
  const pid_t parent = getpid();
  const auto token = lifecycle_testing::Make(
      executor.get(),
      lifecycle_testing::MakeSource([&](const FetchContext&, auto done) {
        static auto* const kept = new std::vector<FetchDone<std::string>>;
        if (getpid() == parent) {
          kept->push_back(std::move(done));
        } else {
          done(Hour("t"));
        }
      }));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) (void)token->Get(absl::Microseconds(60));
    });
  }
  int held = 0;
  for (; held < 300; ++held) {
    while (token->health().waiters < 2) std::this_thread::yield();
    if (!HoldsInChild([&] { return token->Get().ok(); })) break;
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(held, 300);
}

// The child forgets which reads wait, so only the timeout ends this read.
// Regression test: in the past, the child crashed.
TEST(ForkStressTest, E4AReadWhoseOwnAttemptForksEndsInTheChild) {
  ThreadExecutor::Options one;
  one.blocking_threads = 1;
  const auto executor = *ThreadExecutor::Create(one);
  pid_t child = -1;
  const auto token = lifecycle_testing::Make(
      executor.get(), MakeSource([&](const FetchContext&, auto done) {
        child = Fork();
        done(Hour("t"));
      }));
  absl::Notification ended;
  ASSERT_TRUE(executor->RunBlocking([&] {
    const bool ok = token->Get(absl::Seconds(2)).ok();
    if (child == 0) _exit(ok ? 1 : 0);
    ended.Notify();
  }));
  ended.WaitForNotification();
  EXPECT_TRUE(EndedWell(child));
}

}  // namespace
}  // namespace refreshable
