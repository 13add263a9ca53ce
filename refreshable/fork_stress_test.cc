// SPDX-License-Identifier: Apache-2.0
//
// Clause E4 while other threads are inside every call. A target of its own, as
// it is left out under the sanitizers: their runtimes do not give the child the
// locks back that threads of the parent were holding, so that there a child may
// hang in malloc or free.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "executors/thread_executor.h"
#include "gtest/gtest.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using Result = absl::StatusOr<Credential<std::string>>;

// Runs `child` in a forked process; true if it returned true.
template <typename Function>
bool HoldsInChild(Function child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);  // A child that hangs fails.
    _exit(child() ? 0 : 1);
  }
  int status = 0;
  return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

// The first lock that a thread waits for makes Abseil allocate under a lock of
// its own, which no child gets back. Whoever has waited does not do it again.
void WaitOnce() {
  absl::Mutex mutex;
  const bool never = false;
  absl::MutexLock lock(&mutex);
  mutex.AwaitWithTimeout(absl::Condition(&never), absl::Nanoseconds(1));
}

// All its threads have waited once.
std::unique_ptr<ThreadExecutor> StartedExecutor(int workers) {
  // Its detector has a lock of its own, which no child gets back either.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  ThreadExecutor::Options options;
  options.workers = workers;
  auto executor = *ThreadExecutor::Create(options);
  // One task for each thread: none ends before all have begun.
  struct Arrivals {
    explicit Arrivals(int threads) : missing(threads) {}
    absl::Mutex mutex;
    int missing ABSL_GUARDED_BY(mutex);
    void Arrive() {
      WaitOnce();
      absl::MutexLock lock(&mutex);
      --missing;
      mutex.Await(absl::Condition(
          +[](Arrivals* arrivals) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return arrivals->missing == 0;
          },
          this));
    }
  };
  // The timers' thread and this one, too.
  const auto arrivals = std::make_shared<Arrivals>(workers + 2);
  for (int i = 0; i < workers; ++i) {
    EXPECT_TRUE(executor->Run([arrivals] { arrivals->Arrive(); }));
  }
  EXPECT_NE(executor->RunAfter(absl::ZeroDuration(),
                               [arrivals] { arrivals->Arrive(); }),
            TimerId::kNone);
  arrivals->Arrive();
  return executor;
}

TEST(ForkStressTest, E4ChildReadsWhatTheParentHeld) {
  const auto executor = StartedExecutor(1);
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
  const auto executor = StartedExecutor(1);
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
  const auto executor = StartedExecutor(2);
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
      WaitOnce();
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

// The child came back from the hook into the middle of Install and went on to
// wake the parent's readers, who are not there. It waited for them for ever:
// for one that had been about to leave the condition variable.
TEST(ForkStressTest, E4AChildThatIsForkedInTheHookEndsItsInstall) {
  const auto executor = StartedExecutor(1);
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
    child = fork();
    if (child == 0) alarm(20);  // If it hangs.
  };
  const auto held = std::make_shared<lifecycle_testing::HeldSource>();
  const auto token = *Refreshable<std::string>::Create(held, options);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      WaitOnce();
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
    int status = 0;  // No child, or one that was counted before: not well.
    if (child < 0 || waitpid(child, &status, 0) != child) break;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) break;
    ++ended_well;
    EXPECT_TRUE(token->Invalidate(*installed));
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(ended_well, 300);
}

}  // namespace
}  // namespace refreshable
