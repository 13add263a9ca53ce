// SPDX-License-Identifier: Apache-2.0
//
// Measures the duration of a publication while four threads read continuously:
//
//   bazel run -c opt //benchmarks:publish_benchmark
//
// Each iteration publishes once. p50, p99 and max describe the duration of a
// publication. Counters that end with `vs_floor` or `vs_ours` are divided by
// the value of the floor or of Refreshable. The floor only allocates and stores
// a pointer.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "benchmark/benchmark.h"
#include "benchmarks/baselines.h"
#include "benchmarks/lock_free_baselines.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

constexpr int kReaders = 4;

// Times in microseconds.
struct Latency {
  double p50 = 0;
  double p99 = 0;
};

// Returns the latency of the last run, or zeros before the first.
template <typename Pattern>
Latency& LatencyOf() {
  static Latency latency;
  return latency;
}

void Report(const Latency& latency, const Latency& base, const char* versus,
            benchmark::State& state) {
  state.counters[std::string("p50_") + versus] = latency.p50 / base.p50;
  state.counters[std::string("p99_") + versus] = latency.p99 / base.p99;
}

template <typename Pattern>
void Publish(benchmark::State& state) {
  // Touches the memory that the publications will use, and frees it again.
  // Otherwise the floor, which frees nothing, would need new pages during the
  // measurement. `behind` keeps the heap from returning the memory to the
  // system.
  auto touched = std::make_unique<std::vector<std::string>>(
      2 * state.max_iterations, std::string(1024, 'x'));
  Pattern pattern(std::string(1024, 'x'));
  const auto behind = std::make_unique<char[]>(1024);
  benchmark::DoNotOptimize(behind.get());
  touched.reset();
  std::atomic<int> reading{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < kReaders; ++t) {
    readers.emplace_back([&] {
      ++reading;
      while (!stop.load(std::memory_order_relaxed)) {
        const char byte = pattern.Read();
        benchmark::DoNotOptimize(byte);
      }
    });
  }
  while (reading < kReaders) std::this_thread::yield();
  std::vector<double> us;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    pattern.Publish(std::string(1024, 'y'));
    us.push_back(std::chrono::duration<double, std::micro>(
                     std::chrono::steady_clock::now() - start)
                     .count());
    state.SetIterationTime(us.back() / 1e6);
    // Lets the readers run, even on few cores.
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  std::sort(us.begin(), us.end());
  const auto at = [&](size_t percent) {
    return us[std::min(us.size() - 1, us.size() * percent / 100)];
  };
  Latency& latency = LatencyOf<Pattern>();
  latency = {at(50), at(99)};
  state.counters["p50_us"] = latency.p50;
  state.counters["p99_us"] = latency.p99;
  state.counters["max_us"] = us.back();
  Report(latency, LatencyOf<PointerAndTime>(), "vs_floor", state);
  if (!std::is_same_v<Pattern, PointerAndTime>) {
    Report(latency, LatencyOf<Fresh>(), "vs_ours", state);
  }
}

template <typename Pattern>
void Register(int iterations) {
  benchmark::RegisterBenchmark(Pattern::kName, Publish<Pattern>)
      ->Iterations(iterations)
      ->UseManualTime();
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  const bool short_form = IsShortForm(argc, argv);
  benchmark::Initialize(&argc, argv);
  const int iterations = short_form ? 10 : 300;
  Register<PointerAndTime>(iterations);
  Register<Fresh>(iterations);
  Register<SharedSlots>(iterations);
  Register<MutexCopy>(iterations);
  Register<MutexHeldDuringRefresh>(iterations);
  Register<SharedMutexCopy>(iterations);
  Register<SharedMutexTwice>(iterations);
  Register<MapOfItems>(iterations);
  Register<MutexSlice>(iterations);
  Register<MutexSharedPtr>(iterations);
  Register<AbslMutexSharedPtr>(iterations);
  Register<AtomicSharedPtr>(iterations);
  Register<ThreadLocalCopy>(iterations);
  Register<RcuQuiescent>(iterations);
  Register<RcuFence>(iterations);
  Register<HazardFence>(iterations);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
