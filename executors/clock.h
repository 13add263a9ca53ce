// SPDX-License-Identifier: Apache-2.0
//
// Clock: wall time and time since boot, read together.

#ifndef REFRESHABLE_EXECUTORS_CLOCK_H_
#define REFRESHABLE_EXECUTORS_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <ctime>

#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// One moment, read on two clocks.
//
// A token's expiry is a time of the wall clock, which may step in either
// direction. Time since boot never steps, and keeps counting while the machine
// is suspended. Every interval, timeout, deadline and cooldown is measured in
// it. Only differences of `since_boot` are meaningful; its origin is not.
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

// A wall clock that costs next to nothing to read, for paths where the cost of
// `Clock::Now` would dominate. It answers one question: is it certain that a
// given moment has not come yet? Its time may be behind the clock that it
// belongs to, and is never ahead of it. A value, thread-safe. Must not be read
// after the clock that it came from has been destroyed.
class CoarseWallClock {
 public:
  // A clock that is never certain.
  CoarseWallClock() : CoarseWallClock(&kUnknown) {}
  // The machine's own clock, time(2). It is certain that a moment has not come
  // until 1 to 2 s before that moment.
  static CoarseWallClock System() { return CoarseWallClock(nullptr); }
  // An exact form of a clock that keeps its wall time in `unix_nanos`, in
  // nanoseconds since 1970, rounded down. `unix_nanos` is not owned.
  static CoarseWallClock Exact(const std::atomic<int64_t>* unix_nanos) {
    return CoarseWallClock(unix_nanos);
  }

  // If `Ticks() < TicksBefore(t)`, the present moment is certainly before `t`.
  // The unit of ticks depends on the clock.
  int64_t Ticks() const { return IsSystem() ? SystemTicks() : OtherTicks(); }
  int64_t TicksBefore(absl::Time t) const;

  // The parts of Ticks, for callers that know which clock this is.
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

  const std::atomic<int64_t>* source_;  // Null if the clock is time(2).
};

// Returns `t` in nanoseconds since 1970, rounded down. Times that do not fit in
// an int64_t become its largest value if they are in the future, and its
// smallest value plus one if they are in the past. Only the infinite past
// becomes the smallest value.
int64_t FloorToUnixNanos(absl::Time t);

// A source of time. Each executor has its own (`Executor::clock()`), so that
// real time never mixes with virtual timers.
//
// Implementations must be thread-safe. `Now()` is called often, from any
// thread, and while locks are held: it must not block on anything that waits
// for a task, and must not call back into its caller.
class Clock {
 public:
  virtual ~Clock() = default;

  // Returns the present moment. `since_boot` never decreases from one call to a
  // call that happens after it.
  virtual Instant Now() const = 0;

  // Returns a coarse form of the same wall clock. A Refreshable calls this once
  // and then reads the result often. The default is never certain, which is
  // right for every clock, but makes each read of a token call `Now()`.
  virtual CoarseWallClock CoarseWall() const { return CoarseWallClock(); }
};

// The machine's own clocks: CLOCK_REALTIME and CLOCK_BOOTTIME on Linux (see
// clock_gettime(2)), and on macOS and Windows the nearest clocks that count
// suspended time. On a system without such a clock, time since boot is
// CLOCK_MONOTONIC, which may not count suspended time. Thread-safe. All
// instances tell the same time.
class SystemClock final : public Clock {
 public:
  Instant Now() const override;
  CoarseWallClock CoarseWall() const override {
    return CoarseWallClock::System();
  }

  // Returns an instance that is never destroyed.
  static const SystemClock& Get();
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_CLOCK_H_
