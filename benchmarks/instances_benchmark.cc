// SPDX-License-Identifier: Apache-2.0
//
// Measures the cost of many instances, such as those of a server that keeps a
// token for each tenant:
//
//   bazel run -c opt //benchmarks:instances_benchmark
//
// The time is that of reading an instance that is picked at random among 1 or
// 10,000 instances. The bytes are what each of 10,000 instances uses in
// addition to its token. `vs_floor` and `bytes_vs_floor` divide the time and
// the bytes by those of the floor, `PointerAndTime`. The Refreshables share one
// executor. The bytes include their tasks, but not the executor's list of
// tasks.

#include <malloc.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "benchmarks/baselines.h"
#include "benchmarks/lock_free_baselines.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

constexpr size_t kTokenBytes = 1024;

struct Floor {
  double ns = 0;
  double bytes = 0;
};

// Returns the floor's figures, by number of instances. The floor is measured
// first.
std::map<size_t, Floor>& Floors() {
  static auto* const floors = new std::map<size_t, Floor>;
  return *floors;
}

template <typename Pattern>
std::unique_ptr<Pattern> Make(const std::shared_ptr<IdleExecutor>& executor) {
  std::string token(kTokenBytes, 'x');
  if constexpr (std::is_constructible_v<Pattern, std::string,
                                        std::shared_ptr<IdleExecutor>>) {
    return std::make_unique<Pattern>(std::move(token), executor);
  } else {
    return std::make_unique<Pattern>(std::move(token));
  }
}

template <typename Pattern>
void ReadOneOf(benchmark::State& state) {
  constexpr bool kIsFloor = std::is_same_v<Pattern, PointerAndTime>;
  const auto count = static_cast<size_t>(state.range(0));
  Floor& floor = Floors()[count];
  const auto executor = std::make_shared<IdleExecutor>();
  executor->Reserve(count);  // One timer for each instance.
  std::vector<std::unique_ptr<Pattern>> patterns;
  patterns.reserve(count);
  const size_t before = mallinfo2().uordblks;
  for (size_t i = 0; i < count; ++i) {
    patterns.push_back(Make<Pattern>(executor));
  }
  const size_t after = mallinfo2().uordblks;
  // With one instance, the heap's own data would dominate.
  if (count > 1) {
    const double bytes =
        static_cast<double>(after - before) / static_cast<double>(count) -
        kTokenBytes;
    if (kIsFloor) floor.bytes = bytes;
    state.counters["bytes_each_beside_the_token"] = bytes;
    state.counters["bytes_vs_floor"] = bytes / floor.bytes;
  }
  uint64_t random = 1;
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const char byte = patterns[(random >> 33) % count]->Read();
    benchmark::DoNotOptimize(byte);
  }
  const double ns = std::chrono::duration<double, std::nano>(
                        std::chrono::steady_clock::now() - start)
                        .count() /
                    static_cast<double>(state.iterations());
  if (kIsFloor) floor.ns = ns;
  state.counters["vs_floor"] = ns / floor.ns;
}

template <typename Pattern>
void Register() {
  benchmark::RegisterBenchmark(Pattern::kName, ReadOneOf<Pattern>)
      ->Arg(1)
      ->Arg(10000);
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  benchmark::Initialize(&argc, argv);
  Register<PointerAndTime>();
  Register<Fresh>();
  Register<MutexCopy>();
  Register<MutexHeldDuringRefresh>();
  Register<SharedMutexCopy>();
  Register<SharedMutexTwice>();
  Register<MapOfItems>();
  Register<MutexSlice>();
  Register<MutexSharedPtr>();
  Register<AtomicSharedPtr>();
  Register<ThreadLocalCopy>();
  Register<RcuQuiescent>();
  Register<HazardFence>();
  // glibc and libstdc++ avoid atomic instructions until the process has had a
  // second thread. Programs with several threads have no such advantage.
  std::thread([] {}).join();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
