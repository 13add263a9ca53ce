// SPDX-License-Identifier: Apache-2.0
//
// Measures how many superseded tokens accumulate while threads only publish:
//
//   bazel run -c opt //benchmarks:many_publishers
//
// For each number of threads, prints the largest number of superseded tokens
// that were alive at once, and the longest `Install`. No lease holds a
// superseded token, so it lives only until the library frees it. Each thread
// has its own Refreshable, and all share one hazard domain. The exit code is 1
// if the limit of docs/memory_model.md is exceeded.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

std::atomic<int64_t> tokens_alive{0};
std::atomic<int64_t> tokens_peak{0};

void RaiseTo(std::atomic<int64_t>& most, int64_t value) {
  int64_t seen = most.load();
  while (seen < value && !most.compare_exchange_weak(seen, value)) {
  }
}

// A token that counts its living instances.
class Token {
 public:
  Token() { RaiseTo(tokens_peak, ++tokens_alive); }
  Token(Token&&) noexcept : Token() {}
  Token(const Token&) : Token() {}
  Token& operator=(const Token&) = default;
  ~Token() { --tokens_alive; }
  friend bool operator==(const Token&, const Token&) { return false; }
};

using Refreshable = refreshable::Refreshable<Token>;

int64_t InstallNanos(Refreshable& refreshable) {
  const auto start = std::chrono::steady_clock::now();
  const auto installed = refreshable.Install(refreshable::Credential<Token>(
      Token(), refreshable::Expiry::In(absl::Hours(1))));
  if (!installed.ok()) std::abort();
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start)
      .count();
}

// Each thread publishes `installs` tokens. Returns false if the limit of
// docs/memory_model.md was exceeded.
bool Measure(int threads, int installs) {
  std::vector<std::unique_ptr<IdleExecutor>> executors;
  std::vector<std::unique_ptr<Refreshable>> refreshables;
  for (int t = 0; t < threads; ++t) {
    executors.push_back(std::make_unique<IdleExecutor>());
    auto created = Refreshable::Create(
        refreshable::BlockingSource<Token>(
            []() -> absl::StatusOr<refreshable::Credential<Token>> {
              return absl::UnavailableError("the source is down");
            }),
        {executors.back().get()});
    if (!created.ok()) std::abort();
    refreshables.push_back(*std::move(created));
    executors.back()->Reserve(4 * installs);
    InstallNanos(*refreshables.back());
  }
  tokens_peak = 0;
  std::atomic<int64_t> longest{0};
  std::atomic<int> ready{0};
  std::vector<std::thread> publishers;
  for (int t = 0; t < threads; ++t) {
    publishers.emplace_back([&, t] {
      ++ready;
      while (ready < threads) std::this_thread::yield();
      for (int i = 0; i < installs; ++i) {
        RaiseTo(longest, InstallNanos(*refreshables[t]));
      }
    });
  }
  for (std::thread& publisher : publishers) publisher.join();
  // At the peak, all threads are assumed to be inside `Install`. Each of them
  // then has at least three tokens that are not superseded: the published token
  // and at least two copies of the new token.
  const int64_t superseded = tokens_peak - 3 * threads;
  const int64_t bound =
      (threads + refreshable::internal::HazardDomain::kMostHandedOver) *
      int64_t{threads + 1};
  std::printf(
      "%3d threads: %6lld superseded tokens (bound %lld), longest "
      "Install %lld us\n",
      threads, static_cast<long long>(superseded > 0 ? superseded : 0),
      static_cast<long long>(bound), static_cast<long long>(longest / 1000));
  std::fflush(stdout);
  return superseded <= bound;
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  const bool short_form = refreshable_benchmarks::IsShortForm(argc, argv);
  bool good = true;
  for (const int threads : {1, 2, 4, 8, 16, 32}) {
    // Even the short form publishes many more tokens than may be alive.
    good &= refreshable_benchmarks::Measure(
        threads, short_form ? 1000 + 10 * threads : 10000);
  }
  return good ? 0 : 1;
}
