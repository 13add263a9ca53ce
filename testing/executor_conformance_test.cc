// SPDX-License-Identifier: Apache-2.0
//
// The executors that this library brings, held against the suite.

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

class ThreadRig final : public ExecutorRig {
 public:
  explicit ThreadRig(int workers) : workers_(workers) {
    ThreadExecutor::Options options;
    options.workers = workers;
    options.max_queued = 5000;
    options.max_timers = 5000;
    executor_ = ThreadExecutor::Create(options).value();
  }
  ~ThreadRig() override { Destroy(); }

  Executor& executor() override { return *executor_; }
  bool Refuse() override {
    // With every worker held up, what is queued stays queued.
    absl::BlockingCounter held(workers_);
    for (int i = 0; i < workers_; ++i) {
      executor_->Run([this, &held] {
        held.DecrementCount();
        stop_.WaitForNotification();
      });
    }
    held.Wait();
    while (executor_->Run([] {})) {
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
  const int workers_;
  absl::Notification stop_;
  std::unique_ptr<ThreadExecutor> executor_;
};

INSTANTIATE_TEST_SUITE_P(
    T3, ExecutorConformanceTest,
    ::testing::Values(
        ExecutorSubject{"Manual", [] { return std::make_unique<ManualRig>(); }},
        ExecutorSubject{"OneThread",
                        [] { return std::make_unique<ThreadRig>(1); }},
        ExecutorSubject{"FourThreads",
                        [] { return std::make_unique<ThreadRig>(4); }}),
    SubjectName());

}  // namespace
}  // namespace refreshable_testing
