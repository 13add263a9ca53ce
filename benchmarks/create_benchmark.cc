// SPDX-License-Identifier: Apache-2.0
//
// Measures the time to create a Refreshable, and to create and destroy one. The
// floor is std::make_shared of an object as large as the `TypedShell` inside a
// Refreshable:
//
//   bazel run -c opt //benchmarks:create_benchmark

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "benchmarks/ours.h"
#include "refreshable/refreshable.h"

namespace refreshable_benchmarks {
namespace {

using Strings = refreshable::Refreshable<std::string>;

constexpr int kBatch = 1000;

struct OfTheSameSize {
  char bytes[sizeof(refreshable::internal::TypedShell<std::string>)] = {};
};

auto Source() {
  return refreshable::BlockingSource<std::string>(
      []() -> absl::StatusOr<refreshable::Credential<std::string>> {
        return absl::UnavailableError("not asked");
      });
}

template <typename Make>
void Measure(benchmark::State& state, bool destroy_too, Make make) {
  std::vector<decltype(make())> made;
  made.reserve(kBatch);
  while (state.KeepRunningBatch(kBatch)) {
    for (int i = 0; i < kBatch; ++i) {
      made.push_back(make());
      if (destroy_too) made.pop_back();
    }
    state.PauseTiming();
    made.clear();
    state.ResumeTiming();
  }
}

void MakeShared(benchmark::State& state) {
  Measure(state, state.range(0) != 0,
          [] { return std::make_shared<OfTheSameSize>(); });
}
BENCHMARK(MakeShared)->ArgName("destroy")->Arg(0)->Arg(1);

void Create(benchmark::State& state) {
  IdleExecutor executor;
  const auto source = Source();
  Measure(state, state.range(0) != 0,
          [&] { return *Strings::Create(source, {&executor}); });
}
BENCHMARK(Create)->ArgName("destroy")->Arg(0)->Arg(1);

}  // namespace
}  // namespace refreshable_benchmarks

BENCHMARK_MAIN();
