// SPDX-License-Identifier: Apache-2.0
//
// Published: the cell that reads go through.

#ifndef REFRESHABLE_INTERNAL_PUBLISHED_H_
#define REFRESHABLE_INTERNAL_PUBLISHED_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/internal/compare_in_memory.h"
#include "refreshable/internal/hazard_domain.h"
#include "refreshable/lease.h"

namespace refreshable {
namespace internal {

// Something that was superseded. Destroying it may run a token's destructor:
// not under a lock.
using Garbage = std::shared_ptr<const void>;

// In a cell that has no snapshot: always time to ask.
inline const HazardNode* None() {
  static const TimedNode* const none = new TimedNode;
  return none;
}
// Before main, and not only at the first use: a child of a fork in that very
// moment would wait for it for ever.
inline const HazardNode* const none_is_made_early = None();

// Holds the snapshot that reads hand out, and the first moment of the wall
// clock at which a read must ask the machine instead.
//
// Load is for any thread. The others are for one thread at a time, and so is
// destruction, which no Load may overlap. Cache lines of its own:
// what stands beside it is written to while others read.
template <typename Token>
class alignas(64) Published {
 public:
  // `clock` is the coarse form of the clock that `Load` and `SetCheckAt` are
  // given the time of.
  explicit Published(CoarseWallClock clock)
      : system_cell_(clock.IsSystem() ? None() : nullptr),
        other_cell_(clock.IsSystem() ? nullptr : None()),
        clock_(clock) {
    HazardDomain::Asymmetric();  // Ready for a fork before anybody reads.
  }
  ~Published() { Retire(cell().load(std::memory_order_relaxed)); }

  // Replaces the snapshot; null token: there is none. Reads that start after
  // this returns do not get an earlier one. Until SetCheckAt says otherwise,
  // reads ask the machine.
  [[nodiscard]] Garbage Publish(Snapshot<Token> snapshot) noexcept {
    const HazardNode* node = None();
    if (snapshot.token != nullptr) node = new Node(std::move(snapshot));
    // (M1) Sequentially consistent: a read that holds the old node must have
    // announced it to the scan, which comes with the garbage's end.
    node = cell().exchange(node, std::memory_order_seq_cst);
    if (node == None()) return nullptr;
    return Garbage(static_cast<const void*>(node), [](const void* superseded) {
      Retire(static_cast<const HazardNode*>(superseded));
    });
  }

  // Of the present snapshot. Later than the infinite past.
  void SetCheckAt(absl::Time check_at) {
    const HazardNode* const held = cell().load(std::memory_order_relaxed);
    if (held == None()) return;
    const auto* const node = static_cast<const TimedNode*>(held);
    // Each alone is a bound; a read looks at one of them.
    const int64_t nanos = FloorToUnixNanos(check_at);
    node->check_ticks.store(clock_.TicksBefore(check_at),
                            std::memory_order_relaxed);
    node->check_nanos.store(nanos > kAskAlways ? nanos : kAskAlways,
                            std::memory_order_relaxed);
  }

  // The snapshot, if there is one and the coarse clock is certain that it is
  // before the time to ask.
  std::optional<Lease<Token>> Load() const {
    const int64_t ticks = clock_.Ticks();
    HazardHold hold = HazardDomain::Protect(cell());
    if (MustAsk(hold.node(), ticks)) return std::nullopt;
    return Lease<Token>(std::move(hold));
  }

  // As Load, but may come back without one (no node): what can be done without
  // a call, and where the clock is not the machine's with one. To be made a
  // Lease of. The cell comes before the clock: it says which clock there is.
  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHold TryLoad() const {
    const HazardNode* const node = system_cell_.load(std::memory_order_relaxed);
    if (ABSL_PREDICT_FALSE(node == nullptr)) return TryLoadByOtherClock();
    return TryHold(system_cell_, node, CoarseWallClock::SystemTicks());
  }

  // The snapshot, if there is one and `now` is before the time to ask.
  std::optional<Lease<Token>> Load(absl::Time now) const {
    HazardHold hold = HazardDomain::Protect(cell());
    const auto* const node = static_cast<const TimedNode*>(hold.node());
    if (FloorToUnixNanos(now) >=
        node->check_nanos.load(std::memory_order_relaxed)) {
      return std::nullopt;
    }
    return Lease<Token>(std::move(hold));
  }

  // The snapshot, if there is one. Not while Publish may be called: the caller
  // holds the lock that Publish is called under. Frees nothing (a read's look
  // for what it should free may not happen under that lock).
  std::optional<Lease<Token>> Take() const {
    const HazardNode* const node = cell().load(std::memory_order_acquire);
    if (node == None()) return std::nullopt;
    return Lease<Token>(HazardDomain::Count(node));
  }

 private:
  using Node = SnapshotNode<Token>;

  static void Retire(const HazardNode* node) {
    if (node != None()) HazardDomain::Retire(node);
  }

  ABSL_ATTRIBUTE_NOINLINE HazardRawHold TryLoadByOtherClock() const {
    return TryHold(other_cell_, other_cell_.load(std::memory_order_relaxed),
                   clock_.OtherTicks());
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHold TryHold(
      const HazardCell& cell, const HazardNode* node, int64_t ticks) {
    const HazardRawHold hold = HazardDomain::TryProtect(cell, node);
    if (ABSL_PREDICT_FALSE(hold.node == nullptr)) return {};
    if (ABSL_PREDICT_FALSE(MustAsk(hold.node, ticks))) {
      const HazardHold end(hold);
      return {};
    }
    return hold;
  }

  static bool MustAsk(const HazardNode* node, int64_t ticks) {
    return !BelowRelaxed(ticks,
                         static_cast<const TimedNode*>(node)->check_ticks);
  }

  static constexpr int64_t kAskAlways = kNeverWithoutAsking;

  HazardCell& cell() { return clock_.IsSystem() ? system_cell_ : other_cell_; }
  const HazardCell& cell() const {
    return clock_.IsSystem() ? system_cell_ : other_cell_;
  }

  // One of them is in use, the other one has null for ever: so a read need not
  // ask which clock there is.
  HazardCell system_cell_;
  HazardCell other_cell_;
  const CoarseWallClock clock_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_PUBLISHED_H_
