// SPDX-License-Identifier: Apache-2.0
//
// Measures what a publication costs, and what a read costs on a thread that
// already holds leases:
//
//   bazel run -c opt //benchmarks:leases_benchmark
//
// There are three kinds of reads:
//
// - "newest": the thread holds `held` leases, and takes and releases one more.
// - "oldest": the thread holds `held` leases, takes one more, and releases the
//   oldest.
// - "all": the thread takes `held` leases, and then releases all of them.
//
// The time per read is divided by the time of a read on a thread that holds no
// lease, with the same number of threads. The ratio is the median over several
// turns.
//
// The program also compares the library with a shared_ptr under a mutex
// (`Rival`): publications, reads of the kind "oldest", and the release of
// leases of a replaced token.
//
// The exit code is 1 if a target is missed. If the first argument is
// --benchmark_min_time=VALUE, the program only checks that it works, and exits
// with 0.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "benchmarks/baselines.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace refreshable_benchmarks {
namespace {

double NanosecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::nano>(SteadyClock::now() - start)
      .count();
}

class Ours {
 public:
  using Held = refreshable::Lease<std::string>;
  ABSL_ATTRIBUTE_ALWAYS_INLINE Held Take() {
    return *instance_.refreshable().Get();
  }
  static bool Good(const Held& held) { return held.token()[0] == 'x'; }
  void Publish() { instance_.Publish(std::string(1024, 'x')); }

 private:
  Fresh instance_{std::string(1024, 'x')};
};

class Rival {
 public:
  using Held = std::shared_ptr<const Entry>;
  ABSL_ATTRIBUTE_ALWAYS_INLINE Held Take() {
    Held entry;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      entry = entry_;
    }
    if (!IsGood(*entry)) std::abort();
    return entry;
  }
  static bool Good(const Held& held) { return held->token[0] == 'x'; }
  void Publish() {
    auto entry =
        std::make_shared<const Entry>(MakeEntry(std::string(1024, 'x')));
    std::lock_guard<std::mutex> lock(mutex_);
    entry_.swap(entry);
  }

 private:
  std::mutex mutex_;
  Held entry_ =
      std::make_shared<const Entry>(MakeEntry(std::string(1024, 'x')));
};

// `Newest`, `Oldest` and `All` each make at least `reads` reads of one kind,
// and return the nanoseconds per read. They call `ready` once, just before the
// measurement.

template <typename Source>
double Newest(Source& source, int held, int64_t reads,
              const std::function<void()>& ready) {
  std::vector<typename Source::Held> holds;
  for (int i = 0; i < held; ++i) holds.push_back(source.Take());
  { const auto warm = source.Take(); }
  ready();
  int64_t good = 0;
  const SteadyClock::time_point start = SteadyClock::now();
  for (int64_t i = 0; i < reads; ++i) {
    const auto lease = source.Take();
    good += Source::Good(lease);
  }
  const double ns = NanosecondsSince(start);
  if (good != reads) std::abort();
  return ns / static_cast<double>(reads);
}

template <typename Source>
double Oldest(Source& source, int held, int64_t reads,
              const std::function<void()>& ready) {
  std::vector<typename Source::Held> holds;
  for (int i = 0; i < held; ++i) holds.push_back(source.Take());
  ready();
  int64_t good = 0;
  const SteadyClock::time_point start = SteadyClock::now();
  auto next = holds.begin();
  for (int64_t i = 0; i < reads; ++i) {
    *next = source.Take();
    good += Source::Good(*next);
    if (++next == holds.end()) next = holds.begin();
  }
  const double ns = NanosecondsSince(start);
  if (good != reads) std::abort();
  return ns / static_cast<double>(reads);
}

template <typename Source>
double All(Source& source, int held, int64_t reads,
           const std::function<void()>& ready) {
  std::vector<typename Source::Held> holds;
  holds.reserve(held);
  ready();
  int64_t good = 0;
  const SteadyClock::time_point start = SteadyClock::now();
  for (int64_t i = 0; i < reads; i += held) {
    for (int j = 0; j < held; ++j) {
      holds.push_back(source.Take());
      good += Source::Good(holds.back());
    }
    holds.clear();
  }
  const double ns = NanosecondsSince(start);
  if (good < reads) std::abort();
  return ns / static_cast<double>(good);
}

using Measure = std::function<double(const std::function<void()>& ready)>;

// Returns the nanoseconds per read.
double Floor(int64_t reads) {
  static auto* const floor = new PointerAndTime(std::string(1024, 'x'));
  int64_t good = 0;
  const SteadyClock::time_point start = SteadyClock::now();
  for (int64_t i = 0; i < reads; ++i) good += floor->Read() == 'x';
  const double ns = NanosecondsSince(start);
  if (good != reads) std::abort();
  return ns / static_cast<double>(reads);
}

// Makes all measurements at the same time, each on its own thread. Returns the
// mean.
double AtTheSameTime(const std::vector<Measure>& measures) {
  std::atomic<size_t> ready{0};
  std::vector<double> ns(measures.size());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < measures.size(); ++t) {
    threads.emplace_back([&, t] {
      ns[t] = measures[t]([&] {
        ++ready;
        while (ready < measures.size()) {
        }
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (const double each : ns) sum += each;
  return sum / static_cast<double>(ns.size());
}

struct Line {
  std::string name;
  std::function<double()> measure;
  double target = 0;  // The largest ratio allowed; 0 means no limit.
  std::vector<double> ns = {};
};

bool all_met = true;

void PrintVerdict(bool has_target, bool met) {
  std::printf("%s\n", !has_target ? "" : met ? "  ok" : "  MISSED");
  std::fflush(stdout);
  all_met &= met || !has_target;
}

// Measures `lines` in turns. Each ratio is to the time of the first line.
void Run(const char* title, std::vector<Line>& lines, int turns) {
  for (int turn = 0; turn < turns; ++turn) {
    for (Line& line : lines) line.ns.push_back(line.measure());
  }
  std::printf("\n%s\n%-42s %9s %7s %7s\n", title, "", "ns", "ratio", "target");
  for (const Line& line : lines) {
    std::vector<double> ratios;
    for (int turn = 0; turn < turns; ++turn) {
      ratios.push_back(line.ns[turn] / lines[0].ns[turn]);
    }
    const double ratio = Median(ratios);
    std::printf("%-42s %9.2f %7.2f ", line.name.c_str(), Median(line.ns),
                ratio);
    if (line.target > 0) std::printf("<= %-5g", line.target);
    PrintVerdict(line.target > 0, ratio <= line.target);
  }
}

enum Way { kNewest, kOldest, kAll };
constexpr const char* kWayNames[] = {"newest", "oldest", "all"};

template <typename Source>
Measure ByWay(Source& source, Way way, int held, int64_t reads) {
  return [&source, way, held, reads](const std::function<void()>& ready) {
    switch (way) {
      case kNewest:
        return Newest(source, held, reads, ready);
      case kOldest:
        return Oldest(source, held, reads, ready);
      default:
        return All(source, held, reads, ready);
    }
  };
}

double TargetFor(Way way, int held) {
  if (held == 0) return 0;
  return held <= 8 && way == kNewest ? 2 : 5;
}

void Reads(bool short_form) {
  const int turns = short_form ? 1 : 51;
  const int64_t reads = short_form ? 1000 : 100000;
  Ours a, b;
  Rival rival;
  const std::vector<std::pair<const char*, std::vector<Ours*>>> cases = {
      {"one thread", {&a}},
      {"two threads, an instance each", {&a, &b}},
      {"two threads, the same instance", {&a, &a}},
  };
  for (const auto& [title, sources] : cases) {
    std::vector<Line> lines;
    const bool of_one_thread = sources.size() == 1;
    const auto add = [&, of = sources](Way way, int held) {
      std::vector<Measure> measures;
      for (Ours* source : of) {
        measures.push_back(ByWay(*source, way, held, reads));
      }
      lines.push_back(
          {std::string(kWayNames[way]) + ", " + std::to_string(held) + " held",
           [measures] { return AtTheSameTime(measures); },
           TargetFor(way, held)});
    };
    for (const int held : {0, 1, 2, 5, 6, 8, 16, 64, 1000}) {
      add(kNewest, held);
    }
    if (of_one_thread) {
      lines.push_back({"floor: pointer, time()", [=] { return Floor(reads); }});
    }
    for (const int held : {6, 8, 16, 64, 1000}) add(kOldest, held);
    for (const int held : {1, 2, 5, 8, 64, 1000}) add(kAll, held);
    Run(title, lines, turns);
  }

  std::printf("\n%-42s %9s %9s %7s %7s\n", "beside the rival", "ours", "rival",
              "ratio", "target");
  for (const int held : {6, 64, 1000}) {
    double alone_ns = 0;
    for (const int threads : {1, 2}) {
      std::vector<double> ours_ns, rival_ns, ratios;
      for (int turn = 0; turn < turns; ++turn) {
        ours_ns.push_back(AtTheSameTime(
            std::vector<Measure>(threads, ByWay(a, kOldest, held, reads))));
        rival_ns.push_back(AtTheSameTime(
            std::vector<Measure>(threads, ByWay(rival, kOldest, held, reads))));
        ratios.push_back(rival_ns.back() / ours_ns.back());
      }
      const std::string name = "oldest, " + std::to_string(held) + " held, " +
                               std::to_string(threads) + " thread" +
                               (threads > 1 ? "s" : "");
      std::printf("%-42s %9.2f %9.2f %7.2f ", name.c_str(), Median(ours_ns),
                  Median(rival_ns), Median(ratios));
      if (threads == 1) alone_ns = Median(rival_ns);
      // The rival's lock is contended only if both threads run at the same
      // time. Otherwise the ratio says nothing.
      const bool at_once = Median(rival_ns) >= 2.5 * alone_ns;
      if (threads > 1) std::printf(at_once ? ">= 5  " : "n/a: not at once");
      PrintVerdict(threads > 1 && at_once, Median(ratios) >= 5);
    }
  }
}

// Returns the nanoseconds per release, for a thousand leases of a token that
// has been replaced.
template <typename Source>
double ReleaseAfterReplacement() {
  Source source;
  std::vector<typename Source::Held> holds;
  for (int i = 0; i < 1000; ++i) holds.push_back(source.Take());
  source.Publish();
  const SteadyClock::time_point start = SteadyClock::now();
  holds.clear();
  return NanosecondsSince(start) / 1000;
}

// Returns the nanoseconds of a call of membarrier(2) like the library's, or
// about 0 if the system has no such call.
double HeavyBarrier() {
  const SteadyClock::time_point start = SteadyClock::now();
#if defined(__linux__) && defined(SYS_membarrier)
  constexpr int kPrivateExpedited = 1 << 3;
  if (syscall(SYS_membarrier, kPrivateExpedited, 0, 0) != 0) return 0;
#endif
  return NanosecondsSince(start);
}

// Prints the median times of `Install`, of membarrier(2) alone, and of
// `Rival::Publish`. Nobody reads from the Rival.
void Publications(bool short_form) {
  std::printf("\n%-42s %9s %9s %9s\n", "publications, median in us", "Install",
              "barrier", "mutex");
  struct Case {
    const char* name;
    int readers;
    bool busy;
  };
  for (const Case& each : {Case{"nobody else reads", 0, false},
                           Case{"a thread that has read sleeps", 1, false},
                           Case{"a thread reads continuously", 1, true},
                           Case{"four threads read continuously", 4, true}}) {
    auto ours = std::make_unique<Ours>();
    auto rival = std::make_unique<Rival>();
    std::atomic<bool> stop{false};
    std::atomic<int> reading{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < each.readers; ++t) {
      readers.emplace_back([&] {
        { const auto first = ours->Take(); }
        ++reading;
        while (!stop) {
          if (each.busy) {
            for (int i = 0; i < 1000; ++i) ours->Take();
          } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }
      });
    }
    while (reading < each.readers) std::this_thread::yield();
    std::vector<double> install, barrier, mutex;
    for (int i = 0; i < (short_form ? 3 : 500); ++i) {
      SteadyClock::time_point start = SteadyClock::now();
      ours->Publish();
      install.push_back(NanosecondsSince(start));
      std::this_thread::yield();
      barrier.push_back(HeavyBarrier());
      std::this_thread::yield();
      start = SteadyClock::now();
      rival->Publish();
      mutex.push_back(NanosecondsSince(start));
      std::this_thread::yield();
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    std::printf("%-42s %9.2f %9.2f %9.2f\n", each.name, Median(install) / 1000,
                Median(barrier) / 1000, Median(mutex) / 1000);
    std::fflush(stdout);
  }
}

int Main(bool short_form) {
  // In a process with one thread, glibc and libstdc++ avoid atomic
  // instructions. So a second thread lives during the measurements.
  std::atomic<bool> stop{false};
  std::thread second([&] {
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
  // `Reads` adds hazard slots, all of which a publication scans. So
  // publications are measured first.
  Publications(short_form);
  Reads(short_form);
  std::printf(
      "\n1,000 leases of a replaced token, released: %.0f ns each "
      "(shared_ptr: %.0f ns)\n",
      ReleaseAfterReplacement<Ours>(), ReleaseAfterReplacement<Rival>());
  stop = true;
  second.join();
  if (short_form) std::printf("short form: these figures mean nothing\n");
  return all_met || short_form ? 0 : 1;
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  return refreshable_benchmarks::Main(
      refreshable_benchmarks::IsShortForm(argc, argv));
}
