// SPDX-License-Identifier: Apache-2.0
//
// Clause E4 while other threads are inside every call. A target of its own, as
// it is left out under the sanitizers: their runtimes do not give the child the
// locks back that threads of the parent were holding, so that there a child may
// hang in malloc or free.

#include <unistd.h>

#include <atomic>
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
#include "refreshable/executors/thread_executor.h"
#include "refreshable/fork_testing.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using fork_testing::EndedWell;
using fork_testing::Fork;
using fork_testing::HoldsInChild;
using lifecycle_testing::Hour;
using lifecycle_testing::Result;

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
  RefreshPolicy policy;  // A rejected token may be replaced at once.
  policy.young_token_age = absl::ZeroDuration();
  policy.min_interval = absl::ZeroDuration();
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>([&]() -> Result {
        return Credential<std::string>(absl::StrCat("t", ++calls),
                                       Expiry::Never());
      }),
      {executor.get(), policy});
  std::atomic<bool> stop{false};
  // Each thread has been through everything once before the first fork.
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

// As E4AReadWhoseOwnAttemptForksAsksAnewInTheChild, where the thread is one of
// the executor's own, which in the child has new ones.
TEST(ForkStressTest, E4AReadOnAWorkerWhoseOwnAttemptForksAsksAnewInTheChild) {
  for (const bool answers : {true, false}) {
    const auto executor = MakeExecutor(1);
    std::atomic<int> calls{0};
    pid_t child = -1;
    std::vector<FetchDone<std::string>> kept;
    const auto token = lifecycle_testing::Make(
        executor.get(),
        lifecycle_testing::MakeSource(
            [&](const FetchContext&, FetchDone<std::string> done) {
              const int call = ++calls;
              if (call == 1) child = Fork();
              if (child == 0 && call == 1 && !answers) {
                kept.push_back(std::move(done));
              } else {
                done(Hour(absl::StrCat("t", call)));
              }
            }));
    absl::Notification read;
    ASSERT_TRUE(executor->Run([&] {
      const auto lease = token->Get();
      if (child == 0) _exit(lease.ok() && lease->token() == "t2" ? 0 : 1);
      EXPECT_TRUE(lease.ok()) << lease.status();
      read.Notify();
    }));
    read.WaitForNotification();
    EXPECT_TRUE(EndedWell(child)) << "answers: " << answers;
  }
}

// As S1TheObserverThatForksIsToldOneEventAtATimeInTheChild, where it is another
// thread of the child that has something to tell.
TEST(ForkStressTest, S1TheObserverThatForksIsToldOneEventAtATimeInTheChild) {
  const auto executor = MakeExecutor(1);
  std::atomic<int> calls{0};
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};
  std::atomic<bool> armed{false};
  pid_t child = -1;
  bool read = false;
  std::unique_ptr<lifecycle_testing::Strings> token;
  lifecycle_testing::Strings::Options options;
  options.policy.young_token_age = absl::ZeroDuration();
  options.policy.min_interval = absl::ZeroDuration();
  options.observer = lifecycle_testing::Observe([&](const Event& event) {
    if (++inside > 1) overlapped = true;
    if (event.kind == EventKind::kTokenInvalidated && armed.exchange(false)) {
      child = Fork();
      read = token->Get().ok();
    }
    --inside;
  });
  token = lifecycle_testing::Make(
      executor.get(),
      lifecycle_testing::MakeSource(
          [&](const FetchContext&, FetchDone<std::string> done) {
            done(Hour(absl::StrCat("t", ++calls)));
          }),
      options);
  const auto lease = token->Get();
  ASSERT_TRUE(lease.ok());
  armed = true;
  token->Invalidate(lease->generation());
  const bool good = read && !overlapped;
  if (child == 0) _exit(good ? 0 : 1);
  EXPECT_TRUE(good);
  EXPECT_TRUE(EndedWell(child));
}

// The child came back from the hook into the middle of Install and went on to
// wake the parent's readers, who are not there. It waited for them for ever:
// for one that had been about to leave the condition variable.
TEST(ForkStressTest, E4AChildThatIsForkedInTheHookEndsItsInstall) {
  const auto executor = MakeExecutor(1);
  RefreshPolicy policy;
  policy.young_token_age = absl::ZeroDuration();
  policy.min_interval = absl::ZeroDuration();
  policy.max_abandoned_calls = 1000;  // Install abandons one.
  Refreshable<std::string>::Options options;
  options.executor = executor.get();
  options.policy = policy;
  std::atomic<bool> forks{false};
  pid_t child = -1;
  options.on_token_changed = [&](const Lease<std::string>&) {
    if (!forks.load()) return;
    child = Fork();
  };
  const auto held = std::make_shared<lifecycle_testing::HeldSource>();
  const auto token = *Refreshable<std::string>::Create(held, options);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        static_cast<void>(token->Get(absl::Microseconds(60)));
      }
    });
  }
  int ended_well = 0;
  for (int i = 0; i < 300; ++i) {
    while (token->health().waiters < 2) std::this_thread::yield();
    forks.store(true);
    const auto installed =
        token->Install(Credential<std::string>("i", Expiry::Never()));
    if (child == 0) _exit(installed.ok() ? 0 : 1);
    forks.store(false);
    if (!EndedWell(child)) break;
    ++ended_well;
    EXPECT_TRUE(token->Invalidate(*installed));
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(ended_well, 300);
}

}  // namespace
}  // namespace refreshable
