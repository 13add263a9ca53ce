// SPDX-License-Identifier: Apache-2.0
//
// DualDeadline: a deadline on the wall clock and on BootTime.

#ifndef REFRESHABLE_MACHINE_DUAL_DEADLINE_H_
#define REFRESHABLE_MACHINE_DUAL_DEADLINE_H_

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"

namespace refreshable {
namespace internal {

// The deadline is reached when the wall clock reaches `wall` or BootTime
// reaches `boot`, whichever comes first.
struct DualDeadline {
  absl::Time wall = absl::InfiniteFuture();
  BootTime boot = BootTime::InfiniteFuture();

  static DualDeadline After(const Instant& now, absl::Duration delay) {
    return DualDeadline{now.wall + delay, now.boot + delay};
  }
  static DualDeadline At(const Instant& now) {
    return DualDeadline{now.wall, now.boot};
  }

  bool Reached(const Instant& now) const {
    return now.wall >= wall || now.boot >= boot;
  }
  // Returns a negative duration if the deadline was reached earlier.
  absl::Duration Left(const Instant& now) const {
    const absl::Duration by_boot = boot - now.boot, by_wall = wall - now.wall;
    return by_boot < by_wall ? by_boot : by_wall;
  }
  DualDeadline& operator+=(absl::Duration d) {
    wall += d;
    boot += d;
    return *this;
  }
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_DUAL_DEADLINE_H_
