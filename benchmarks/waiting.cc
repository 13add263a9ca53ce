// SPDX-License-Identifier: Apache-2.0
//
// Shows how long reads wait while a token is refreshed, or while the endpoint
// fails, for Refreshable and for other patterns:
//
//   bazel run -c opt //benchmarks:waiting
//
// First table: eight threads each read once a millisecond. The endpoint takes
// 500 ms to answer. In the left half, the threads have a token, which becomes
// stale. In the right half, there is no token at first. The columns are the
// longest read, the number of threads with a read longer than 250 ms, and the
// number of calls of the endpoint. Each half of a row is measured in three
// rounds, and shows the round whose longest read is the median.
//
// Second table: 64 threads read at the same time. There is no token, and the
// endpoint fails after 100 ms. The columns are the time until the last thread
// knows of the failure, and the number of calls of the endpoint.
//
// The program takes 45 seconds. The exit code is 1 if Refreshable called the
// endpoint more than once in a round that is shown. If the first argument is
// --benchmark_min_time=VALUE, the program only checks that it works: all times
// are divided by ten.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmarks/measure.h"
#include "refreshable/credential.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

using std::chrono::milliseconds;

struct Times {
  milliseconds refresh{500};  // How long a successful call takes.
  milliseconds failure{100};  // How long a failed call takes.
  // The life of the token that a pattern has at first, if any. The token
  // becomes stale after a quarter of this.
  milliseconds life{1200};
  int waiting_threads = 64;
  int rounds = 3;
};

struct Token {
  std::string bytes;
  SteadyClock::time_point stale_at, expires_at;

  bool fresh() const { return SteadyClock::now() < stale_at; }
  bool usable() const { return SteadyClock::now() < expires_at; }
};

Token NewToken(milliseconds life) {
  const auto now = SteadyClock::now();
  return {std::string(1024, 'x'), now + life / 4, now + life};
}

// Each call blocks for `latency`, and then fails if `fails` is true.
class Endpoint {
 public:
  Endpoint(milliseconds latency, bool fails)
      : latency_(latency), fails_(fails) {}

  absl::StatusOr<Token> Call() {
    ++calls_;
    std::this_thread::sleep_for(latency_);
    if (fails_) return absl::UnavailableError("the endpoint answers 503");
    return NewToken(std::chrono::hours(1));
  }
  int calls() const { return calls_; }

 private:
  const milliseconds latency_;
  const bool fails_;
  std::atomic<int> calls_{0};
};

// ---- The patterns ----
//
// Each pattern is a cache of one token, in its simplest correct form. At first
// it has no token, which counts as an expired token. `Set` may only be called
// before the first read. `Get` is thread-safe.

// A thread refreshes a stale token while it holds a mutex (as in
// google-cloud-cpp).
class MutexHeld {
 public:
  static constexpr char kName[] = "mutex held during the refresh";
  explicit MutexHeld(Endpoint* endpoint) : endpoint_(endpoint) {}
  void Set(Token token) { token_ = std::move(token); }

  absl::StatusOr<std::string> Get() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (token_.fresh()) return token_.bytes;
    absl::StatusOr<Token> token = endpoint_->Call();
    if (token.ok()) {
      token_ = *std::move(token);
    } else if (!token_.usable()) {
      return token.status();
    }
    return token_.bytes;
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  Token token_;
};

// A thread that finds the token stale takes a reader-writer lock as a writer,
// checks again, and refreshes the token under the lock. The Azure SDK for C++
// does so. The AWS SDK for C++ does so if credentials expire soon.
class TwiceChecked {
 public:
  static constexpr char kName[] = "shared_mutex held, checked twice";
  explicit TwiceChecked(Endpoint* endpoint) : endpoint_(endpoint) {}
  void Set(Token token) { token_ = std::move(token); }

  absl::StatusOr<std::string> Get() {
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      if (token_.fresh()) return token_.bytes;
    }
    std::unique_lock<std::shared_mutex> lock(mutex_);
    if (token_.fresh()) return token_.bytes;
    absl::StatusOr<Token> token = endpoint_->Call();
    if (!token.ok()) return token.status();
    token_ = *std::move(token);
    return token_.bytes;
  }

 private:
  Endpoint* const endpoint_;
  std::shared_mutex mutex_;
  Token token_;
};

// A stale token is refreshed on another thread. An expired token is refreshed
// under a mutex, after a second check (as in Databricks' SDK for Java, and in
// Databricks' SDK for Go with asynchronous refresh switched on).
class RefreshBehind {
 public:
  static constexpr char kName[] =
      "refresh on another thread; mutex held if expired";
  explicit RefreshBehind(Endpoint* endpoint) : endpoint_(endpoint) {}
  ~RefreshBehind() {
    if (behind_.joinable()) behind_.join();
  }
  void Set(Token token) {
    std::atomic_store(&token_, std::make_shared<const Token>(std::move(token)));
  }

  absl::StatusOr<std::string> Get() {
    std::shared_ptr<const Token> token = std::atomic_load(&token_);
    if (token->fresh()) return token->bytes;
    std::lock_guard<std::mutex> lock(mutex_);
    token = std::atomic_load(&token_);
    if (token->fresh()) return token->bytes;
    if (token->usable()) {
      // One refresh of a stale token is enough for a measurement.
      if (!behind_.joinable()) {
        behind_ = std::thread([this] {
          absl::StatusOr<Token> next = endpoint_->Call();
          if (next.ok()) Set(*std::move(next));
        });
      }
      return token->bytes;
    }
    absl::StatusOr<Token> next = endpoint_->Call();
    if (!next.ok()) return next.status();
    Set(*next);
    return std::move(next->bytes);
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  std::thread behind_;
  std::shared_ptr<const Token> token_ = std::make_shared<const Token>();
};

// The first thread that finds the token stale refreshes it. All threads wait
// for a future of the outcome.
class SharedFuture {
 public:
  static constexpr char kName[] = "shared_future of the refresh";
  explicit SharedFuture(Endpoint* endpoint) : endpoint_(endpoint) {}
  void Set(Token token) { token_ = std::move(token); }

  absl::StatusOr<std::string> Get() {
    std::promise<absl::StatusOr<std::string>> promise;
    std::shared_future<absl::StatusOr<std::string>> future;
    bool first = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (token_.fresh()) return token_.bytes;
      first = !flight_.valid();
      if (first) flight_ = promise.get_future().share();
      future = flight_;
    }
    if (!first) return future.get();
    absl::StatusOr<Token> token = endpoint_->Call();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      flight_ = {};
      if (token.ok()) token_ = *token;
    }
    if (token.ok()) {
      promise.set_value(std::move(token->bytes));
    } else {
      promise.set_value(token.status());
    }
    return future.get();
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  std::shared_future<absl::StatusOr<std::string>> flight_;
  Token token_;
};

// Each thread that finds the token stale refreshes it.
class EachForItself {
 public:
  static constexpr char kName[] = "each thread refreshes for itself";
  explicit EachForItself(Endpoint* endpoint) : endpoint_(endpoint) {}
  void Set(Token token) { token_ = std::move(token); }

  absl::StatusOr<std::string> Get() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (token_.fresh()) return token_.bytes;
    }
    absl::StatusOr<Token> token = endpoint_->Call();
    if (!token.ok()) return token.status();
    std::lock_guard<std::mutex> lock(mutex_);
    token_ = *std::move(token);
    return token_.bytes;
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  Token token_;
};

class Ours {
 public:
  static constexpr char kName[] = "Refreshable";
  explicit Ours(Endpoint* endpoint) {
    Refreshable::Options options;
    options.executor = &executor_;
    options.policy.jitter = 0;
    options.policy.expiry_margin = absl::ZeroDuration();
    // A token becomes stale `stale_window` before its expiry, but not before a
    // quarter of its life has passed. Here that quarter decides.
    options.policy.stale_window = absl::Hours(1);
    auto created = Refreshable::Create(
        refreshable::BlockingSource<std::string>(
            [endpoint]()
                -> absl::StatusOr<refreshable::Credential<std::string>> {
              const absl::StatusOr<Token> token = endpoint->Call();
              if (!token.ok()) return token.status();
              return ToCredential(*token);
            }),
        std::move(options));
    if (!created.ok()) std::abort();
    refreshable_ = *std::move(created);
  }
  void Set(const Token& token) {
    if (!refreshable_->Install(ToCredential(token)).ok()) std::abort();
  }

  absl::StatusOr<refreshable::Lease<std::string>> Get() {
    Refreshable::ReadOptions options;
    options.max_retries = 0;  // No other pattern retries.
    return refreshable_->Get(options);
  }

 private:
  using Refreshable = refreshable::Refreshable<std::string>;

  static refreshable::Credential<std::string> ToCredential(const Token& token) {
    return {token.bytes, refreshable::Expiry::In(absl::FromChrono(
                             token.expires_at - SteadyClock::now()))};
  }

  refreshable::ThreadExecutor executor_;
  std::unique_ptr<Refreshable> refreshable_;
};

// ---- The measurements ----

struct Outcome {
  double longest_ms = 0;
  int waited = 0;  // How many threads waited.
  int calls = 0;   // Calls of the endpoint.
};

// Reads on eight threads during a refresh, which replaces a stale token if
// `has_token` is true, and otherwise gets the first token.
template <typename Pattern>
Outcome ReadDuringRefresh(const Times& times, bool has_token) {
  constexpr int kReaders = 8;
  Endpoint endpoint(times.refresh, /*fails=*/false);
  Pattern pattern(&endpoint);
  if (has_token) pattern.Set(NewToken(times.life));
  const auto end = SteadyClock::now() +
                   (has_token ? times.life / 4 : milliseconds(0)) +
                   times.refresh + times.refresh / 5;
  std::vector<double> longest(kReaders, 0);
  std::vector<std::thread> readers;
  readers.reserve(kReaders);
  for (double& mine : longest) {
    readers.emplace_back([&] {
      do {
        const auto start = SteadyClock::now();
        if (!pattern.Get().ok()) std::abort();
        mine = std::max(mine, Nanoseconds(SteadyClock::now() - start) / 1e6);
        std::this_thread::sleep_for(milliseconds(1));
      } while (SteadyClock::now() < end);
    });
  }
  for (std::thread& reader : readers) reader.join();
  const double half_ms = Nanoseconds(times.refresh) / 1e6 / 2;
  return {
      *std::max_element(longest.begin(), longest.end()),
      static_cast<int>(std::count_if(longest.begin(), longest.end(),
                                     [&](double ms) { return ms > half_ms; })),
      endpoint.calls()};
}

// In the result, `longest_ms` is the time until the last thread has got the
// error.
template <typename Pattern>
Outcome ReadDuringFailure(const Times& times) {
  Endpoint endpoint(times.failure, /*fails=*/true);
  Pattern pattern(&endpoint);
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> readers;
  readers.reserve(times.waiting_threads);
  for (int i = 0; i < times.waiting_threads; ++i) {
    readers.emplace_back([&] {
      ++ready;
      while (!go) std::this_thread::sleep_for(milliseconds(1));
      if (pattern.Get().ok()) std::abort();
    });
  }
  while (ready < times.waiting_threads) std::this_thread::yield();
  const auto start = SteadyClock::now();
  go = true;
  for (std::thread& reader : readers) reader.join();
  return {Nanoseconds(SteadyClock::now() - start) / 1e6, times.waiting_threads,
          endpoint.calls()};
}

// Returns the outcome whose longest read is the median.
template <typename Measure>
Outcome MedianOf(int rounds, Measure measure) {
  std::vector<Outcome> outcomes;
  outcomes.reserve(rounds);
  for (int i = 0; i < rounds; ++i) outcomes.push_back(measure());
  std::sort(outcomes.begin(), outcomes.end(),
            [](const Outcome& a, const Outcome& b) {
              return a.longest_ms < b.longest_ms;
            });
  return outcomes[outcomes.size() / 2];
}

// Prints a row with two numbers of calls of the endpoint. Returns the larger
// number.
template <typename Pattern>
int PrintRefresh(const Times& times) {
  const auto measure = [&](bool has_token) {
    return MedianOf(times.rounds, [&] {
      return ReadDuringRefresh<Pattern>(times, has_token);
    });
  };
  const Outcome stale = measure(true);
  const Outcome none = measure(false);
  std::printf("| %-48s | %8.2f ms | %d | %d | %8.2f ms | %d | %d |\n",
              Pattern::kName, stale.longest_ms, stale.waited, stale.calls,
              none.longest_ms, none.waited, none.calls);
  std::fflush(stdout);
  return std::max(stale.calls, none.calls);
}
// Returns the number of calls of the endpoint.
template <typename Pattern>
int PrintFailure(const Times& times) {
  const Outcome told = ReadDuringFailure<Pattern>(times);
  std::printf("| %-48s | %8.0f ms | %d |\n", Pattern::kName, told.longest_ms,
              told.calls);
  std::fflush(stdout);
  return told.calls;
}

int Main(bool short_form) {
  Times times;
  if (short_form) {
    times.refresh /= 10;
    times.failure /= 10;
    times.life /= 10;
    times.waiting_threads = 8;
    times.rounds = 1;
  }
  std::printf(
      "A refresh takes %d ms; 8 threads read\n\n"
      "| pattern | stale: longest read | threads that waited | calls | "
      "no token: longest read | threads that waited | calls |\n"
      "| --- | --- | --- | --- | --- | --- | --- |\n",
      static_cast<int>(times.refresh.count()));
  int calls = PrintRefresh<Ours>(times);
  PrintRefresh<RefreshBehind>(times);
  PrintRefresh<MutexHeld>(times);
  PrintRefresh<TwiceChecked>(times);
  PrintRefresh<SharedFuture>(times);
  PrintRefresh<EachForItself>(times);
  std::printf(
      "\nThe endpoint fails after %d ms; %d threads wait\n\n"
      "| pattern | the last thread is told after | calls |\n"
      "| --- | --- | --- |\n",
      static_cast<int>(times.failure.count()), times.waiting_threads);
  calls = std::max(calls, PrintFailure<Ours>(times));
  PrintFailure<SharedFuture>(times);
  PrintFailure<EachForItself>(times);
  PrintFailure<RefreshBehind>(times);
  PrintFailure<MutexHeld>(times);
  PrintFailure<TwiceChecked>(times);
  if (short_form) std::printf("short form: these figures mean nothing\n");
  return calls > 1 ? 1 : 0;
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  return Main(IsShortForm(argc, argv));
}
