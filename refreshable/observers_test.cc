// SPDX-License-Identifier: Apache-2.0

#include "refreshable/observers.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using ::testing::ElementsAre;

TEST(CountingObserverTest, S1CountsEachKindApart) {
  CountingObserver observer;
  for (size_t i = 0; i < kEventKinds; ++i) {
    EXPECT_EQ(observer.count(static_cast<EventKind>(i)), 0);
  }
  for (size_t i = 0; i < kEventKinds; ++i) {
    Event event;
    event.kind = static_cast<EventKind>(i);
    for (size_t times = 0; times <= i; ++times) observer.OnEvent(event);
  }
  for (size_t i = 0; i < kEventKinds; ++i) {
    EXPECT_EQ(observer.count(static_cast<EventKind>(i)),
              static_cast<int64_t>(i + 1));
  }
}

TEST(CountingObserverTest, S1CountsFromManyThreads) {
  CountingObserver observer;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) observer.OnEvent(Event());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(observer.count(EventKind::kStateChanged), 4000);
}

TEST(LineObserverTest, S1ALinePerEventInOrder) {
  ManualExecutor executor;
  RefreshPolicy policy;
  policy.jitter = 0;
  policy.young_token_age = absl::ZeroDuration();
  std::vector<std::string> lines;
  int calls = 0;
  Refreshable<std::string>::Options options;
  options.executor = &executor;
  options.policy = policy;
  options.observer = std::make_shared<LineObserver>(
      "orders", [&](const std::string& line) { lines.push_back(line); });
  const auto token = *Refreshable<std::string>::Create(
      BlockingSource<std::string>(
          [&calls]() -> absl::StatusOr<Credential<std::string>> {
            if (++calls == 1) return absl::UnavailableError("down");
            return Credential<std::string>("t1", Expiry::In(absl::Hours(1)));
          }),
      options);
  ASSERT_TRUE(token->Get().ok());
  token->Invalidate(Generation(1));
  EXPECT_THAT(
      lines,
      ElementsAre("orders: attempt_started generation=0 reason=first attempt=1",
                  "orders: attempt_failed generation=0 attempt=1 failures=1 "
                  "status=\"UNAVAILABLE: down\"",
                  "orders: backoff generation=0 failures=1 delay=2s",
                  "orders: attempt_started generation=0 reason=first attempt=2 "
                  "failures=1",
                  "orders: token_published generation=1",
                  "orders: state_changed generation=1 state=fresh",
                  "orders: token_invalidated generation=1",
                  "orders: state_changed generation=1 state=expired"));
}

}  // namespace
}  // namespace refreshable
