// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/clock.h"

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

#include "absl/time/clock.h"
#else
#include <time.h>
#endif

#include <atomic>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace refreshable {
namespace {

#ifdef _WIN32

absl::Time Wall() { return absl::Now(); }

// Counts sleep and hibernation, at a resolution of 10 to 16 ms.
absl::Duration SinceBoot() {
  return absl::Milliseconds(static_cast<int64_t>(::GetTickCount64()));
}

#else

#if defined(__APPLE__)
// Counts sleep there, and is not slewed. CLOCK_UPTIME_RAW would not count it.
constexpr clockid_t kSinceBootClock = CLOCK_MONOTONIC_RAW;
#elif defined(CLOCK_BOOTTIME)
constexpr clockid_t kSinceBootClock = CLOCK_BOOTTIME;
#else
constexpr clockid_t kSinceBootClock = CLOCK_MONOTONIC;
#endif

absl::Time Wall() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return absl::TimeFromTimespec(now);
}

absl::Duration SinceBoot() {
  timespec now = {};
  if (clock_gettime(kSinceBootClock, &now) != 0) {
    // A kernel or a sandbox that does not know the clock; it always will say
    // so, hence the two clocks never mix.
    clock_gettime(CLOCK_MONOTONIC, &now);
  }
  return absl::DurationFromTimespec(now);
}

#endif

}  // namespace

Instant SystemClock::Now() const { return Instant{Wall(), SinceBoot()}; }

const SystemClock& SystemClock::Get() {
  static const SystemClock* const clock = new SystemClock();
  return *clock;
}

namespace {

// Before main, and not only at the first use: a child of a fork in that very
// moment would wait for it for ever.
[[maybe_unused]] const SystemClock& made_early = SystemClock::Get();

}  // namespace

const std::atomic<int64_t> CoarseWallClock::kUnknown{
    std::numeric_limits<int64_t>::max()};

int64_t CoarseWallClock::TicksBefore(absl::Time t) const {
  const int64_t nanos = FloorToUnixNanos(t);
  if (source_ != nullptr || nanos == std::numeric_limits<int64_t>::max() ||
      nanos == std::numeric_limits<int64_t>::min()) {
    return nanos;
  }
  // While time(2) says T, it is earlier than T + 1 s, but for how late the
  // kernel's tick may be: 10 ms, more where the machine itself is a guest that
  // has to wait for its turn. One second is for that.
  return absl::ToUnixSeconds(t) - 1;
}

int64_t FloorToUnixNanos(absl::Time t) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (t == absl::InfinitePast()) return kMin;
  if (t <= absl::UnixEpoch() + absl::Nanoseconds(kMin + 1)) return kMin + 1;
  if (t >= absl::UnixEpoch() + absl::Nanoseconds(kMax)) return kMax;
  return absl::ToUnixNanos(t);
}

}  // namespace refreshable
