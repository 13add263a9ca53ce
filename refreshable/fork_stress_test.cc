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

using fork_testing::HoldsInChild;
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

}  // namespace
}  // namespace refreshable
