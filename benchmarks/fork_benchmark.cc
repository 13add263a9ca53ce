// SPDX-License-Identifier: Apache-2.0
//
// Measures how much instances of Refreshable add to the cost of a fork():
//
//   bazel run -c opt //benchmarks:fork_benchmark
//
// Prints these times, in microseconds per instance:
//
// - the call of fork(), in the parent
// - from the parent's return from fork() until the child has run the library's
//   fork handlers
// - the parent's first read of each instance after the fork
// - after these reads, the parent's first call of `stats()` on each instance,
//   which takes the instance's lock
//
// The child lives until all these times have been measured. Until then, the
// parent's first write to a page copies the page, which is part of the cost.
// The floor of each time is measured with the bare system call, which runs no
// handlers, instead of fork(). Each figure is a median.

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "benchmarks/measure.h"
#include "benchmarks/ours.h"

namespace refreshable_benchmarks {
namespace {

constexpr int kRepetitions = 31;

class Stopwatch {
 public:
  // The first call returns the time since the construction.
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::micro> lap = now - last_;
    last_ = std::chrono::steady_clock::now();
    return lap.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ =
      std::chrono::steady_clock::now();
};

// Times in microseconds, for all instances together.
struct Figures {
  double fork = 0;
  double child = 0;
  double read = 0;
  double lock = 0;
};

double MedianOf(std::vector<Figures> figures, double Figures::*figure) {
  const auto middle = figures.begin() + kRepetitions / 2;
  std::nth_element(figures.begin(), middle, figures.end(),
                   [figure](const Figures& a, const Figures& b) {
                     return a.*figure < b.*figure;
                   });
  return *middle.*figure;
}

// Forks, with or without the fork handlers, and uses each instance while the
// child lives.
Figures Measure(bool handlers,
                const std::vector<std::unique_ptr<Fresh>>& instances) {
  int to_child[2], to_parent[2];
  if (pipe(to_child) != 0 || pipe(to_parent) != 0) std::abort();
  char byte = 'x';
  Figures figures;
  Stopwatch stopwatch;
  const auto child =
      handlers ? fork()
               : static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr,
                                            nullptr, nullptr, nullptr));
  if (child == 0) {
    close(to_child[1]);
    if (write(to_parent[1], &byte, 1) != 1) syscall(SYS_exit_group, 1);
    // Waits until the parent closes the pipe.
    syscall(SYS_exit_group, read(to_child[0], &byte, 1) == 0 ? 0 : 1);
  }
  figures.fork = stopwatch.Lap();
  if (read(to_parent[0], &byte, 1) != 1) std::abort();
  figures.child = stopwatch.Lap();
  for (const auto& each : instances) {
    if (each->Read() == '\0') std::abort();
  }
  figures.read = stopwatch.Lap();
  for (const auto& each : instances) {
    if (each->refreshable().stats().tokens_published != 1) std::abort();
  }
  figures.lock = stopwatch.Lap();
  for (int end : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) {
    close(end);
  }
  waitpid(child, nullptr, 0);
  return figures;
}

void Compare(size_t count) {
  const auto executor = std::make_shared<IdleExecutor>();
  std::vector<std::unique_ptr<Fresh>> instances;
  for (size_t i = 0; i < count; ++i) {
    instances.push_back(std::make_unique<Fresh>("token", executor));
  }
  std::vector<Figures> forks, floors;
  for (int i = 0; i < kRepetitions; ++i) {
    floors.push_back(Measure(/*handlers=*/false, instances));
    forks.push_back(Measure(/*handlers=*/true, instances));
  }
  std::printf("%zu instances: us each%33s%9s%9s\n", count, "fork()", "floor",
              "added");
  const auto print = [&](const char* what, double Figures::*figure) {
    const double n = static_cast<double>(count);
    const double value = MedianOf(forks, figure) / n;
    const double floor = MedianOf(floors, figure) / n;
    std::printf("  %-48s %8.3f %8.3f %8.3f\n", what, value, floor,
                value - floor);
    return value - floor;
  };
  double added = print("the call, in the parent", &Figures::fork);
  print("until the child has run its handlers", &Figures::child);
  added += print("the first Get of each in the parent", &Figures::read);
  added += print("then its first call that takes the lock", &Figures::lock);
  PrintTarget("added in the parent, us an instance", added, 5);
}

}  // namespace
}  // namespace refreshable_benchmarks

int main() {
  refreshable_benchmarks::Compare(1000);
  refreshable_benchmarks::Compare(10000);
}
