// SPDX-License-Identifier: Apache-2.0
//
// Runs ExecutorConformanceTest on the library's own executors.

#include "refreshable/testing/executor_conformance.h"

#include <memory>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {
namespace {

using ::refreshable::Executor;
using ::refreshable::ManualExecutor;
using ::refreshable::ThreadExecutor;
using ::refreshable::TimerId;

class ManualRig final : public ExecutorRig {
 public:
  Executor& executor() override { return *executor_; }
  bool Refuse() override {
    executor_->set_refuse_runs(true);
    executor_->set_refuse_timers(true);
    return true;
  }
  void Destroy() override { executor_.reset(); }

 private:
  std::unique_ptr<ManualExecutor> executor_ =
      std::make_unique<ManualExecutor>();
};

// The limits of this executor are so low that `Refuse` can reach them.
class ThreadRig final : public ExecutorRig {
 public:
  explicit ThreadRig(int threads) : threads_(threads) {
    ThreadExecutor::Options options;
    options.workers = threads;
    options.blocking_threads = threads;
    options.shutdown_grace = absl::InfiniteDuration();
    options.max_queued = 30000;
    options.max_timers = 30000;
    executor_ = ThreadExecutor::Create(options).value();
  }
  ~ThreadRig() override { Destroy(); }

  Executor& executor() override { return *executor_; }
  int BlockedTasks() const override { return threads_; }
  bool Refuse() override {
    // While all threads are blocked, further tasks fill the queues. Timers that
    // are due in an hour stay pending.
    absl::BlockingCounter held(2 * threads_);
    const auto hold = [this, &held] {
      held.DecrementCount();
      stop_.WaitForNotification();
    };
    for (int i = 0; i < threads_; ++i) {
      executor_->Run(hold);
      executor_->RunBlocking(hold);
    }
    held.Wait();
    while (executor_->Run([] {})) {
    }
    while (executor_->RunBlocking([] {})) {
    }
    while (executor_->RunAfter(absl::Hours(1), [] {}) != TimerId::kNone) {
    }
    return true;
  }
  void Destroy() override {
    if (!stop_.HasBeenNotified()) stop_.Notify();
    executor_.reset();
  }

 private:
  const int threads_;
  absl::Notification stop_;
  std::unique_ptr<ThreadExecutor> executor_;
};

class DefaultRig final : public ExecutorRig {
 public:
  Executor& executor() override { return *executor_; }
  // 256 tasks can block at the same time, but fewer are enough here.
  int BlockedTasks() const override { return 32; }
  bool Refuse() override {
    return executor_->Shutdown(absl::InfiniteDuration()) == 0;
  }
  void Destroy() override {
    executor_->Shutdown(absl::InfiniteDuration());
    executor_.reset();
  }

 private:
  std::unique_ptr<ThreadExecutor> executor_ =
      std::make_unique<ThreadExecutor>();
};

INSTANTIATE_TEST_SUITE_P(
    T3, ExecutorConformanceTest,
    ::testing::Values(
        ExecutorSubject{"Manual", [] { return std::make_unique<ManualRig>(); }},
        ExecutorSubject{"OneThread",
                        [] { return std::make_unique<ThreadRig>(1); }},
        ExecutorSubject{"FourThreads",
                        [] { return std::make_unique<ThreadRig>(4); }},
        ExecutorSubject{"Default",
                        [] { return std::make_unique<DefaultRig>(); }}),
    SubjectName());

}  // namespace
}  // namespace refreshable_testing
