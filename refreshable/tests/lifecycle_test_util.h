// SPDX-License-Identifier: Apache-2.0
//
// Sources, an executor and functions for the tests in this folder.

#ifndef REFRESHABLE_TESTS_LIFECYCLE_TEST_UTIL_H_
#define REFRESHABLE_TESTS_LIFECYCLE_TEST_UTIL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace lifecycle_testing {

using Result = absl::StatusOr<Credential<std::string>>;

inline Credential<std::string> Hour(std::string token) {
  return {std::move(token), Expiry::In(absl::Hours(1))};
}

template <typename Condition>
void SpinUntil(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

// A source that passes each call to a function.
template <typename Token = std::string>
class LambdaSource final : public TokenSource<Token> {
 public:
  using Function = std::function<void(const FetchContext&, FetchDone<Token>)>;

  explicit LambdaSource(Function function) : function_(std::move(function)) {}
  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    function_(context, std::move(done));
  }

 private:
  const Function function_;
};

inline std::shared_ptr<TokenSource<std::string>> MakeSource(
    LambdaSource<>::Function function) {
  return std::make_shared<LambdaSource<>>(std::move(function));
}

inline std::shared_ptr<TokenSource<std::string>> Answering(std::string token) {
  return MakeSource([token = std::move(token)](const auto&, auto done) {
    done(Hour(token));
  });
}

// A source that keeps each call until the test answers or drops it.
// Thread-safe.
class HeldSource final : public TokenSource<std::string> {
 public:
  void Fetch(const FetchContext& context,
             FetchDone<std::string> done) override {
    absl::MutexLock lock(&mutex_);
    calls_.emplace_back(context, std::move(done));
  }

  size_t calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_.size();
  }
  FetchContext context(size_t i) const {
    absl::MutexLock lock(&mutex_);
    return calls_[i].first;
  }
  void Answer(size_t i, Result result) { Take(i)(std::move(result)); }
  // Destroys the `done` of call number `i` without an answer.
  void Drop(size_t i) { Take(i); }

 private:
  FetchDone<std::string> Take(size_t i) {
    absl::MutexLock lock(&mutex_);
    return std::move(calls_[i].second);
  }

  mutable absl::Mutex mutex_;
  std::vector<std::pair<FetchContext, FetchDone<std::string>>> calls_;
};

// An executor that counts calls and passes them on to `base`.
class ProbeExecutor : public Executor {
 public:
  explicit ProbeExecutor(Executor* base) : base_(base), clock_(this) {}

  bool Run(Task task) override {
    ++uses_;
    if (on_run) on_run();
    return !refuse_runs && base_->Run(std::move(task));
  }
  TimerId RunAfter(absl::Duration delay, Task task) override {
    ++uses_;
    ++timers_;
    if (on_run_after) on_run_after();
    if (refuse_timers) return TimerId::kNone;
    return base_->RunAfter(delay, std::move(task));
  }
  bool Cancel(TimerId id) override {
    ++uses_;
    return base_->Cancel(id);
  }
  bool InExecutorThread() const override {
    ++uses_;
    return base_->InExecutorThread();
  }
  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override {
    ++uses_;
    if (on_drive) on_drive();
    return base_->DriveUntil(done, deadline);
  }
  const Clock& clock() const override { return clock_; }

  // Counts the calls of the clock's `Now`, and of all methods above except
  // `clock`.
  int uses() const { return uses_; }
  int timers() const { return timers_; }

  std::function<void()> on_run;
  std::function<void()> on_run_after;
  std::function<void()> on_drive;
  std::atomic<bool> refuse_runs{false};
  std::atomic<bool> refuse_timers{false};

 private:
  class ProbeClock final : public Clock {
   public:
    explicit ProbeClock(const ProbeExecutor* probe) : probe_(probe) {}
    Instant Now() const override {
      ++probe_->uses_;
      return probe_->base_->clock().Now();
    }

   private:
    const ProbeExecutor* const probe_;
  };

  Executor* const base_;
  const ProbeClock clock_;
  mutable std::atomic<int> uses_{0};
  std::atomic<int> timers_{0};
};

using Strings = Refreshable<std::string>;

// Returns a Refreshable with `options`, but on `executor` and without jitter.
inline std::unique_ptr<Strings> Make(
    Executor* executor, std::shared_ptr<TokenSource<std::string>> source,
    Strings::Options options = {}) {
  options.executor = executor;
  options.policy.jitter = 0;
  auto made = Strings::Create(std::move(source), std::move(options));
  return *std::move(made);
}

// The outcome of a GetAsync, whose callback ran `ended` times.
struct Outcome {
  std::atomic<int> ended{0};
  absl::Status status;
  std::string token;

  Strings::Callback Callback() {
    return [this](absl::StatusOr<Lease<std::string>> lease) {
      status = lease.status();
      if (lease.ok()) token = lease->token();
      ++ended;
    };
  }
};

}  // namespace lifecycle_testing
}  // namespace refreshable

#endif  // REFRESHABLE_TESTS_LIFECYCLE_TEST_UTIL_H_
