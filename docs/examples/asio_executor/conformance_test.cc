// SPDX-License-Identifier: Apache-2.0
//
// Runs the conformance suite for executors.

#include "refreshable/testing/conformance.h"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "asio/executor_work_guard.hpp"
#include "asio/io_context.hpp"
#include "docs/examples/asio_executor/asio_executor.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/testing/executor_conformance.h"

namespace refreshable_examples {
namespace {

class Loop {
 public:
  explicit Loop(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
  }
  ~Loop() {
    context_.stop();
    for (std::thread& thread : threads_) thread.join();
  }

  asio::io_context::executor_type executor() { return context_.get_executor(); }

 private:
  asio::io_context context_;
  const asio::executor_work_guard<asio::io_context::executor_type> guard_ =
      asio::make_work_guard(context_);
  std::vector<std::thread> threads_;
};

// [rig]
class AsioRig final : public refreshable_testing::ExecutorRig {
 public:
  explicit AsioRig(int threads)
      : threads_(threads),
        blocking_(threads),
        tasks_(threads),
        timers_(threads) {}

  refreshable::Executor& executor() override { return *executor_; }
  int BlockedTasks() const override { return threads_; }
  bool Refuse() override {
    executor_->Stop();
    return true;
  }
  void Destroy() override { executor_.reset(); }

 private:
  const int threads_;
  Loop blocking_;
  Loop tasks_;
  Loop timers_;
  // Declared last, so that it is destroyed first.
  std::optional<AsioExecutor> executor_{std::in_place, blocking_.executor(),
                                        tasks_.executor(), timers_.executor()};
};

using refreshable_testing::ExecutorConformanceTest;
using refreshable_testing::ExecutorSubject;

INSTANTIATE_TEST_SUITE_P(
    Asio, ExecutorConformanceTest,
    testing::Values(
        ExecutorSubject{"OneThreadEach",
                        [] { return std::make_unique<AsioRig>(1); }},
        ExecutorSubject{"ThreeThreadsEach",
                        [] { return std::make_unique<AsioRig>(3); }}),
    refreshable_testing::SubjectName());
// [/rig]

}  // namespace
}  // namespace refreshable_examples
