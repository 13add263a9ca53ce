// SPDX-License-Identifier: Apache-2.0
//
// Checks that reads, and publications while other threads read, cost no more
// than docs/performance.md says:
//
//   bazel run -c opt //benchmarks:read_path_gates
//
// Each gate is a limit on a ratio of times. The times are measured alternately
// in the same run, and the median of nine repetitions counts. The program also
// measures other patterns, that is, ways to cache a token without this library.
// One pattern is called the floor: its read does only what every correct read
// must do.
//
// A repetition is disturbed if the floor gained little from the second thread,
// or took much longer than in another repetition. The program makes disturbed
// repetitions again, up to a limit. If some are still disturbed, the gates with
// several threads cannot be judged. The gates with one thread cannot be judged
// if the floor, with one thread, took much longer in one repetition than in
// another.
//
// Some gates demand that a read is many times as fast as the patterns that
// lock. If even the floor is not that fast, the gate is printed as "n/a", and
// cannot fail.
//
// The exit code is 1 if a gate fails. Otherwise it is 2 if a gate cannot be
// judged.
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works, and exits with 0.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "benchmarks/baselines.h"
#include "benchmarks/lock_free_baselines.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

struct Subject {
  std::string name;
  // Makes a new instance for `measure`. The earlier instances are kept, so each
  // instance has an address of its own. Then results do not depend on a single
  // address.
  std::function<void()> renew;
  // Returns the elapsed nanoseconds divided by the number of reads of all
  // threads. `placement` says where the loop lies in memory (see
  // `kPlacements`).
  std::function<double(int threads, int placement)> measure;
  // `ns[t]` has the nanoseconds per read of each repetition with t threads.
  std::vector<double> ns[3];
};

// Returns the pattern's `reader()` if it has one, otherwise the pattern.
template <typename Pattern>
auto ReaderOf(Pattern& pattern, int) -> decltype(pattern.reader()) {
  return pattern.reader();
}
template <typename Pattern>
Pattern& ReaderOf(Pattern& pattern, ...) {
  return pattern;
}

// Returns how many of the reads found no good token.
template <typename Pattern, int kPlacement>
ABSL_ATTRIBUTE_NOINLINE int Read(Pattern& pattern, int64_t reads) {
  auto&& reader = ReaderOf(pattern, 0);
  int missed = 0;
  PlaceCode<kPlacement>();
  for (; reads > 0; --reads) missed += reader.Read() == '\0';
  return missed;
}

template <typename Pattern>
using ReadFunction = int (*)(Pattern&, int64_t);

// Repetition i uses placement i.
template <typename Pattern>
constexpr ReadFunction<Pattern> kRead[kPlacements] = {
    Read<Pattern, 0>, Read<Pattern, 1>, Read<Pattern, 2>,
    Read<Pattern, 3>, Read<Pattern, 4>, Read<Pattern, 5>,
    Read<Pattern, 6>, Read<Pattern, 7>, Read<Pattern, 8>};

template <typename Pattern>
double TimePerRead(Pattern& pattern, ReadFunction<Pattern> read, int threads,
                   int64_t reads) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::atomic<int> bad{0};
  std::vector<std::thread> readers;
  readers.reserve(threads);
  for (int t = 0; t < threads; ++t) {
    readers.emplace_back([&] {
      const int missed = pattern.Read() == '\0';
      ++ready;
      while (!go.load(std::memory_order_acquire)) {
      }
      bad += missed + read(pattern, reads);
    });
  }
  while (ready < threads) std::this_thread::yield();
  const SteadyClock::time_point start = SteadyClock::now();
  go.store(true, std::memory_order_release);
  for (std::thread& reader : readers) reader.join();
  const SteadyClock::duration took = SteadyClock::now() - start;
  if (bad != 0) std::abort();
  return Nanoseconds(took) / static_cast<double>(reads * threads);
}

template <typename Pattern>
Subject Make(int64_t reads) {
  auto patterns = std::make_shared<std::vector<std::unique_ptr<Pattern>>>();
  return {
      Pattern::kName,
      [patterns] {
        patterns->push_back(std::make_unique<Pattern>(std::string(1024, 'x')));
      },
      [patterns, reads](int threads, int placement) {
        return TimePerRead(*patterns->back(), kRead<Pattern>[placement],
                           threads, reads);
      },
      {}};
}

// Records the median of `slices` short measurements for each subject and number
// of threads. The subjects take turns, so that a slowdown affects all of them.
void Repeat(std::vector<Subject>& subjects, int slices, int placement) {
  for (Subject& subject : subjects) subject.renew();
  for (int threads : {1, 2}) {
    std::vector<std::vector<double>> ns(subjects.size());
    for (int slice = 0; slice < slices; ++slice) {
      for (size_t i = 0; i < subjects.size(); ++i) {
        ns[i].push_back(subjects[i].measure(threads, placement));
      }
    }
    for (size_t i = 0; i < subjects.size(); ++i) {
      subjects[i].ns[threads].push_back(Median(ns[i]));
    }
  }
}

// Returns how many reads two threads make in the time that one thread needs for
// one read.
double SpeedUp(const Subject& subject, size_t repetition) {
  return subject.ns[1][repetition] / subject.ns[2][repetition];
}

// Why the gates with one thread, and those with more, cannot be judged. An
// empty string means that they can.
struct Disturbance {
  std::string one_thread;
  std::string two_threads;  // Includes the reason in `one_thread`.
};

// Returns whether the floor took about as long as in its fastest repetition.
bool IsSteady(const Subject& floor, size_t repetition) {
  const double least =
      *std::min_element(floor.ns[1].begin(), floor.ns[1].end());
  return floor.ns[1][repetition] <= 1.3 * least;
}
// Returns whether the second thread seems to have had its own core.
bool HasTwoCores(const Subject& floor, size_t repetition) {
  return SpeedUp(floor, repetition) >= 1.5;
}
bool Undisturbed(const Subject& floor, size_t repetition) {
  return HasTwoCores(floor, repetition) && IsSteady(floor, repetition);
}

Disturbance DisturbanceOf(const Subject& floor) {
  int unsteady = 0, one_core = 0;
  for (int i = 0; i < kPlacements; ++i) {
    unsteady += !IsSteady(floor, i);
    one_core += !HasTwoCores(floor, i);
  }
  Disturbance result;
  if (unsteady > 0) {
    result.one_thread =
        absl::StrCat("the floor took 1.3 times its least time in ", unsteady,
                     " of ", kPlacements, " repetitions");
  }
  result.two_threads = result.one_thread;
  if (one_core > 0) {
    absl::StrAppend(&result.two_threads, unsteady > 0 ? ", and " : "",
                    "two threads were not 1.5 times as fast as one in ",
                    one_core, " of ", kPlacements);
  }
  return result;
}

// Makes nine repetitions, and makes disturbed repetitions again. Returns why
// the gates cannot be judged, if any repetitions are still disturbed. The short
// form makes one repetition and does not check it.
Disturbance RepeatUndisturbed(std::vector<Subject>& subjects, bool short_form) {
  constexpr int kMostReplacements = 10 * kPlacements;
  if (short_form) {
    Repeat(subjects, 1, 0);
    return {};
  }
  // Each slice takes about a millisecond.
  constexpr int kSlices = 15;
  for (int i = 0; i < kPlacements; ++i) Repeat(subjects, kSlices, i);
  int again = 0;
  for (int i = 0; i < kPlacements && again < kMostReplacements;) {
    if (Undisturbed(subjects.front(), i)) {
      ++i;
      continue;
    }
    ++again;
    Repeat(subjects, kSlices, i);
    for (Subject& subject : subjects) {
      for (int threads : {1, 2}) {
        subject.ns[threads][i] = subject.ns[threads].back();
        subject.ns[threads].pop_back();
      }
    }
    // Each repetition is compared with the floor's fastest repetition. A
    // different repetition may now be the fastest, so all are checked again.
    i = 0;
  }
  if (again > 0) std::printf("%d repetitions were disturbed\n", again);
  return DisturbanceOf(subjects.front());
}

// Returns the nanoseconds of the slowest publication while four threads read.
template <typename Pattern>
double SlowestPublish(int publications) {
  Pattern pattern(std::string(1024, 'x'));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  readers.reserve(4);
  for (int t = 0; t < 4; ++t) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) pattern.Read();
    });
  }
  std::vector<double> ns;
  for (int i = 0; i < publications; ++i) {
    const std::string token(1024, 'y');
    const SteadyClock::time_point start = SteadyClock::now();
    pattern.Publish(token);
    ns.push_back(Nanoseconds(SteadyClock::now() - start));
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  return *std::max_element(ns.begin(), ns.end());
}

class Gates {
 public:
  // If `reason` is not empty, the gate cannot be judged.
  void AtMost(const char* name, double measured, double target,
              const std::string& reason) {
    Judge(name, measured, absl::StrFormat("<= %g", target), measured <= target,
          reason);
  }
  void AtLeast(const char* name, double measured, double target,
               const std::string& reason) {
    Judge(name, measured, absl::StrFormat(">= %g", target), measured >= target,
          reason);
  }
  // `measured` is another pattern's time divided by the time of our read.
  // `floor` is the other pattern's time divided by the time of the pattern that
  // is called the floor. If not even `floor` reaches `target`, the gate cannot
  // fail.
  void BesideOthers(const char* name, double measured, double floor,
                    double target, const std::string& reason) {
    if (floor >= target || !reason.empty()) {
      AtLeast(name, measured, target, reason);
    } else {
      Print("n/a", name, measured,
            absl::StrFormat(">= %g; the floor: %.3f", target, floor));
    }
  }

  int ExitCode() const {
    if (failed_) return 1;
    return unjudged_ ? 2 : 0;
  }

 private:
  void Judge(const char* name, double measured, const std::string& target,
             bool holds, const std::string& reason) {
    if (!reason.empty()) {
      unjudged_ = true;
      Print("?", name, measured,
            absl::StrCat(target, "; cannot be judged here: ", reason));
      return;
    }
    failed_ |= !holds;
    Print(holds ? "holds" : "FAILS", name, measured, target);
  }
  static void Print(const char* verdict, const char* name, double measured,
                    const std::string& target) {
    std::printf("%-5s  %-52s %9.3f  (%s)\n", verdict, name, measured,
                target.c_str());
    std::fflush(stdout);
  }

  bool failed_ = false;
  bool unjudged_ = false;
};

int Main(bool short_form) {
  const int repetitions = short_form ? 1 : kPlacements;
  // In a process with one thread, glibc and libstdc++ avoid atomic
  // instructions. So `second` lives as long as the measurements last.
  std::atomic<bool> stop{false};
  std::thread second([&] {
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });

  const int64_t fast = short_form ? 10000 : 500000;
  const int64_t slow = short_form ? 1000 : 20000;
  // The subjects from `kOthers` up to `beyond_others` take a lock and free old
  // tokens. Some gates demand that a read of such a subject takes many times as
  // long as a fresh `Get`. The later subjects are only printed. Each of those
  // leaks old tokens, or has drawbacks that lock_free_baselines.h lists.
  enum { kFloor, kFresh, kStale, kVirtual, kSharedSlots, kOthers };
  constexpr size_t kMutexCopy = kOthers;
  std::vector<Subject> subjects;
  subjects.push_back(Make<PointerAndTime>(fast));
  subjects.push_back(Make<Fresh>(fast));
  subjects.push_back(Make<Stale>(fast));
  subjects.push_back(Make<VirtualTime>(fast));
  subjects.push_back(Make<SharedSlots>(fast));
  subjects.push_back(Make<MutexCopy>(slow));
  subjects.push_back(Make<MutexHeldDuringRefresh>(slow));
  subjects.push_back(Make<SharedMutexCopy>(slow));
  subjects.push_back(Make<SharedMutexTwice>(slow));
  subjects.push_back(Make<MapOfItems>(slow));
  subjects.push_back(Make<MutexSlice>(slow));
  subjects.push_back(Make<MutexSharedPtr>(slow));
  subjects.push_back(Make<AbslMutexSharedPtr>(slow));
  subjects.push_back(Make<AtomicSharedPtr>(slow));
  const size_t beyond_others = subjects.size();
  subjects.push_back(Make<MutexPointer>(slow));
  subjects.push_back(Make<VolatileRead>(slow));
  subjects.push_back(Make<ThreadLocalCopy>(fast));
  subjects.push_back(Make<RcuQuiescent>(fast));
  subjects.push_back(Make<RcuFence>(fast));
  subjects.push_back(Make<HazardFence>(fast));
  const auto [one, two] = RepeatUndisturbed(subjects, short_form);
  std::printf("%-45s %10s %10s\n", "ns per read", "1 thread", "2 threads");
  for (const Subject& subject : subjects) {
    std::printf("%-45s %10.2f %10.2f\n", subject.name.c_str(),
                Median(subject.ns[1]), Median(subject.ns[2]));
  }
  const auto median = [&](const std::function<double(int)>& of) {
    std::vector<double> values;
    values.reserve(repetitions);
    for (int i = 0; i < repetitions; ++i) values.push_back(of(i));
    return Median(values);
  };
  const auto ratio = [&](size_t above, size_t below, int threads) {
    return median([&](int i) {
      return subjects[above].ns[threads][i] / subjects[below].ns[threads][i];
    });
  };
  // Returns the time of the fastest pattern that locks, divided by the time of
  // `subject`.
  const auto best = [&](size_t subject, int threads) {
    double least = ratio(kOthers, subject, threads);
    for (size_t other = kOthers; other < beyond_others; ++other) {
      least = std::min(least, ratio(other, subject, threads));
    }
    return least;
  };
  Gates gates;
  gates.AtMost("fresh Get / floor, 1 thread", ratio(kFresh, kFloor, 1), 1.15,
               one);
  gates.AtMost("stale Get / fresh Get", ratio(kStale, kFresh, 1), 1.15, one);
  gates.AtMost("in virtual time / floor", ratio(kVirtual, kFloor, 1), 1.3, one);
  gates.AtMost("without thread_local / floor", ratio(kSharedSlots, kFloor, 1),
               4.5, one);
  const double gain = median([&](int i) {
    return SpeedUp(subjects[kFresh], i) / SpeedUp(subjects[kFloor], i);
  });
  gates.AtLeast("2-thread speed-up / the floor's", gain, 0.93, two);
  gates.BesideOthers("best that locks / fresh Get, 1 thread", best(kFresh, 1),
                     best(kFloor, 1), 10, one);
  gates.BesideOthers("best that locks / fresh Get, 2 threads", best(kFresh, 2),
                     best(kFloor, 2), 25, two);
  gates.BesideOthers("mutex and copy / fresh Get, 1 thread",
                     ratio(kMutexCopy, kFresh, 1), ratio(kMutexCopy, kFloor, 1),
                     20, one);
  gates.BesideOthers("mutex and copy / fresh Get, 2 threads",
                     ratio(kMutexCopy, kFresh, 2), ratio(kMutexCopy, kFloor, 2),
                     75, two);
  const int publications = short_form ? 5 : 100;
  std::vector<double> publish_ours, publish_peer;
  for (int i = 0; i < repetitions; ++i) {
    publish_ours.push_back(SlowestPublish<Fresh>(publications));
    publish_peer.push_back(SlowestPublish<SharedMutexCopy>(publications));
  }
  gates.AtMost("slowest publish, 4 readers: ours / shared_mutex's",
               Median(publish_ours) / Median(publish_peer), 0.01, two);
  std::printf("slowest of %d publications: %.0f us, shared_mutex %.0f us\n",
              publications, Median(publish_ours) / 1000,
              Median(publish_peer) / 1000);
  stop = true;
  second.join();
  if (short_form) std::printf("short form: these figures mean nothing\n");
  return short_form ? 0 : gates.ExitCode();
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  return Main(IsShortForm(argc, argv));
}
