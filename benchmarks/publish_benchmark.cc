// SPDX-License-Identifier: Apache-2.0
//
// How long a publication takes while four threads read without a pause:
//
//   bazel run -c opt //benchmarks:publish_benchmark
//
// Each iteration publishes once; p50, p99 and max are over all iterations.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "benchmarks/baselines.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

template <typename Pattern>
void Publish(benchmark::State& state) {
  Pattern pattern(std::string(1024, 'x'));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const char byte = pattern.Read();
        benchmark::DoNotOptimize(byte);
      }
    });
  }
  std::vector<double> us;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    pattern.Publish(std::string(1024, 'y'));
    us.push_back(std::chrono::duration<double, std::micro>(
                     std::chrono::steady_clock::now() - start)
                     .count());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  std::sort(us.begin(), us.end());
  const auto at = [&](size_t percent) {
    return us[std::min(us.size() - 1, us.size() * percent / 100)];
  };
  state.counters["p50_us"] = at(50);
  state.counters["p99_us"] = at(99);
  state.counters["max_us"] = us.back();
}

template <typename Pattern>
void Register() {
  benchmark::RegisterBenchmark(Pattern::kName, Publish<Pattern>)
      ->Iterations(300)
      ->UseRealTime();
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  benchmark::Initialize(&argc, argv);
  Register<Fresh>();
  Register<SharedSlots>();
  Register<MutexCopy>();
  Register<SharedMutexCopy>();
  Register<MutexSharedPtr>();
  Register<AtomicSharedPtr>();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
