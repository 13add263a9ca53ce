// SPDX-License-Identifier: Apache-2.0
//
// Measures the timers of a ThreadExecutor, and the time that refreshes on it
// take:
//
//   bazel run -c opt //benchmarks:executor_benchmark
//
// - RefreshWhileOthersHang measures a refresh while the sources of 0, 32 or 100
//   other Refreshables hang. `vs_alone` is the time divided by the time with 0
//   others.
// - OneTimerMore measures `RunAfter` and `Cancel` of one timer while 1,000 or
//   1,000,000 timers are pending. `vs_floor` is the time divided by the time of
//   the floor, `PriorityQueue`.
// - DueTogether lets 100,000 tokens become due for refresh at the same moment.
//   It measures the time from the end of the first refresh to the end of the
//   last refresh, divided by the number of tokens.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works, with 1,000 tokens and timers.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/measure.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

using refreshable::BootTime;
using refreshable::Credential;
using refreshable::Executor;
using refreshable::Expiry;
using refreshable::Lease;
using refreshable::ThreadExecutor;
using refreshable::TimerId;
using Strings = refreshable::Refreshable<std::string>;
using Result = absl::StatusOr<Credential<std::string>>;

// Returns `seconds` divided by the time of the group's floor. Requires: in each
// group, the floor is measured first.
double VsFloor(const std::string& group, bool is_floor, double seconds) {
  static auto* const floors = new std::map<std::string, double>;
  if (is_floor) (*floors)[group] = seconds;
  return seconds / (*floors)[group];
}

double Seconds(SteadyClock::duration d) {
  return std::chrono::duration<double>(d).count();
}

template <typename Function>
std::unique_ptr<Strings> Make(Executor* executor, Function source,
                              Strings::Options options = {}) {
  options.executor = executor;
  auto made = Strings::Create(
      refreshable::BlockingSource<std::string>(std::move(source)),
      std::move(options));
  if (!made.ok()) std::abort();
  return *std::move(made);
}

// Each token is different, because a source must not return a withdrawn token
// again.
Result AnswerAtOnce() {
  static std::atomic<int> last{0};
  return Credential<std::string>(std::to_string(++last),
                                 Expiry::In(absl::Hours(1)));
}

void RefreshWhileOthersHang(benchmark::State& state) {
  const int others = static_cast<int>(state.range(0));
  absl::Notification go;
  ThreadExecutor executor;
  absl::BlockingCounter called(others);
  std::vector<std::unique_ptr<Strings>> hanging;
  for (int i = 0; i < others; ++i) {
    hanging.push_back(Make(&executor, [&]() -> Result {
      called.DecrementCount();
      go.WaitForNotification();
      return AnswerAtOnce();
    }));
    hanging.back()->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  }
  called.Wait();
  Strings::Options options;
  options.policy.min_interval = absl::ZeroDuration();
  options.policy.young_token_age = absl::ZeroDuration();
  const auto healthy = Make(&executor, AnswerAtOnce, std::move(options));
  auto lease = *healthy->Get();
  const auto start = SteadyClock::now();
  for (auto _ : state) {
    healthy->Invalidate(lease.generation());
    lease = *healthy->Get();
  }
  state.counters["vs_alone"] =
      VsFloor("refresh", others == 0,
              Seconds(SteadyClock::now() - start) /
                  static_cast<double>(state.iterations()));
  go.Notify();
  hanging.clear();
  executor.Shutdown(absl::InfiniteDuration());
}

class PriorityQueue {
 public:
  uint64_t RunAfter(absl::Duration delay, Executor::Task task) {
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t id = ++last_id_;
    const BootTime due = refreshable::SystemClock::Get().Now().boot + delay;
    queue_.push({due, id, std::make_shared<Executor::Task>(std::move(task))});
    return id;
  }
  // std::priority_queue cannot remove a timer.
  bool Cancel(uint64_t) { return true; }

 private:
  struct Timer {
    BootTime due;
    uint64_t id;
    std::shared_ptr<Executor::Task> task;
    bool operator<(const Timer& other) const {
      return std::make_pair(other.due, other.id) < std::make_pair(due, id);
    }
  };

  std::mutex mutex_;
  uint64_t last_id_ = 0;
  std::priority_queue<Timer> queue_;
};

template <typename Timers>
void OneTimerMore(benchmark::State& state) {
  Timers timers;
  uint64_t random = 1;
  const auto delay = [&random] {
    random = random * 6364136223846793005 + 1442695040888963407;
    return absl::Hours(1) + absl::Microseconds(random >> 34);
  };
  for (int64_t i = 0; i < state.range(0); ++i) timers.RunAfter(delay(), [] {});
  const auto start = SteadyClock::now();
  for (auto _ : state) timers.Cancel(timers.RunAfter(delay(), [] {}));
  state.counters["vs_floor"] =
      VsFloor("timers, " + std::to_string(state.range(0)),
              std::is_same<Timers, PriorityQueue>::value,
              Seconds(SteadyClock::now() - start) /
                  static_cast<double>(state.iterations()));
}

void DueTogether(benchmark::State& state) {
  const int tokens = static_cast<int>(state.range(0));
  for (auto _ : state) {
    absl::BlockingCounter refreshed(tokens);
    std::atomic<int64_t> first{0};
    ThreadExecutor executor;
    Strings::Options options;
    options.policy.refresh_ahead = true;
    options.policy.min_interval = absl::ZeroDuration();
    options.policy.stale_window = absl::Seconds(10);
    options.policy.jitter = 0;
    options.on_token_changed = [&](const Lease<std::string>& lease) {
      if (lease.generation() != refreshable::Generation(2)) return;
      int64_t none = 0;
      first.compare_exchange_strong(
          none, SteadyClock::now().time_since_epoch().count());
      refreshed.DecrementCount();
    };
    // All tokens must exist before the first token becomes due.
    const absl::Time expiry =
        absl::Now() + absl::Seconds(tokens > 1000 ? 30 : 2);
    std::vector<std::unique_ptr<Strings>> all;
    for (int i = 0; i < tokens; ++i) {
      all.push_back(Make(&executor, AnswerAtOnce, options));
      if (!all.back()->Install({"short", Expiry::At(expiry)}).ok()) {
        std::abort();
      }
    }
    refreshed.Wait();
    state.SetIterationTime(
        Seconds(SteadyClock::now() -
                SteadyClock::time_point(SteadyClock::duration(first.load()))) /
        tokens);
    all.clear();
    executor.Shutdown(absl::InfiniteDuration());
  }
}

void Register(bool short_form) {
  const int timers = short_form ? 1000 : 1000000;
  const int tokens = short_form ? 1000 : 100000;
  benchmark::RegisterBenchmark("OneTimerMore<PriorityQueue>",
                               OneTimerMore<PriorityQueue>)
      ->Arg(1000)
      ->Arg(timers);
  benchmark::RegisterBenchmark("OneTimerMore<ThreadExecutor>",
                               OneTimerMore<ThreadExecutor>)
      ->Arg(1000)
      ->Arg(timers);
  benchmark::RegisterBenchmark("DueTogether", DueTogether)
      ->Arg(tokens)
      ->Iterations(1)
      ->UseManualTime();
}

BENCHMARK(RefreshWhileOthersHang)->Arg(0)->Arg(32)->Arg(100)->UseRealTime();

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  const bool short_form = IsShortForm(argc, argv);
  benchmark::Initialize(&argc, argv);
  Register(short_form);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
