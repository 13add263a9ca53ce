// SPDX-License-Identifier: Apache-2.0
//
// Clock: the wall time and the BootTime, read together.

#ifndef REFRESHABLE_EXECUTORS_CLOCK_H_
#define REFRESHABLE_EXECUTORS_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <ctime>
#include <iosfwd>

#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// A moment on a clock that never steps and that keeps counting while the
// computer is suspended. This library measures every interval, timeout,
// deadline and cooldown on such a clock. BootTime is a value type like
// absl::Time.
//
// The default value is the clock's origin. Each clock has an origin of its own,
// so only moments of the same clock may be compared or subtracted.
class BootTime {
 public:
  // A clock that has counted `d` since its origin returns `BootTime() + d`.
  constexpr BootTime() = default;

  // `InfinitePast` is before all other moments, and `InfiniteFuture` is after
  // them. As with absl::Time, adding or subtracting a duration does not change
  // these two moments. Their distance from every finite moment is infinite.
  static constexpr BootTime InfinitePast() {
    return BootTime(-absl::InfiniteDuration());
  }
  static constexpr BootTime InfiniteFuture() {
    return BootTime(absl::InfiniteDuration());
  }

  BootTime& operator+=(absl::Duration d) {
    since_origin_ += d;
    return *this;
  }
  BootTime& operator-=(absl::Duration d) {
    since_origin_ -= d;
    return *this;
  }
  friend BootTime operator+(BootTime t, absl::Duration d) { return t += d; }
  friend BootTime operator+(absl::Duration d, BootTime t) { return t += d; }
  friend BootTime operator-(BootTime t, absl::Duration d) { return t -= d; }
  friend absl::Duration operator-(BootTime a, BootTime b) {
    return a.since_origin_ - b.since_origin_;
  }

  friend constexpr bool operator<(BootTime a, BootTime b) {
    return a.since_origin_ < b.since_origin_;
  }
  friend constexpr bool operator>(BootTime a, BootTime b) { return b < a; }
  friend constexpr bool operator<=(BootTime a, BootTime b) { return !(b < a); }
  friend constexpr bool operator>=(BootTime a, BootTime b) { return !(a < b); }
  friend constexpr bool operator==(BootTime a, BootTime b) {
    return a.since_origin_ == b.since_origin_;
  }
  friend constexpr bool operator!=(BootTime a, BootTime b) { return !(a == b); }

  // Prints the time since the origin, such as "1h0m2.5s", "inf" or "-inf".
  friend std::ostream& operator<<(std::ostream& os, BootTime t);

 private:
  explicit constexpr BootTime(absl::Duration since_origin)
      : since_origin_(since_origin) {}

  absl::Duration since_origin_;
};

// One moment, read on two clocks: the wall clock, which may step in either
// direction, and the clock of BootTime, which never steps.
struct Instant {
  absl::Time wall;
  BootTime boot;

  friend bool operator==(const Instant& a, const Instant& b) {
    return a.wall == b.wall && a.boot == b.boot;
  }
  friend bool operator!=(const Instant& a, const Instant& b) {
    return !(a == b);
  }
};

// A wall clock that costs next to nothing to read. It answers one question: is
// it certain that a given moment has not come yet? Its ticks may lag behind the
// wall clock, and `TicksBefore` allows for the lag. A thread-safe value type.
// An object must not be read after the Clock that it came from has been
// destroyed.
class CoarseWallClock {
 public:
  // Creates a clock whose answer is always "not certain".
  CoarseWallClock() : CoarseWallClock(&kUnknown) {}
  // Returns the operating system's clock, time(2). Its answer is "certain"
  // until about 1 to 2 s before the moment, and "not certain" from then on.
  static CoarseWallClock System() { return CoarseWallClock(nullptr); }
  // Returns an exact clock that reads its wall time from `*unix_nanos`, in
  // nanoseconds since 1970, rounded down. `unix_nanos` is not owned.
  static CoarseWallClock Exact(const std::atomic<int64_t>* unix_nanos) {
    return CoarseWallClock(unix_nanos);
  }

  // If `Ticks() < TicksBefore(t)`, the present moment is certainly before `t`.
  // The unit of ticks depends on the clock.
  int64_t Ticks() const { return IsSystem() ? SystemTicks() : OtherTicks(); }
  int64_t TicksBefore(absl::Time t) const;

  // `Ticks()` calls `SystemTicks()` if `IsSystem()` is true, and `OtherTicks()`
  // if it is false. A caller that knows the result of `IsSystem()` may call the
  // matching function itself.
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

  static const std::atomic<int64_t> kUnknown;  // The largest int64_t.

  const std::atomic<int64_t>* source_;  // Null if the clock is time(2).
};

// Like a CoarseWallClock, but for BootTime. It costs less to read than
// `Clock::Now`. A thread-safe value type. An object must not be read after the
// Clock that it came from has been destroyed.
class CoarseBootClock {
 public:
  // Creates a clock whose answer is always "not certain".
  CoarseBootClock() : CoarseBootClock(&kUnknown) {}
  // Returns the operating system's clock of BootTime (see SystemClock). This
  // clock is exact.
  static CoarseBootClock System() { return CoarseBootClock(nullptr); }
  // Returns an exact clock that reads its BootTime from `*nanos`, in
  // nanoseconds since the clock's origin, rounded down. `nanos` is not owned.
  static CoarseBootClock Exact(const std::atomic<int64_t>* nanos) {
    return CoarseBootClock(nanos);
  }

  // If `Ticks() < TicksBefore(t)`, the present moment is certainly before `t`.
  int64_t Ticks() const {
    return source_ == nullptr ? SystemTicks()
                              : source_->load(std::memory_order_relaxed);
  }
  static int64_t TicksBefore(BootTime t);

 private:
  explicit CoarseBootClock(const std::atomic<int64_t>* source)
      : source_(source) {}
  static int64_t SystemTicks();

  static const std::atomic<int64_t> kUnknown;  // The largest int64_t.

  // Null if the clock is the operating system's.
  const std::atomic<int64_t>* source_;
};

// Returns `t` in nanoseconds since 1970, rounded down. A time too late for an
// int64_t becomes the largest int64_t. A time too early becomes the smallest
// int64_t plus one. Only the infinite past becomes the smallest int64_t.
int64_t FloorToUnixNanos(absl::Time t);

// A source of time. An executor's timers, and each Refreshable on the executor,
// follow the executor's own clock (`Executor::clock()`). So real time never
// mixes with virtual timers.
//
// Implementations must be thread-safe and must not throw. `Now()` and
// `CoarseBoot()` are called often, from any thread, and under locks of the
// caller. So they must not wait, even indirectly, for a task to run. Nor may
// they call back into the code that calls them.
class Clock {
 public:
  virtual ~Clock() = default;

  // Returns the present moment. `boot` never decreases.
  virtual Instant Now() const = 0;

  // Returns a coarse form of the wall clock that `Now()` reads. A Refreshable
  // calls this once and then reads the result often. The default, a clock that
  // is never certain, is correct for every Clock. But each read of a token then
  // calls `Now()`.
  virtual CoarseWallClock CoarseWall() const { return CoarseWallClock(); }

  // Returns a cheaper form of the clock that `Instant::boot` is read from. A
  // Refreshable calls this often. The default, a clock that is never certain,
  // is correct for every Clock. But each TryGet, and each read that fails
  // between two attempts, then calls `Now()` under a lock.
  virtual CoarseBootClock CoarseBoot() const { return CoarseBootClock(); }
};

// The operating system's clocks: CLOCK_REALTIME and CLOCK_BOOTTIME on Linux,
// and on macOS and Windows the nearest clocks that count suspended time. On a
// system without such a clock, BootTime follows CLOCK_MONOTONIC, which may not
// count suspended time. Thread-safe. All instances tell the same time.
class SystemClock final : public Clock {
 public:
  Instant Now() const override;
  CoarseWallClock CoarseWall() const override {
    return CoarseWallClock::System();
  }
  CoarseBootClock CoarseBoot() const override {
    return CoarseBootClock::System();
  }

  // Returns an instance that is never destroyed.
  static const SystemClock& Get();
};

}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_CLOCK_H_
