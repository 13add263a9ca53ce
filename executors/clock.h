// SPDX-License-Identifier: Apache-2.0
//
// Clock: wall time and time since boot, read together.

#ifndef REFRESHABLE_EXECUTORS_CLOCK_H_
#define REFRESHABLE_EXECUTORS_CLOCK_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <atomic>
#include <cstdint>
#include <ctime>

#include "absl/time/time.h"

namespace refreshable {

// One moment, read on two clocks.
//
// The wall clock is what a token's expiry is written in; it may step in either
// direction. Time since boot never steps and keeps counting while the machine
// is suspended; every interval, timeout, deadline and cooldown is measured on
// it. Differences of `since_boot` are meaningful, its origin is not.
struct Instant {
  absl::Time wall;
  absl::Duration since_boot;

  friend bool operator==(const Instant& a, const Instant& b) {
    return a.wall == b.wall && a.since_boot == b.since_boot;
  }
  friend bool operator!=(const Instant& a, const Instant& b) {
    return !(a == b);
  }
};

// A wall clock that costs next to nothing to read, for paths where `Clock::Now`
// would dominate. It may be behind the clock it belongs to, never ahead of it,
// and serves one question: is it certain that a moment has not come yet? A
// value, not to be asked once the clock that gave it is gone. Thread-safe.
class CoarseWallClock {
 public:
  // Certain of nothing.
  CoarseWallClock() : CoarseWallClock(&kUnknown) {}
  // The machine's own: time(2), which is certain until 1 to 2 s before.
  static CoarseWallClock System() { return CoarseWallClock(nullptr); }
  // Exact: a clock that keeps its wall time in `unix_nanos`, rounded down.
  static CoarseWallClock Exact(const std::atomic<int64_t>* unix_nanos) {
    return CoarseWallClock(unix_nanos);
  }

  // `Ticks() < TicksBefore(t)` implies that it is earlier than `t`.
  int64_t Ticks() const { return IsSystem() ? SystemTicks() : OtherTicks(); }
  int64_t TicksBefore(absl::Time t) const;

  // The parts of Ticks, for whoever knows which clock it is.
  bool IsSystem() const { return source_ == nullptr; }
  static int64_t SystemTicks() {
    return static_cast<int64_t>(std::time(nullptr));
  }
  int64_t OtherTicks() const {
    return source_->load(std::memory_order_relaxed);
  }

 private:
  explicit CoarseWallClock(const std::atomic<int64_t>* source)
      : source_(source) {}

  static const std::atomic<int64_t> kUnknown;  // Later than any time.

  const std::atomic<int64_t>* source_;  // Null: time(2).
};

// `t` in nanoseconds since 1970, rounded down. Beyond what fits in an int64_t:
// its least value for the infinite past and nothing else, its greatest for the
// far and the infinite future.
int64_t FloorToUnixNanos(absl::Time t);

// A source of time. An executor brings its own (`Executor::clock()`), so that
// real time never mixes with virtual timers.
//
// Implementations must be thread-safe. `Now()` is called often, from any
// thread, and while locks are held: it must not block on anything that waits
// for a task, and must not call back into its caller.
class Clock {
 public:
  virtual ~Clock() = default;

  // The present moment. `since_boot` never decreases from one call to the next
  // that happens after it.
  virtual Instant Now() const = 0;

  // The same wall clock, coarse; asked for once by whoever reads it often. For
  // a clock that does not say, the default is certain of nothing.
  virtual CoarseWallClock CoarseWall() const { return CoarseWallClock(); }
};

// The machine's own clocks. On Linux CLOCK_REALTIME and CLOCK_BOOTTIME (see
// clock_gettime(2)); elsewhere the nearest clock that counts suspended time.
// Thread-safe; every instance tells the same time.
class SystemClock final : public Clock {
 public:
  Instant Now() const override;
  CoarseWallClock CoarseWall() const override {
    return CoarseWallClock::System();
  }

  // An instance that is never destroyed.
  static const SystemClock& Get();
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_CLOCK_H_
