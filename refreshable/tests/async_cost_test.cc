// SPDX-License-Identifier: Apache-2.0
//
// Counts the allocations of asynchronous reads, and of reads that fail at once.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace {

std::atomic<int64_t> allocations{0};

}  // namespace

void* operator new(size_t size) {
  ++allocations;
  void* const memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace refreshable {
namespace {

using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Make;
using lifecycle_testing::Strings;

// An executor with room for one task. Its `Run` allocates nothing, and its
// timers never fire.
class OneTaskExecutor final : public Executor {
 public:
  bool Run(Task task) override {
    if (task_ != nullptr) return false;
    task_ = std::move(task);
    return true;
  }
  TimerId RunAfter(absl::Duration, Task task) override {
    timers_.push_back(std::move(task));
    return TimerId(timers_.size());
  }
  bool Cancel(TimerId id) override {
    timers_[static_cast<size_t>(id) - 1] = nullptr;
    return true;
  }
  bool InExecutorThread() const override { return false; }
  const Clock& clock() const override { return SystemClock::Get(); }

  bool RunTask() {
    if (task_ == nullptr) return false;
    Task task = std::exchange(task_, nullptr);
    std::move(task)();
    return true;
  }

 private:
  Task task_;
  std::vector<Task> timers_;
};

class AsyncCostTest : public ::testing::Test {
 protected:
  ~AsyncCostTest() override {
    token_.reset();
    for (size_t i = 0; i < held_->calls(); ++i) held_->Drop(i);
  }

  // Returns the largest number of allocations in one call of `step`, once the
  // library's tables have grown.
  template <typename Step>
  static int64_t Allocations(Step step) {
    for (int i = 0; i < 100; ++i) step();
    int64_t most = 0;
    for (int i = 0; i < 1000; ++i) {
      const int64_t before = allocations;
      step();
      most = std::max(most, allocations - before);
    }
    return most;
  }

  OneTaskExecutor executor_;
  std::shared_ptr<HeldSource> held_ = std::make_shared<HeldSource>();
  std::unique_ptr<Strings> token_ = Make(&executor_, held_, Options());

 private:
  static Strings::Options Options() {
    Strings::Options options;
    options.policy.retry.initial_backoff = absl::Hours(1);
    options.policy.retry.max_backoff = absl::Hours(1);
    options.policy.retry.probe_interval = absl::Hours(1);
    return options;
  }
};

TEST_F(AsyncCostTest, R1GetAsyncOfAFreshTokenAllocatesOnce) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  int told = 0;
  EXPECT_EQ(Allocations([&] {
              token_->GetAsync(absl::Seconds(5), [&told](const auto& lease) {
                told += lease.ok();
              });
              executor_.RunTask();
            }),
            1);
  EXPECT_EQ(told, 1100);
  EXPECT_EQ(token_->health().waiters, 0);
}

TEST_F(AsyncCostTest, A4CallWithTokenAsyncAllocatesOnce) {
  ASSERT_TRUE(token_->Install(Hour("t1")).ok());
  int told = 0;
  const auto call = [](const Lease<std::string>&,
                       absl::AnyInvocable<void(int)> done) { done(200); };
  EXPECT_EQ(Allocations([&] {
              CallWithTokenAsync<int>(
                  *token_, {absl::Seconds(5)}, call,
                  [](int answer) { return answer == 401; },
                  [&told](const absl::StatusOr<int>& answer) {
                    told += answer.ok();
                  });
              executor_.RunTask();
            }),
            1);
  EXPECT_EQ(told, 1100);
}

TEST_F(AsyncCostTest, B5ReadBetweenFlightsAllocatesNothing) {
  token_->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  ASSERT_TRUE(executor_.RunTask());
  ASSERT_EQ(held_->calls(), 1u);
  held_->Answer(0, absl::PermissionDeniedError("down"));
  while (executor_.RunTask()) {
  }
  EXPECT_EQ(Allocations([&] {
              EXPECT_EQ(token_->Get(absl::Seconds(5)).status().code(),
                        absl::StatusCode::kPermissionDenied);
            }),
            0);
}

}  // namespace
}  // namespace refreshable
