// SPDX-License-Identifier: Apache-2.0
//
// Measures asynchronous reads, and threads that wait for a refresh:
//
//   bazel run -c opt //benchmarks:async_benchmark
//
// The first part prints the time per callback and the CPU time per callback, in
// nanoseconds, as medians over 301 rounds of 1,000 callbacks. Each row is
// compared with an operation, its *floor*. Two more columns divide the row's
// times by the floor's times. The floor of `CallWithTokenAsync` is `GetAsync`.
// In the last row, the floor is `CancellableRuns::Run` (below). Otherwise the
// floor is `ThreadExecutor::Run`.
//
// The second part prints the average number of context switches that each of 64
// threads makes while it waits for a refresh.
//
// The third part prints the CPU time that the process uses per second while
// 1,000 threads wait for a refresh.

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "benchmarks/measure.h"
#include "refreshable/call_with_token.h"
#include "refreshable/credential.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Lease;
using refreshable::ThreadExecutor;
using Strings = refreshable::Refreshable<std::string>;

constexpr int kCallbacks = 1000;
constexpr int kRounds = 301;

// The elapsed time and the CPU time of one callback.
struct Cost {
  double ns = 0;
  double cpu_ns = 0;
};

double CpuNanoseconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 +
         static_cast<double>(time.tv_nsec);
}

// Each call of `begin` must cause one callback, which increments `ran` by one.
// Returns the cost per callback.
template <typename Begin>
Cost Measure(const std::atomic<int>& ran, Begin begin) {
  const int until = ran + kCallbacks;
  const double cpu = CpuNanoseconds();
  const auto start = SteadyClock::now();
  for (int i = 0; i < kCallbacks; ++i) begin();
  while (ran != until) std::this_thread::yield();
  const std::chrono::duration<double, std::nano> time =
      SteadyClock::now() - start;
  return {time.count() / kCallbacks, (CpuNanoseconds() - cpu) / kCallbacks};
}

Cost MedianCost(const std::vector<Cost>& costs) {
  std::vector<double> ns, cpu_ns;
  for (const Cost& cost : costs) {
    ns.push_back(cost.ns);
    cpu_ns.push_back(cost.cpu_ns);
  }
  return {Median(std::move(ns)), Median(std::move(cpu_ns))};
}

void Print(const char* name, const Cost& cost, const Cost& floor) {
  std::printf("%-20s %8.0f %8.0f %8.2f %8.2f\n", name, cost.ns, cost.cpu_ns,
              cost.ns / floor.ns, cost.cpu_ns / floor.cpu_ns);
}

template <typename Function>
std::unique_ptr<Strings> Make(ThreadExecutor* executor, Function source) {
  Strings::Options options;
  options.executor = executor;
  options.policy.min_interval = absl::ZeroDuration();
  options.policy.young_token_age = absl::ZeroDuration();
  options.policy.retry.initial_backoff = absl::Milliseconds(5);
  options.policy.retry.max_backoff = absl::Milliseconds(5);
  options.policy.retry.max_retries = 5;
  auto made = Strings::Create(
      refreshable::BlockingSource<std::string>(std::move(source)),
      std::move(options));
  if (!made.ok()) std::abort();
  return *std::move(made);
}

Credential<std::string> Token() {
  static std::atomic<int> last{0};
  return {std::to_string(++last), Expiry::In(absl::Hours(1))};
}

// The simplest design for callbacks that can be cancelled by an id. `Cancel` is
// left out, because nothing is cancelled here.
class CancellableRuns {
 public:
  explicit CancellableRuns(ThreadExecutor* executor) : executor_(executor) {}

  void Run(absl::AnyInvocable<void()> callback) {
    uint64_t id = 0;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      id = ++last_id_;
      callbacks_.emplace(id, std::move(callback));
    }
    executor_->Run([this, id] {
      absl::AnyInvocable<void()> once;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        const auto it = callbacks_.find(id);
        once = std::move(it->second);
        callbacks_.erase(it);
      }
      once();
    });
  }

 private:
  ThreadExecutor* const executor_;
  std::mutex mutex_;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, absl::AnyInvocable<void()>> callbacks_;
};

void MeasureCallbacks() {
  ThreadExecutor executor;
  const auto token = Make(&executor, Token);
  if (!token->Get().ok()) std::abort();
  std::atomic<int> ran{0};
  CancellableRuns runs(&executor);
  std::vector<Cost> run, cancellable, get_async, call;
  for (int i = 0; i < kRounds; ++i) {
    run.push_back(Measure(ran, [&] { executor.Run([&ran] { ++ran; }); }));
    cancellable.push_back(Measure(ran, [&] { runs.Run([&ran] { ++ran; }); }));
    get_async.push_back(Measure(ran, [&] {
      token->GetAsync(absl::Seconds(5),
                      [&ran](const absl::StatusOr<Lease<std::string>>& lease) {
                        if (!lease.ok()) std::abort();
                        ++ran;
                      });
    }));
    call.push_back(Measure(ran, [&] {
      refreshable::CallWithTokenAsync<int>(
          *token, {absl::Seconds(5)},
          [](const Lease<std::string>&, absl::AnyInvocable<void(int)> done) {
            done(200);
          },
          [](int answer) { return answer == 401; },
          [&ran](const absl::StatusOr<int>& answer) {
            if (!answer.ok()) std::abort();
            ++ran;
          });
    }));
  }
  std::printf("%-20s %8s %8s %8s %8s\n", "callbacks", "ns", "cpu_ns",
              "vs_floor", "cpu");
  Print("Run", MedianCost(run), MedianCost(run));
  Print("Run, cancellable", MedianCost(cancellable), MedianCost(run));
  Print("GetAsync", MedianCost(get_async), MedianCost(run));
  Print("CallWithTokenAsync", MedianCost(call), MedianCost(get_async));
  Print("GetAsync", MedianCost(get_async), MedianCost(cancellable));
  const auto target = [](const char* what, const std::vector<Cost>& cost,
                         const std::vector<Cost>& base, double at_most) {
    PrintTarget(what, MedianCost(cost).ns / MedianCost(base).ns, at_most);
  };
  target("GetAsync / Run", get_async, run, 1.3);
  target("GetAsync / Run that can be cancelled", get_async, cancellable, 2);
  target("CallWithTokenAsync / GetAsync", call, get_async, 1.5);
}

int64_t SwitchesOfThisThread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

// Lets 64 threads read once each, while the first `failures` attempts fail.
// Returns the average number of context switches per thread.
double Switches(int failures) {
  constexpr int kThreads = 64;
  ThreadExecutor executor;
  std::atomic<bool> go{false};
  std::atomic<int> left{failures};
  const auto token =
      Make(&executor, [&]() -> absl::StatusOr<Credential<std::string>> {
        while (!go) std::this_thread::yield();
        if (left-- > 0) return absl::UnavailableError("down");
        return Token();
      });
  std::atomic<int64_t> switches{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const int64_t before = SwitchesOfThisThread();
      if (!token->Get().ok()) std::abort();
      switches += SwitchesOfThisThread() - before;
    });
  }
  while (token->health().waiters < kThreads) std::this_thread::yield();
  go = true;
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(switches) / kThreads;
}

void MeasureIdle() {
  constexpr int kThreads = 1000;
  ThreadExecutor executor;
  absl::Notification go;
  const auto token = Make(&executor, [&] {
    go.WaitForNotification();
    return Token();
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] { (void)token->Get(absl::Hours(1)); });
  }
  while (token->health().waiters < kThreads) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const double before = CpuNanoseconds();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  PrintTarget("1,000 idle threads, ms of CPU per second",
              (CpuNanoseconds() - before) / 3 / 1e6, 1);
  go.Notify();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace refreshable_benchmarks

int main() {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  MeasureCallbacks();
  PrintTarget("64 threads, one attempt: switches of each", Switches(0), 2);
  PrintTarget("64 threads, six attempts: switches of each", Switches(5), 2);
  MeasureIdle();
  return 0;
}
