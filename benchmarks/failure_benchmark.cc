// SPDX-License-Identifier: Apache-2.0
//
// Measures the cost of reads while the token endpoint is down:
//
//   bazel run -c opt //benchmarks:failure_benchmark
//
// In the first group, 10,000 asynchronous reads wait for one refresh, which
// fails. `join_ns` is the time that one read takes to begin its wait. `told_ns`
// is the time from the failure until all reads know of it, divided by the
// number of reads.
//
// In the second group, 64 or 200 threads wait for one refresh, which fails.
//
// In the third group, a refresh has failed, and the next attempt is not due
// yet. So each read fails at once.
//
// `join_ns` and `told_ns` are medians over the refreshes. `calls` is the number
// of calls of the endpoint: for each refresh in the first two groups, and for
// all reads together in the third group. The first line of each group is the
// floor, code without this library. `vs_floor` is the time per read divided by
// the floor's. In the first group, this time is `join_ns` plus `told_ns`.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/measure.h"
#include "benchmarks/waiting_baselines.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

using refreshable::Lease;
using refreshable::Refreshable;

constexpr int kAsyncReads = 10000;
constexpr absl::Duration kTimeout = absl::Minutes(1);

// A source that asks the endpoint without blocking a thread.
class EndpointSource final : public refreshable::TokenSource<std::string> {
 public:
  explicit EndpointSource(Endpoint* endpoint) : endpoint_(endpoint) {}
  void Fetch(const refreshable::FetchContext&,
             refreshable::FetchDone<std::string> done) override {
    auto held =
        std::make_shared<refreshable::FetchDone<std::string>>(std::move(done));
    endpoint_->Call([held](const absl::Status& status) { (*held)(status); });
  }

 private:
  Endpoint* const endpoint_;
};

// A Refreshable with the methods that waiting_baselines.h describes. A refresh
// ends when its first attempt fails. `Reset` permits the next attempt at once.
template <typename ExecutorType>
class Ours {
 public:
  explicit Ours(Endpoint* endpoint) {
    Refreshable<std::string>::Options options;
    options.executor = &executor_;
    options.policy.min_interval = absl::ZeroDuration();
    options.policy.retry.max_retries = 0;
    options.policy.retry.initial_backoff = absl::Hours(1);
    options.policy.retry.max_backoff = absl::Hours(1);
    options.policy.retry.probe_interval = absl::Hours(1);
    auto created = Refreshable<std::string>::Create(
        std::make_shared<EndpointSource>(endpoint), std::move(options));
    if (!created.ok()) std::abort();
    refreshable_ = *std::move(created);
  }

  void Join(Endpoint::Done told) {
    refreshable_->GetAsync(
        kTimeout, [told = std::move(told)](
                      const absl::StatusOr<Lease<std::string>>& lease) {
          told(lease.status());
        });
  }
  absl::Status Wait() { return refreshable_->Get(kTimeout).status(); }
  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::Status Read() {
    return refreshable_->Get(kTimeout).status();
  }
  void Reset() { refreshable_->Reset(); }

 protected:
  ExecutorType executor_;
  std::unique_ptr<Refreshable<std::string>> refreshable_;
};

class OnThreads : public Ours<refreshable::ThreadExecutor> {
 public:
  static constexpr char kName[] = "Refreshable";
  using Ours::Ours;
  static void Pump() { std::this_thread::yield(); }
};

// The tasks run inside `Pump`, on the thread that reads.
class OnOneThread : public Ours<refreshable::ManualExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, on a ManualExecutor";
  using Ours::Ours;
  void Pump() { executor_.RunUntilIdle(); }
};

// An attempt has failed, and the next attempt is due only after the
// measurement.
class BetweenAttempts : public OnThreads {
 public:
  explicit BetweenAttempts(Endpoint* endpoint) : OnThreads(endpoint) {
    endpoint->Fail();
    if (Wait().code() != absl::StatusCode::kUnavailable) std::abort();
  }
};

// `Reset(pattern, 0)` calls `pattern.Reset()` if there is such a method, and
// otherwise does nothing. 0 is an int, so the overload that takes an int is
// preferred where it exists. `Pump` does the same with `pattern.Pump()`.
template <typename Pattern>
auto Reset(Pattern& pattern, int) -> decltype(pattern.Reset()) {
  pattern.Reset();
}
template <typename Pattern>
void Reset(Pattern&, long) {}
template <typename Pattern>
auto Pump(Pattern& pattern, int) -> decltype(pattern.Pump()) {
  pattern.Pump();
}
template <typename Pattern>
void Pump(Pattern&, long) {}

// Returns the times by group and then by name. Each floor's name is "floor".
std::map<std::string, std::map<std::string, double>>& Times() {
  static auto* const times =
      new std::map<std::string, std::map<std::string, double>>;
  return *times;
}

// Returns `ns` divided by the time of the group's floor. Requires: the floor is
// measured first.
template <typename Pattern>
double VsFloor(const std::string& group, double ns) {
  auto& times = Times()[group];
  const bool is_floor = absl::StartsWith(Pattern::kName, "floor");
  times[is_floor ? "floor" : Pattern::kName] = ns;
  return ns / times["floor"];
}

// Prints the ratio of Refreshable's time to the time of `base`, unless one of
// them was not measured.
void PrintTargetOf(const std::string& group, const char* base, double at_most) {
  auto& times = Times()[group];
  const double ours = times[OnThreads::kName];
  if (ours == 0 || times[base] == 0) return;
  PrintTarget(absl::StrCat(group, ": Refreshable / ", base), ours / times[base],
              at_most);
}

template <typename Pattern>
void ManyReadsOneFlight(benchmark::State& state) {
  Endpoint endpoint;
  Pattern pattern(&endpoint);
  std::atomic<int> told{0};
  std::vector<double> join, tell;
  for (auto _ : state) {
    const int64_t before = endpoint.calls();
    told = 0;
    const auto start = SteadyClock::now();
    for (int i = 0; i < kAsyncReads; ++i) {
      pattern.Join([&told](const absl::Status& status) {
        if (!status.ok()) told.fetch_add(1, std::memory_order_relaxed);
      });
    }
    const auto joined = SteadyClock::now();
    while (endpoint.calls() == before) Pump(pattern, 0);
    const auto failing = SteadyClock::now();
    endpoint.Fail();
    while (told.load(std::memory_order_relaxed) < kAsyncReads) {
      Pump(pattern, 0);
    }
    const auto end = SteadyClock::now();
    state.SetIterationTime(Nanoseconds(joined - start + (end - failing)) / 1e9);
    join.push_back(Nanoseconds(joined - start) / kAsyncReads);
    tell.push_back(Nanoseconds(end - failing) / kAsyncReads);
    endpoint.Hold();
    Reset(pattern, 0);
  }
  state.counters["join_ns"] = Median(join);
  state.counters["told_ns"] = Median(tell);
  state.counters["calls"] = static_cast<double>(endpoint.calls()) /
                            static_cast<double>(state.iterations());
  state.counters["vs_floor"] =
      VsFloor<Pattern>("reads", Median(join) + Median(tell));
}

template <typename Pattern>
void ManyThreadsOneFlight(benchmark::State& state) {
  const int count = static_cast<int>(state.range(0));
  Endpoint endpoint;
  Pattern pattern(&endpoint);
  std::vector<double> tell;
  for (auto _ : state) {
    std::atomic<int> there{0}, told{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&] {
        ++there;
        if (!pattern.Wait().ok()) ++told;
      });
    }
    while (there < count) std::this_thread::yield();
    // Gives all threads time to block. Some patterns cannot report whether a
    // thread is blocked.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto failing = SteadyClock::now();
    endpoint.Fail();
    while (told < count) std::this_thread::yield();
    const double ns = Nanoseconds(SteadyClock::now() - failing);
    state.SetIterationTime(ns / 1e9);
    tell.push_back(ns / count);
    for (std::thread& thread : threads) thread.join();
    endpoint.Hold();
    Reset(pattern, 0);
  }
  state.counters["told_ns"] = Median(tell);
  state.counters["calls"] = static_cast<double>(endpoint.calls()) /
                            static_cast<double>(state.iterations());
  state.counters["vs_floor"] =
      VsFloor<Pattern>("threads, " + std::to_string(count), Median(tell));
}

template <typename Pattern>
void ReadBetweenAttempts(benchmark::State& state) {
  static Endpoint* endpoint = nullptr;
  static Pattern* pattern = nullptr;
  static int64_t calls = 0;
  static SteadyClock::time_point start;
  if (state.thread_index() == 0) {
    endpoint = new Endpoint;
    pattern = new Pattern(endpoint);
    calls = endpoint->calls();
    start = SteadyClock::now();
  }
  for (auto _ : state) {
    if (pattern->Read().ok()) std::abort();
  }
  if (state.thread_index() != 0) return;
  const double ns = Nanoseconds(SteadyClock::now() - start) /
                    static_cast<double>(state.iterations() * state.threads());
  state.counters["calls"] = static_cast<double>(endpoint->calls() - calls);
  state.counters["vs_floor"] =
      VsFloor<Pattern>("between, " + std::to_string(state.threads()), ns);
  delete pattern;
  delete endpoint;
}

template <typename Pattern>
void RegisterReads() {
  benchmark::RegisterBenchmark(
      (std::string("10,000 reads wait/") + Pattern::kName).c_str(),
      ManyReadsOneFlight<Pattern>)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

template <typename Pattern>
void RegisterThreads(bool short_form) {
  benchmark::RegisterBenchmark(
      (std::string("threads wait/") + Pattern::kName).c_str(),
      ManyThreadsOneFlight<Pattern>)
      ->Arg(64)
      ->Arg(200)
      ->UseManualTime()
      ->Iterations(short_form ? 1 : 20)
      ->Unit(benchmark::kMillisecond);
}

template <typename Pattern>
void RegisterBetween() {
  benchmark::RegisterBenchmark(
      (std::string("between attempts/") + Pattern::kName).c_str(),
      ReadBetweenAttempts<Pattern>)
      ->Threads(1)
      ->Threads(2)
      ->Threads(8)
      ->UseRealTime();
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  const bool short_form = IsShortForm(argc, argv);
  benchmark::Initialize(&argc, argv);
  RegisterReads<CallbackList>();
  RegisterReads<OnOneThread>();
  RegisterReads<OnThreads>();
  RegisterReads<EachCalls>();
  RegisterThreads<NotifyAll>(short_form);
  RegisterThreads<OnThreads>(short_form);
  RegisterThreads<SharedFuture>(short_form);
  RegisterThreads<LockedCall>(short_form);
  RegisterThreads<EachCalls>(short_form);
  RegisterBetween<RememberedFailure>();
  RegisterBetween<BetweenAttempts>();
  // glibc and libstdc++ avoid atomic instructions until the process has had a
  // second thread. Programs with several threads have no such advantage.
  std::thread([] {}).join();
  benchmark::RunSpecifiedBenchmarks();
  for (const char* group : {"threads, 64", "threads, 200"}) {
    PrintTargetOf(group, SharedFuture::kName, 1.2);
  }
  for (const char* group : {"between, 1", "between, 2", "between, 8"}) {
    PrintTargetOf(group, "floor", 4);
  }
  return 0;
}
