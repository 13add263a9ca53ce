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
#include <ostream>

#include "absl/time/time.h"

namespace refreshable {
namespace {

#ifdef _WIN32

absl::Time Wall() { return absl::Now(); }

// GetTickCount64 also counts sleep and hibernation. Its resolution is 10 to 16
// ms.
BootTime Boot() {
  return BootTime() +
         absl::Milliseconds(static_cast<int64_t>(::GetTickCount64()));
}

#else

#if defined(__APPLE__)
// On macOS, CLOCK_MONOTONIC_RAW also counts sleep, and NTP does not change its
// speed.
constexpr clockid_t kBootClock = CLOCK_MONOTONIC_RAW;
#elif defined(CLOCK_BOOTTIME)
constexpr clockid_t kBootClock = CLOCK_BOOTTIME;
#else
constexpr clockid_t kBootClock = CLOCK_MONOTONIC;
#endif

absl::Time Wall() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return absl::TimeFromTimespec(now);
}

timespec BootTimespec() {
  timespec now = {};
  if (clock_gettime(kBootClock, &now) != 0) {
    // The kernel or a sandbox does not provide `kBootClock`. This code assumes
    // that every other read of `kBootClock` fails too. If only some reads
    // failed, the times of two clocks would be mixed.
    clock_gettime(CLOCK_MONOTONIC, &now);
  }
  return now;
}

BootTime Boot() {
  return BootTime() + absl::DurationFromTimespec(BootTimespec());
}

#endif

}  // namespace

std::ostream& operator<<(std::ostream& os, BootTime t) {
  return os << absl::FormatDuration(t.since_origin_);
}

Instant SystemClock::Now() const { return Instant{Wall(), Boot()}; }

const SystemClock& SystemClock::Get() {
  static const SystemClock* const clock = new SystemClock();
  return *clock;
}

namespace {

// Makes `Get` create its clock when the library is loaded. If a thread forked
// while another thread created the clock, `Get` would block forever in the
// child.
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
  // `Ticks()` is T, the whole second that time(2) returns. This code assumes
  // that the kernel updates T at most 1 s late. So the present moment is before
  // T plus 2 s. If T is less than the result, `t` is at least T plus 2 s, and
  // so in the future.
  return absl::ToUnixSeconds(t) - 1;
}

const std::atomic<int64_t> CoarseBootClock::kUnknown{
    std::numeric_limits<int64_t>::max()};

int64_t CoarseBootClock::TicksBefore(BootTime t) {
  return FloorToUnixNanos(absl::UnixEpoch() + (t - BootTime()));
}

int64_t CoarseBootClock::SystemTicks() {
#ifdef _WIN32
  return absl::ToInt64Nanoseconds(Boot() - BootTime());
#else
  const timespec now = BootTimespec();
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
#endif
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
