// SPDX-License-Identifier: Apache-2.0
//
// Many instances, as a server with a token for each tenant has: a read of one
// picked at random among 1 and 10,000, and the bytes that each one takes:
//
//   bazel run -c opt //benchmarks:instances_benchmark

#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "benchmarks/baselines.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

constexpr size_t kTokenBytes = 1024;

template <typename Pattern>
void ReadOneOf(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  const size_t before = mallinfo2().uordblks;
  std::vector<std::unique_ptr<Pattern>> patterns;
  for (size_t i = 0; i < count; ++i) {
    patterns.push_back(
        std::make_unique<Pattern>(std::string(kTokenBytes, 'x')));
  }
  if (count > 1) {  // Of one, the heap's own bookkeeping would be most.
    state.counters["bytes_each_beside_the_token"] =
        static_cast<double>(mallinfo2().uordblks - before) /
            static_cast<double>(count) -
        kTokenBytes;
  }
  uint64_t random = 1;
  for (auto _ : state) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const char byte = patterns[(random >> 33) % count]->Read();
    benchmark::DoNotOptimize(byte);
  }
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
  Register<SharedMutexCopy>();
  Register<MapOfItems>();
  Register<MutexSharedPtr>();
  // The C and C++ libraries leave atomics out while there is one thread.
  std::thread([] {}).join();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
