// SPDX-License-Identifier: Apache-2.0
//
// Measures the cost of a read, alone and with other readers:
//
//   bazel run -c opt //benchmarks:read_path_benchmark
//
// The time of a read is the elapsed time divided by the number of reads of all
// threads. The floor is `PointerAndTime` (baselines.h). `vs_floor` is the time
// of a read divided by the floor's time, with the same number of threads and
// the same length of the token. The last benchmarks read tokens of several
// lengths. Their `vs_64_bytes` is the time divided by the time with 64 bytes.
// To compare two runs, use these ratios and not the times.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/baselines.h"
#include "benchmarks/lock_free_baselines.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

// A Refreshable without a token. Each `TryGet` fails at once.
class Expired : public RefreshableRead<IdleExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, expired, no waiting";
  explicit Expired(const std::string&) {}
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    return refreshable().TryGet().ok() ? '\0' : 'x';
  }
};

// Like Expired, but a hundred other reads wait for a refresh in flight.
class ExpiredWithWaiters : public RefreshableRead<IdleExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, expired, 100 wait, TryGet";
  explicit ExpiredWithWaiters(const std::string&) {
    for (int i = 0; i < 100; ++i) {
      refreshable().GetAsync(absl::InfiniteDuration(), [](const auto&) {});
    }
    if (refreshable().health().waiters != 100) std::abort();
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    return refreshable().TryGet().ok() ? '\0' : 'x';
  }
};

// Each measured read also waits for the refresh, with a timeout of zero.
class ExpiredJoinAndLeave : public ExpiredWithWaiters {
 public:
  static constexpr char kName[] = "Refreshable, expired, 100 wait, Get(0)";
  using ExpiredWithWaiters::ExpiredWithWaiters;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    return refreshable().Get(absl::ZeroDuration()).ok() ? '\0' : 'x';
  }
};

constexpr size_t kTokenBytes = 1024;
constexpr size_t kShortest = 64;

// Times in nanoseconds, by number of threads and length of the token in bytes.
using Times = std::map<std::pair<int, size_t>, double>;
Times& Floors() {
  static auto* const floors = new Times;
  return *floors;
}

template <typename Pattern>
void Read(benchmark::State& state, size_t token_bytes, bool growth) {
  static Pattern* pattern = nullptr;
  static std::chrono::steady_clock::time_point start;
  if (state.thread_index() == 0) {
    pattern = new Pattern(std::string(token_bytes, 'x'));
    start = std::chrono::steady_clock::now();
  }
  for (auto _ : state) {
    const char byte = pattern->Read();
    benchmark::DoNotOptimize(byte);
  }
  if (state.thread_index() != 0) return;
  const double ns = std::chrono::duration<double, std::nano>(
                        std::chrono::steady_clock::now() - start)
                        .count() /
                    static_cast<double>(state.iterations() * state.threads());
  double& floor = Floors()[{state.threads(), token_bytes}];
  if (std::is_same_v<Pattern, PointerAndTime>) floor = ns;
  state.counters["vs_floor"] = ns / floor;
  if (growth) {
    static Times times;
    times[{state.threads(), token_bytes}] = ns;
    state.counters["vs_64_bytes"] = ns / times[{state.threads(), kShortest}];
  }
  delete pattern;
}

template <typename Pattern>
void Register() {
  benchmark::RegisterBenchmark(Pattern::kName, Read<Pattern>, kTokenBytes,
                               /*growth=*/false)
      ->Threads(1)
      ->Threads(2)
      ->Threads(4)
      ->Threads(8)
      ->UseRealTime();
}

template <typename Pattern>
void RegisterGrowth() {
  for (const size_t token_bytes : {kShortest, kTokenBytes, 64 * kTokenBytes}) {
    const std::string name =
        std::to_string(token_bytes) + " bytes/" + Pattern::kName;
    benchmark::RegisterBenchmark(name.c_str(), Read<Pattern>, token_bytes,
                                 /*growth=*/true)
        ->Threads(1)
        ->Threads(2)
        ->UseRealTime();
  }
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  benchmark::Initialize(&argc, argv);
  Register<PointerAndTime>();
  Register<Fresh>();
  Register<Stale>();
  Register<Expired>();
  Register<ExpiredWithWaiters>();
  Register<ExpiredJoinAndLeave>();
  Register<VirtualTime>();
  Register<SharedSlots>();
  Register<MutexCopy>();
  Register<MutexHeldDuringRefresh>();
  Register<SharedMutexCopy>();
  Register<SharedMutexTwice>();
  Register<MapOfItems>();
  Register<MutexSlice>();
  Register<MutexSharedPtr>();
  Register<AbslMutexSharedPtr>();
  Register<AtomicSharedPtr>();
  Register<MutexPointer>();
  Register<VolatileRead>();
  Register<ThreadLocalCopy>();
  Register<RcuQuiescent>();
  Register<RcuFence>();
  Register<HazardFence>();
  RegisterGrowth<PointerAndTime>();
  RegisterGrowth<Fresh>();
  RegisterGrowth<MutexCopy>();
  // glibc and libstdc++ avoid atomic instructions until the process has had a
  // second thread. Programs with several threads have no such advantage.
  std::thread([] {}).join();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
