// SPDX-License-Identifier: Apache-2.0
//
// SnapshotCell: the cell that reads go through. A read that gets no token from
// the cell *asks the machine* (RefreshMachine) under the Shell's lock.

#ifndef REFRESHABLE_SHELL_SNAPSHOT_CELL_H_
#define REFRESHABLE_SHELL_SNAPSHOT_CELL_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/hazard/compare_in_memory.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/internal/abi.h"
#include "refreshable/lease.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

// A superseded snapshot, or null. Destroying it may run a token's destructor,
// so it must not be destroyed under a lock.
using Garbage = std::shared_ptr<const void>;

// Returns a node that stands for "no snapshot". It must be recognized by
// `is_nothing`, because each copy of the library may have a node of its own.
inline const HazardNode* Nothing() {
  static const TimedNode* const nothing = new TimedNode(/*nothing=*/true);
  return nothing;
}
// Creates the node when this code is loaded. If its first use created it,
// another thread could call fork() during that use. The initialization would
// then stay unfinished in the child.
inline const HazardNode* const kNothingMadeEarly = Nothing();

inline bool IsNothing(const HazardNode* node) {
  return static_cast<const TimedNode*>(node)->is_nothing;
}

// Holds the snapshot that reads return, and its *check time*. From the check
// time on, a read must ask the machine before it returns the snapshot.
//
// HasNothing and the methods with `Load` in their names may be called on any
// thread. The other methods must be called by one thread at a time. No call may
// overlap with destruction. Memory near the cell should seldom be written to.
class alignas(16) SnapshotCell {
 public:
  // `clock` is the coarse form of a wall clock. Every absl::Time that is passed
  // to the cell must be a time of that wall clock.
  explicit SnapshotCell(CoarseWallClock clock)
      : domain_if_system_(clock.IsSystem() ? &HazardDomain::Current()
                                           : nullptr),
        clock_(clock) {
    domain_.Asymmetric();  // Sets up the domain before the first read.
  }
  ~SnapshotCell() { Retire(domain_, cell_.load(std::memory_order_relaxed)); }

  // Replaces the snapshot, and returns the old snapshot; null if there was
  // none. A null `snapshot.token` leaves the cell without a snapshot. A read
  // that starts after Publish has returned does not get an earlier snapshot.
  // The check time `check_at` is set before the snapshot becomes visible.
  // Otherwise a read could find no check time, ask the machine, and wait for
  // the publisher's lock.
  [[nodiscard]] Garbage Publish(Snapshot snapshot,
                                absl::Time check_at) noexcept {
    const HazardNode* node = Nothing();
    if (snapshot.token != nullptr) {
      node = new SnapshotNode(std::move(snapshot));
      SetCheckAt(node, check_at);
    }
    // (M1) The exchange is sequentially consistent and comes before the hazard
    // domain's scan, which is made when the garbage is destroyed. So the scan
    // sees every read that still holds the old node.
    node = cell_.exchange(node, std::memory_order_seq_cst);
    if (IsNothing(node)) return nullptr;
    return Garbage(static_cast<const void*>(node),
                   [&domain = domain_](const void* superseded) {
                     Retire(domain, static_cast<const HazardNode*>(superseded));
                   });
  }

  // Sets the check time of the snapshot. The infinite past makes every read ask
  // the machine.
  void SetCheckAt(absl::Time check_at) {
    const HazardNode* const node = cell_.load(std::memory_order_relaxed);
    if (!IsNothing(node)) SetCheckAt(node, check_at);
  }

  // Returns a hold of the snapshot. The hold is empty if there is no snapshot,
  // or if the coarse clock does not show that the check time lies ahead.
  HazardHolder Load() const {
    const int64_t ticks = clock_.Ticks();
    HazardHolder hold = domain_.Protect(cell_);
    if (MustAsk(hold.node(), ticks)) return {};
    return hold;
  }

  // Sets the moments, one on each clock, from which `LoadUsable` must not
  // return the present snapshot.
  void SetUsableUntil(absl::Time wall, BootTime boot) {
    const HazardNode* const node = cell_.load(std::memory_order_relaxed);
    if (IsNothing(node)) return;
    const auto* const timed = static_cast<const TimedNode*>(node);
    timed->usable_ticks.store(clock_.TicksBefore(wall),
                              std::memory_order_relaxed);
    timed->usable_boot_ticks.store(CoarseBootClock::TicksBefore(boot),
                                   std::memory_order_relaxed);
  }

  // Does the same as Load, but with the moments set by `SetUsableUntil` in
  // place of the check time. `boot_clock()` returns the coarse boot clock. It
  // is not called if the moment on that clock is the infinite future.
  template <typename Function>
  HazardHolder LoadUsable(Function boot_clock) const {
    HazardHolder hold = domain_.Protect(cell_);
    if (!Usable(hold.node(), boot_clock)) return {};
    return hold;
  }

  // The fast path of LoadUsable. May return a null node even if LoadUsable
  // would return a hold. The caller must construct a HazardHolder from the
  // result.
  template <typename Function>
  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHolder
  TryLoadUsable(Function boot_clock) const {
    if (ABSL_PREDICT_FALSE(!HazardDomain::AtHand(&domain_))) return {};
    const HazardRawHolder hold = HazardDomain::TryProtect(&domain_, cell_);
    if (ABSL_PREDICT_FALSE(hold.node == nullptr)) return {};
    if (ABSL_PREDICT_FALSE(!Usable(hold.node, boot_clock))) {
      const HazardHolder end(hold);
      return {};
    }
    return hold;
  }

  // The fast path of Load, with the same rules as TryLoadUsable. If the clock
  // is the operating system's, usually calls nothing but time(2).
  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHolder TryLoad() const {
    if (ABSL_PREDICT_FALSE(!HazardDomain::AtHand(domain_if_system_))) {
      return TryLoadByOtherClock();
    }
    return TryHold(domain_if_system_, CoarseWallClock::SystemTicks());
  }

  // Does the same as Load if the clock is the operating system's. Otherwise
  // returns an empty hold, because another clock may have been destroyed.
  HazardHolder LoadBySystemClock() const {
    return clock_.IsSystem() ? Load() : HazardHolder();
  }

  // Returns true only if the cell has no snapshot. May return false for a cell
  // that another copy of the library created or emptied.
  bool HasNothing() const {
    return cell_.load(std::memory_order_relaxed) == Nothing();
  }

  // Returns a hold of the snapshot. The hold is empty if there is no snapshot,
  // or if `now` is not before the check time. Both times are rounded down to
  // nanoseconds.
  HazardHolder Load(absl::Time now) const {
    HazardHolder hold = domain_.Protect(cell_);
    const auto* const node = static_cast<const TimedNode*>(hold.node());
    if (FloorToUnixNanos(now) >=
        node->check_nanos.load(std::memory_order_relaxed)) {
      return {};
    }
    return hold;
  }

  // Returns the snapshot. If the cell has none, the result has no token. The
  // caller must hold the lock that Publish is called under.
  Snapshot Current() const {
    const HazardNode* const node = cell_.load(std::memory_order_relaxed);
    if (IsNothing(node)) return {};
    return static_cast<const SnapshotNode*>(node)->snapshot;
  }

  // Returns a hold of the snapshot; empty if there is none. The caller must
  // hold the lock that Publish is called under. Never frees a superseded
  // token, because a token's destructor must not run under the lock.
  HazardHolder Take() const {
    const HazardNode* const node = cell_.load(std::memory_order_acquire);
    if (IsNothing(node)) return {};
    return HazardDomain::Count(node);
  }

 private:
  void SetCheckAt(const HazardNode* node, absl::Time check_at) const {
    const auto* const timed = static_cast<const TimedNode*>(node);
    // Two forms of the check time: `Load(now)` looks at the nanoseconds,
    // `Load()` and `TryLoad` at the ticks.
    timed->check_ticks.store(clock_.TicksBefore(check_at),
                             std::memory_order_relaxed);
    timed->check_nanos.store(FloorToUnixNanos(check_at),
                             std::memory_order_relaxed);
  }

  static void Retire(HazardDomain& domain, const HazardNode* node) {
    if (!IsNothing(node)) domain.Retire(node);
  }

  ABSL_ATTRIBUTE_NOINLINE HazardRawHolder TryLoadByOtherClock() const {
    if (clock_.IsSystem() || !HazardDomain::AtHand(&domain_)) return {};
    return TryHold(&domain_, clock_.OtherTicks());
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHolder TryHold(HazardDomain* domain,
                                                       int64_t ticks) const {
    const HazardRawHolder hold = HazardDomain::TryProtect(domain, cell_);
    if (ABSL_PREDICT_FALSE(hold.node == nullptr)) {
      return TryHoldElsewhere(ticks);
    }
    return UnlessMustAsk(hold, ticks);
  }

  // The linker may bind a call in one copy of the library to this function of
  // another copy. The other copy may have another domain, so the domain is
  // checked again.
  ABSL_ATTRIBUTE_NOINLINE HazardRawHolder
  TryHoldElsewhere(int64_t ticks) const {
    if (ABSL_PREDICT_FALSE(!HazardDomain::AtHand(&domain_))) return {};
    return UnlessMustAsk(HazardDomain::ProtectElsewhere(&domain_, cell_),
                         ticks);
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHolder UnlessMustAsk(
      HazardRawHolder hold, int64_t ticks) {
    if (ABSL_PREDICT_FALSE(MustAsk(hold.node, ticks))) {
      const HazardHolder end(hold);
      return {};
    }
    return hold;
  }

  template <typename Function>
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Usable(const HazardNode* node,
                                           Function boot_clock) const {
    const auto* const timed = static_cast<const TimedNode*>(node);
    constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
    const int64_t until =
        timed->usable_boot_ticks.load(std::memory_order_relaxed);
    // `boot_clock()` must be called before `clock_` is read. The call ends the
    // program if the executor, which owns both clocks, has been destroyed.
    if (until != kNever && boot_clock().Ticks() >= until) return false;
    return timed->usable_ticks.load(std::memory_order_relaxed) == kNever ||
           BelowRelaxed(clock_.Ticks(), timed->usable_ticks);
  }

  static bool MustAsk(const HazardNode* node, int64_t ticks) {
    return !BelowRelaxed(ticks,
                         static_cast<const TimedNode*>(node)->check_ticks);
  }

  // If the clock is the operating system's, a read usually uses only the first
  // two members, which share a cache line.
  HazardCell cell_{Nothing()};
  // `&domain_` if the clock is the operating system's, otherwise null. So one
  // comparison (`AtHand`) tells a read two things: this thread's slots belong
  // to the domain, and the clock is the operating system's.
  HazardDomain* const domain_if_system_;
  const CoarseWallClock clock_;
  // The current domain of the copy of the library that created the cell. Other
  // copies may have other domains, but use this one for the cell.
  HazardDomain& domain_ = HazardDomain::Current();
};

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SNAPSHOT_CELL_H_
