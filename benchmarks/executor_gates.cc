// SPDX-License-Identifier: Apache-2.0
//
// Checks what timers cost. Each gate is a limit on the ratio of two figures of
// the same run. The program takes about 40 seconds, and exits with 1 if a gate
// fails. It must be run on an idle computer:
//
//   bazel run -c opt //benchmarks:executor_gates
//
// - Cancel: the time of one `Cancel` while 1,000,000 timers are pending,
//   divided by the time while 1,000 timers are pending. The first case cancels
//   the oldest timers first, and the second cancels timers at random. The
//   *floor*, a minimal implementation for comparison, is an array (`Tasks`).
//   The `Cancel` of a ThreadExecutor takes logarithmic time: about twice as
//   many steps among 1,000,000 timers as among 1,000. Each step may miss the
//   cache, as the floor's `Cancel` does in the second case. So a
//   ThreadExecutor's limit is twice the floor's ratio in the second case.
// - Burst: 100,000 tokens on one ThreadExecutor become due within one second.
//   The tokens are refreshed in the first case, and expire in the second. In
//   each case, two gates limit the CPU time per token: one relative to a
//   trivial task, and one relative to the floor (the function `Floor`). Three
//   gates limit how late unrelated timers run, relative to a burst of 100
//   tokens.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works, and exits with 0.

#ifndef _WIN32
#include <sys/resource.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/measure.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {
namespace {

using refreshable::BootTime;
using refreshable::Credential;
using refreshable::Executor;
using refreshable::Expiry;
using refreshable::ManualExecutor;
using refreshable::ThreadExecutor;
using refreshable::TimerId;

bool Gate(const char* what, double ratio, double most) {
  const bool ok = ratio <= most;
  std::printf("%-58s %7.2f  <= %-4.4g %s\n", what, ratio, most,
              ok ? "ok" : "MISSED");
  return ok;
}

// Returns the CPU time in microseconds. On Windows, returns the time since the
// process started.
double CpuMicros() {
#ifdef _WIN32
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC * 1e6;
#else
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
#endif
}

// ---- Cancel ----

enum class Order { kArmed, kRandom };

template <typename Timers>
class Pending {
 public:
  explicit Pending(int n) : ids_(n) {
    for (TimerId& id : ids_) id = Arm();
  }

  // Cancels up to 200 timers, and then arms as many. Returns the time of one
  // `Cancel` in nanoseconds.
  double Cancel(Order order) {
    constexpr int kCancels = 200;
    std::vector<size_t> picked;
    for (int i = 0; i < kCancels; ++i) {
      picked.push_back((order == Order::kRandom ? random_() : oldest_++) %
                       ids_.size());
    }
    std::vector<TimerId> ids;
    for (const size_t index : picked) {
      const TimerId id = std::exchange(ids_[index], TimerId::kNone);
      if (id != TimerId::kNone) ids.push_back(id);
    }
    const auto start = SteadyClock::now();
    for (const TimerId id : ids) {
      if (!timers_.Cancel(id)) std::abort();
    }
    const auto took = SteadyClock::now() - start;
    for (const size_t index : picked) {
      if (ids_[index] == TimerId::kNone) ids_[index] = Arm();
    }
    return std::chrono::duration<double, std::nano>(took).count() /
           static_cast<double>(ids.size());
  }

 private:
  TimerId Arm() {
    return timers_.RunAfter(
        absl::Hours(1) + absl::Microseconds(random_() % 1'000'000'000), [] {});
  }

  std::mt19937_64 random_{1};
  Timers timers_;
  std::vector<TimerId> ids_;
  uint64_t oldest_ = 0;
};

// The floor of `Cancel`: an array of pointers to tasks. A cancellation at
// random may miss the cache twice: at the pointer and at the task.
class Tasks {
 public:
  TimerId RunAfter(absl::Duration, Executor::Task task) {
    tasks_.push_back(std::make_unique<Executor::Task>(std::move(task)));
    return TimerId{tasks_.size()};
  }
  bool Cancel(TimerId id) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::exchange(tasks_[static_cast<size_t>(id) - 1], nullptr).reset();
    return true;
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Executor::Task>> tasks_;
};

// Returns a ratio for each order: the time of a `Cancel` while `most` timers
// are pending, divided by the time with 1,000 timers. Prints the times for all
// powers of ten in this range.
template <typename Timers>
std::map<Order, double> CancelRatios(const char* name, int most) {
  std::map<Order, double> ratios;
  std::vector<std::unique_ptr<Pending<Timers>>> subjects;
  for (int n = 1000; n <= most; n *= 10) {
    subjects.push_back(std::make_unique<Pending<Timers>>(n));
  }
  for (const Order order : {Order::kArmed, Order::kRandom}) {
    std::vector<std::vector<double>> ns(subjects.size());
    for (int repetition = 0; repetition < 101; ++repetition) {
      for (size_t i = 0; i < subjects.size(); ++i) {
        ns[i].push_back(subjects[i]->Cancel(order));
      }
    }
    std::printf("%-22s %-12s", name,
                order == Order::kArmed ? "oldest first" : "at random");
    for (const std::vector<double>& each : ns) {
      std::printf(" %8.0f", Median(each));
    }
    std::printf("\n");
    ratios[order] = Median(ns.back()) / Median(ns.front());
  }
  return ratios;
}

// If `floor`, the floor's ratio, exceeds `most`, the gate does not apply. The
// result is then true.
bool GateBesideFloor(const std::string& what, double ratio, double floor,
                     double most) {
  if (floor <= most) return Gate(what.c_str(), ratio, most);
  std::printf("%-58s %7.2f  <= %-4.4g n/a: the floor has %.2f\n", what.c_str(),
              ratio, most, floor);
  return true;
}

bool CancelGates(int most) {
  std::printf("ns per Cancel, with 1,000 to %d timers\n", most);
  std::map<Order, double> floor = CancelRatios<Tasks>("floor", most);
  const auto what = [most](const char* executor, const char* order) {
    return std::string(executor) + "::Cancel, " + std::to_string(most) +
           " / 1000 timers, " + order;
  };
  auto manual = CancelRatios<ManualExecutor>("ManualExecutor", most);
  auto thread = CancelRatios<ThreadExecutor>("ThreadExecutor", most);
  bool all = true;
  all &= GateBesideFloor(what("ManualExecutor", "oldest first"),
                         manual[Order::kArmed], floor[Order::kArmed], 3);
  all &= GateBesideFloor(what("ManualExecutor", "random"),
                         manual[Order::kRandom], floor[Order::kRandom], 3);
  const double logarithmic = 2 * floor[Order::kRandom];
  all &= Gate(what("ThreadExecutor", "oldest first").c_str(),
              thread[Order::kArmed], logarithmic);
  all &= Gate(what("ThreadExecutor", "random").c_str(), thread[Order::kRandom],
              logarithmic);
  return all;
}

// ---- Burst ----

// Returns the CPU time of a trivial task, in microseconds.
double RunMicros(ThreadExecutor& executor, int tasks) {
  absl::BlockingCounter ran(tasks);
  const double start = CpuMicros();
  for (int i = 0; i < tasks; ++i) {
    if (!executor.Run([&ran] { ran.DecrementCount(); })) std::abort();
  }
  ran.Wait();
  return (CpuMicros() - start) / tasks;
}

struct Lateness {
  double median = 0, p99 = 0, max = 0;  // In microseconds.
};

// Timers that are not part of the burst. Starting at `from`, one becomes due
// every millisecond for `how_long`. Each timer records how late it runs.
class Unrelated {
 public:
  Unrelated(Executor& executor, BootTime from, absl::Duration how_long)
      : late_(how_long / absl::Milliseconds(1)),
        left_(static_cast<int>(late_.size())) {
    const Executor* const clock_of = &executor;
    for (size_t i = 0; i < late_.size(); ++i) {
      const BootTime due = from + absl::Milliseconds(i);
      executor.RunAfter(
          due - executor.clock().Now().boot, [this, i, due, clock_of] {
            late_[i] =
                absl::ToDoubleMicroseconds(clock_of->clock().Now().boot - due);
            left_.DecrementCount();
          });
    }
  }

  Lateness Wait() {
    left_.Wait();
    std::sort(late_.begin(), late_.end());
    return {Median(late_), late_[late_.size() * 99 / 100], late_.back()};
  }

 private:
  std::vector<double> late_;
  absl::BlockingCounter left_;
};

// All tokens become due within this time.
constexpr absl::Duration kBurst = absl::Seconds(1);

struct Outcome {
  double cpu = 0;  // Per token, in microseconds.
  Lateness late;
};

// Measures a burst whose first token becomes due at `from`. `done` must block
// until the burst has ended. The CPU time is counted from 20 ms before `from`
// until `done` returns.
template <typename Done>
Outcome Measure(ThreadExecutor& executor, int tokens, BootTime from,
                Done done) {
  const auto now = [&] { return executor.clock().Now().boot; };
  if (now() > from) {
    std::printf("the tokens were not made in time\n");
    std::abort();
  }
  Unrelated unrelated(executor, from, kBurst);
  absl::SleepFor(from - absl::Milliseconds(20) - now());
  const double start = CpuMicros();
  Outcome outcome;
  outcome.late = unrelated.Wait();
  done();
  outcome.cpu = (CpuMicros() - start) / tokens;
  return outcome;
}

// How long it may take to make `tokens` tokens. If it takes longer, `Measure`
// ends the program.
absl::Duration Lead(int tokens) {
  return absl::Seconds(1) + tokens * absl::Microseconds(30);
}

// Measures Refreshables whose tokens become due within `kBurst`. The tokens are
// refreshed if `refresh` is true, and expire otherwise. Either way, the first
// token of each Refreshable is released, which decrements `released`.
Outcome Burst(int tokens, bool refresh) {
  ThreadExecutor executor;
  using Token = std::shared_ptr<absl::BlockingCounter>;
  absl::BlockingCounter released(tokens);
  const auto make_token = [&] {
    return Token(&released, [](absl::BlockingCounter* counter) {
      counter->DecrementCount();
    });
  };
  using Tokens = refreshable::Refreshable<Token>;
  Tokens::Options options;
  options.executor = &executor;
  options.policy.refresh_ahead = refresh;
  options.policy.expiry_margin = absl::ZeroDuration();
  options.policy.jitter = 0;
  options.policy.stale_window = refresh ? absl::Seconds(1) : absl::Duration();
  const BootTime from = executor.clock().Now().boot + Lead(tokens);
  const absl::Time first = absl::Now() + Lead(tokens);
  std::vector<std::unique_ptr<Tokens>> all;
  for (int i = 0; i < tokens; ++i) {
    auto made = Tokens::Create(
        refreshable::BlockingSource<Token>([] {
          return absl::StatusOr<Credential<Token>>(
              Credential<Token>(nullptr, Expiry::In(absl::Hours(1))));
        }),
        options);
    if (!made.ok()) std::abort();
    const absl::Time due = first + kBurst * i / tokens;
    const Expiry expiry =
        Expiry::At(due + (refresh ? absl::Seconds(1) : absl::Duration()));
    if (!(*made)->Install({make_token(), expiry}).ok()) std::abort();
    all.push_back(*std::move(made));
  }
  const Outcome outcome =
      Measure(executor, tokens, from, [&] { released.Wait(); });
  all.clear();
  executor.Shutdown(absl::InfiniteDuration());
  return outcome;
}

// Measures the least that a burst can cost. A refresh is a timer, a task that
// replaces a shared_ptr under a mutex, and the next timer. A release is a timer
// that resets a shared_ptr under a mutex.
Outcome Floor(int tokens, bool refresh) {
  ThreadExecutor executor;
  struct Minimal {
    std::mutex mutex;
    std::shared_ptr<const std::string> token;
  };
  std::vector<Minimal> all(tokens);
  absl::BlockingCounter done(tokens);
  const BootTime from = executor.clock().Now().boot + Lead(tokens);
  for (int i = 0; i < tokens; ++i) {
    all[i].token = std::make_shared<const std::string>("token");
    const BootTime due = from + kBurst * i / tokens;
    const auto replace = [&, i](std::shared_ptr<const std::string> token) {
      {
        std::lock_guard<std::mutex> lock(all[i].mutex);
        token.swap(all[i].token);
      }
      if (refresh) executor.RunAfter(absl::Hours(1), [] {});
      done.DecrementCount();
    };
    executor.RunAfter(due - executor.clock().Now().boot, [&, replace] {
      if (!refresh) {
        replace(nullptr);
        return;
      }
      executor.RunBlocking(
          [replace] { replace(std::make_shared<const std::string>("token")); });
    });
  }
  const Outcome outcome = Measure(executor, tokens, from, [&] { done.Wait(); });
  executor.Shutdown(absl::InfiniteDuration());
  return outcome;
}

void Print(const char* what, int tokens, const Outcome& outcome) {
  std::printf(
      "%-15s %6d tokens: %6.2f us of CPU each; unrelated timers late by "
      "%.0f us (median), %.0f us (99%%), %.0f us (max)\n",
      what, tokens, outcome.cpu, outcome.late.median, outcome.late.p99,
      outcome.late.max);
}

bool BurstGates(int tokens) {
  std::vector<double> run;
  const auto measure_run = [&] {
    ThreadExecutor executor;
    for (int i = 0; i < 3; ++i) run.push_back(RunMicros(executor, tokens));
  };
  measure_run();
  struct Case {
    const char* name;
    bool refresh;
    Outcome few, many, floor_few, floor_many;
  } cases[] = {{"refreshed", true, {}, {}, {}, {}},
               {"released", false, {}, {}, {}, {}}};
  for (Case& each : cases) {
    each.few = Burst(100, each.refresh);
    each.many = Burst(tokens, each.refresh);
    each.floor_few = Floor(100, each.refresh);
    each.floor_many = Floor(tokens, each.refresh);
    measure_run();
  }
  const double run_micros = Median(run);
  std::printf("Run of a trivial task: %.2f us of CPU\n", run_micros);
  bool all = true;
  for (const Case& each : cases) {
    const std::string name = each.name;
    Print(each.name, 100, each.few);
    Print(each.name, tokens, each.many);
    Print((name + ", floor").c_str(), 100, each.floor_few);
    Print((name + ", floor").c_str(), tokens, each.floor_many);
    all &= GateBesideFloor(("CPU: " + name + " / Run").c_str(),
                           each.many.cpu / run_micros,
                           each.floor_many.cpu / run_micros, 10);
    all &= Gate(("CPU: " + name + " / floor").c_str(),
                each.many.cpu / each.floor_many.cpu, 3);
    const auto late = [&](const char* which, double Lateness::*figure) {
      all &= Gate(
          ("unrelated timers late, " + name + ": " + which + ", many / 100")
              .c_str(),
          each.many.late.*figure / each.few.late.*figure, 5);
    };
    late("median", &Lateness::median);
    late("99%", &Lateness::p99);
    late("max", &Lateness::max);
  }
  return all;
}

int Main(int argc, char** argv) {
  const bool short_form = IsShortForm(argc, argv);
  const int most = short_form ? 10'000 : 1'000'000;
  bool all = true;
  all &= CancelGates(most);
  all &= BurstGates(short_form ? 1000 : 100'000);
  if (short_form) std::printf("short form: these figures mean nothing\n");
  return all || short_form ? 0 : 1;
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  return refreshable_benchmarks::Main(argc, argv);
}
