// SPDX-License-Identifier: Apache-2.0
//
// Tests AsioExecutor in a program that consists of an event loop.

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "asio/executor_work_guard.hpp"
#include "asio/io_context.hpp"
#include "asio/thread_pool.hpp"
#include "docs/examples/asio_executor/asio_executor.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Lease;
using refreshable::Refreshable;

// Stands for a function that sends a request and blocks.
absl::StatusOr<Credential<std::string>> AskTokenEndpoint() {
  return Credential<std::string>("t1", Expiry::In(absl::Hours(1)));
}

// [loop]
// Reads a token. The calling thread runs `loop`, and so it also runs the
// callback of the read.
absl::StatusOr<std::string> ReadOnce() {
  asio::io_context loop;
  // AskTokenEndpoint blocks, so it must not run on the loop. The callback is
  // short, so it may run there.
  asio::thread_pool blocking(4);
  AsioExecutor executor(blocking.get_executor(), loop.get_executor(),
                        loop.get_executor());
  auto token = Refreshable<std::string>::Create(
      refreshable::BlockingSource<std::string>(AskTokenEndpoint), {&executor});
  if (!token.ok()) return token.status();

  absl::StatusOr<std::string> result;
  (*token)->GetAsync(absl::Seconds(5),
                     [&](absl::StatusOr<Lease<std::string>> lease) {
                       if (lease.ok()) {
                         result = lease->token();
                       } else {
                         result = lease.status();
                       }
                       loop.stop();
                     });
  const auto guard = asio::make_work_guard(loop);
  loop.run();
  return result;
}
// [/loop]

TEST(EventLoopTest, AReadArrivesOnTheLoop) {
  const absl::StatusOr<std::string> token = ReadOnce();
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(*token, "t1");
}

// The conformance suite does not test what follows.
TEST(EventLoopTest, TasksOfAContextThatNobodyRunsAreDestroyed) {
  asio::io_context loop;
  auto alive = std::make_shared<int>();
  {
    AsioExecutor executor(loop.get_executor(), loop.get_executor(),
                          loop.get_executor());
    EXPECT_TRUE(executor.Run([alive] {}));
    EXPECT_TRUE(executor.RunBlocking([alive] {}));
    EXPECT_NE(executor.RunAfter(absl::Hours(1), [alive] {}),
              refreshable::TimerId::kNone);
    EXPECT_EQ(alive.use_count(), 4);
  }
  EXPECT_EQ(alive.use_count(), 1);
  loop.poll();  // The posted handlers find no task.
}

TEST(EventLoopTest, StopWaitsForTheTaskThatIsRunning) {
  asio::thread_pool workers(1);
  asio::io_context loop;
  AsioExecutor executor(workers.get_executor(), workers.get_executor(),
                        loop.get_executor());
  absl::Notification running;
  bool ended = false;
  ASSERT_TRUE(executor.Run([&] {
    running.Notify();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    ended = true;
  }));
  running.WaitForNotification();
  executor.Stop();
  EXPECT_TRUE(ended);
}

TEST(EventLoopTest, ATaskMayRunAContextItself) {
  asio::io_context outer;
  asio::io_context inner;
  AsioExecutor executor(outer.get_executor(), outer.get_executor(),
                        outer.get_executor());
  AsioExecutor nested(inner.get_executor(), inner.get_executor(),
                      inner.get_executor());
  bool asked = false;
  executor.Run([&] {
    nested.Run([&] {
      asked = true;
      EXPECT_TRUE(nested.InExecutorThread());
      EXPECT_TRUE(executor.InExecutorThread());
    });
    inner.run();
    EXPECT_FALSE(nested.InExecutorThread());
    EXPECT_TRUE(executor.InExecutorThread());
  });
  outer.run();
  EXPECT_TRUE(asked);
  EXPECT_FALSE(executor.InExecutorThread());
}

TEST(EventLoopTest, AnExceptionLeavesRunAndHarmsNothing) {
  asio::io_context loop;
  AsioExecutor executor(loop.get_executor(), loop.get_executor(),
                        loop.get_executor());
  int ran = 0;
  executor.Run([] { throw std::runtime_error("task"); });
  executor.RunAfter(absl::ZeroDuration(),
                    [] { throw std::runtime_error("timer"); });
  executor.RunAfter(absl::ZeroDuration(), [&] { ++ran; });
  EXPECT_THROW(loop.run(), std::runtime_error);
  EXPECT_FALSE(executor.InExecutorThread());
  EXPECT_THROW(loop.run(), std::runtime_error);
  loop.run();
  EXPECT_EQ(ran, 1);
  executor.Stop();  // Returns only if no task still counts as running.
}

}  // namespace
}  // namespace refreshable_examples
