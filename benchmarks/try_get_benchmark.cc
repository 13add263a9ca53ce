// SPDX-License-Identifier: Apache-2.0
//
// Compares TryGet with Get, and with a floor: the time it takes to read the two
// clocks that TryGet must read.
//
//   bazel run -c opt //benchmarks:try_get_benchmark
//
// Every round measures every kind of call. Each figure is the median of all
// rounds.

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/attributes.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

constexpr int kRounds = 201;
constexpr int kCalls = 20000;

// Returns the nanoseconds per call.
template <typename Call>
ABSL_ATTRIBUTE_NOINLINE double Measure(Call call) {
  int64_t sum = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) {
    sum += call();
    asm volatile("" : "+r"(sum));
  }
  return std::chrono::duration<double, std::nano>(
             std::chrono::steady_clock::now() - start)
             .count() /
         kCalls;
}

int64_t Nanos(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

void Run() {
  Fresh expires("token");
  RefreshableRead<IdleExecutor> forever;
  const auto installed =
      forever.refreshable().Install(refreshable::Credential<std::string>(
          "token", refreshable::Expiry::Never()));
  if (!installed.ok()) std::abort();
  enum { kGet, kTry, kTryForever, kFloor, kCoarseFloor, kBoot, kRows };
  std::array<std::vector<double>, kRows> ns;
  for (int round = 0; round < kRounds; ++round) {
    ns[kGet].push_back(Measure([&] { return expires.Read(); }));
    ns[kTry].push_back(Measure([&] {
      const auto lease = expires.refreshable().TryGet();
      return lease.ok() ? lease->token()[0] : '\0';
    }));
    ns[kTryForever].push_back(Measure([&] {
      const auto lease = forever.refreshable().TryGet();
      return lease.ok() ? lease->token()[0] : '\0';
    }));
    ns[kFloor].push_back(
        Measure([] { return std::time(nullptr) + Nanos(CLOCK_BOOTTIME); }));
    ns[kCoarseFloor].push_back(Measure(
        [] { return std::time(nullptr) + Nanos(CLOCK_MONOTONIC_COARSE); }));
    ns[kBoot].push_back(Measure([] { return Nanos(CLOCK_BOOTTIME); }));
  }
  const double get = Median(ns[kGet]);
  const double floor = Median(ns[kFloor]);
  const auto print = [&](const char* what, int row) {
    const double value = Median(ns[row]);
    std::printf("%-56s %7.2f ns, %5.2f x Get, %5.2f x the two clocks\n", what,
                value, value / get, value / floor);
  };
  print("Get", kGet);
  print("TryGet", kTry);
  print("TryGet of a token that never expires", kTryForever);
  print("the two clocks alone: time(), CLOCK_BOOTTIME", kFloor);
  print("CLOCK_BOOTTIME alone", kBoot);
  print("no promise: time(), CLOCK_MONOTONIC_COARSE", kCoarseFloor);
  PrintTarget("TryGet / Get", Median(ns[kTry]) / get, 2);
  PrintTarget("TryGet / the two clocks", Median(ns[kTry]) / floor, 1.5);
}

}  // namespace
}  // namespace refreshable_benchmarks

int main() { refreshable_benchmarks::Run(); }
