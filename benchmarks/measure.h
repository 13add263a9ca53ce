// SPDX-License-Identifier: Apache-2.0
//
// What several benchmarks share.

#ifndef REFRESHABLE_BENCHMARKS_MEASURE_H_
#define REFRESHABLE_BENCHMARKS_MEASURE_H_

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/base/attributes.h"

namespace refreshable_benchmarks {

using SteadyClock = std::chrono::steady_clock;

inline double Nanoseconds(SteadyClock::duration d) {
  return std::chrono::duration<double, std::nano>(d).count();
}

// Returns the median, or zero if there are no values.
inline double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline void PrintTarget(const std::string& what, double measured,
                        double at_most) {
  std::printf("%-58s %9.2f   target <= %-5g %s\n", what.c_str(), measured,
              at_most, measured <= at_most ? "ok" : "MISSED");
}

// Returns whether the first argument is --benchmark_min_time=VALUE. Then the
// program should only check that it works, and be brief.
inline bool IsShortForm(int argc, char** argv) {
  constexpr char kFlag[] = "--benchmark_min_time";
  return argc > 1 && std::strncmp(argv[1], kFlag, std::strlen(kFlag)) == 0;
}

// A loop is measured at this many places in memory. Its place can add one or
// two cycles to a read, which takes only a few.
constexpr int kPlacements = 9;

// Aligns the code that follows to 64 bytes, and then moves it on by
// `7 * kPlacement` no-ops. Does nothing with compilers other than GCC and
// Clang. Requires: the program is compiled with -fno-align-loops.
template <int kPlacement>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void PlaceCode() {
  static_assert(0 <= kPlacement && kPlacement < kPlacements, "");
#ifdef __GNUC__
  __asm__ volatile(".balign 64\n.rept %c0\nnop\n.endr" : : "i"(7 * kPlacement));
#endif
}

}  // namespace refreshable_benchmarks

#endif  // REFRESHABLE_BENCHMARKS_MEASURE_H_
