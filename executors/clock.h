// SPDX-License-Identifier: Apache-2.0
//
// Clock: wall time and time since boot, read together.

#ifndef EXECUTORS_CLOCK_H_
#define EXECUTORS_CLOCK_H_

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
};

// The machine's own clocks. On Linux CLOCK_REALTIME and CLOCK_BOOTTIME (see
// clock_gettime(2)); elsewhere the nearest clock that counts suspended time.
// Thread-safe; every instance tells the same time.
class SystemClock final : public Clock {
 public:
  Instant Now() const override;

  // An instance that is never destroyed.
  static const SystemClock& Get();
};

}  // namespace refreshable

#endif  // EXECUTORS_CLOCK_H_
