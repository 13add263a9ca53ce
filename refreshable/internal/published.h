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
#include "refreshable/internal/abi.h"
#include "refreshable/internal/compare_in_memory.h"
#include "refreshable/internal/hazard_domain.h"
#include "refreshable/lease.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

// Something that was superseded. Destroying it may run a token's destructor:
// not under a lock.
using Garbage = std::shared_ptr<const void>;

// In a cell that has no snapshot: always time to ask. Told by what it says of
// itself and not by its address: another copy of the library has another one.
inline const HazardNode* Nothing() {
  static const TimedNode* const nothing = new TimedNode(/*is_nothing=*/true);
  return nothing;
}
// Before main, and not only at the first use: a child of a fork in that very
// moment would wait for it for ever.
inline const HazardNode* const nothing_is_made_early = Nothing();

inline bool IsNothing(const HazardNode* node) {
  return static_cast<const TimedNode*>(node)->is_nothing;
}

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
  explicit Published(CoarseWallClock clock) : clock_(clock) {
    domain_.Asymmetric();  // Ready for a fork before anybody reads.
  }
  ~Published() { Retire(domain_, cell_.load(std::memory_order_relaxed)); }

  // Replaces the snapshot; null token: there is none. Reads that start after
  // this returns do not get an earlier one. Until SetCheckAt says otherwise,
  // reads ask the machine.
  [[nodiscard]] Garbage Publish(Snapshot<Token> snapshot) noexcept {
    const HazardNode* node = Nothing();
    if (snapshot.token != nullptr) node = new Node(std::move(snapshot));
    // (M1) Sequentially consistent: a read that holds the old node must have
    // announced it to the scan, which comes with the garbage's end.
    node = cell_.exchange(node, std::memory_order_seq_cst);
    if (IsNothing(node)) return nullptr;
    return Garbage(static_cast<const void*>(node),
                   [&domain = domain_](const void* superseded) {
                     Retire(domain, static_cast<const HazardNode*>(superseded));
                   });
  }

  // Of the present snapshot. Later than the infinite past.
  void SetCheckAt(absl::Time check_at) {
    const HazardNode* const held = cell_.load(std::memory_order_relaxed);
    if (IsNothing(held)) return;
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
    HazardHold hold = domain_.Protect(cell_);
    if (MustAsk(hold.node(), ticks)) return std::nullopt;
    return Lease<Token>(std::move(hold));
  }

  // As Load, but may come back without one (no node): what can be done without
  // a call, or with one if the clock is not the machine's. To be made a Lease
  // of.
  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHold TryLoad() const {
    if (ABSL_PREDICT_FALSE(!HazardDomain::AtHand(domain_if_system_))) {
      return TryLoadByOtherClock();
    }
    return TryHold(domain_if_system_, CoarseWallClock::SystemTicks());
  }

  // The snapshot, if there is one and `now` is before the time to ask.
  std::optional<Lease<Token>> Load(absl::Time now) const {
    HazardHold hold = domain_.Protect(cell_);
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
    const HazardNode* const node = cell_.load(std::memory_order_acquire);
    if (IsNothing(node)) return std::nullopt;
    return Lease<Token>(domain_.Count(node));
  }

 private:
  using Node = SnapshotNode<Token>;

  static void Retire(HazardDomain& domain, const HazardNode* node) {
    if (!IsNothing(node)) domain.Retire(node);
  }

  ABSL_ATTRIBUTE_NOINLINE HazardRawHold TryLoadByOtherClock() const {
    if (clock_.IsSystem() || !HazardDomain::AtHand(&domain_)) return {};
    return TryHold(&domain_, clock_.OtherTicks());
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE HazardRawHold TryHold(HazardDomain* domain,
                                                     int64_t ticks) const {
    const HazardRawHold hold = HazardDomain::TryProtect(domain, cell_);
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

  HazardCell cell_{Nothing()};
  const CoarseWallClock clock_;
  // What is done about the cell is done by this one, whatever copy of the
  // library does it.
  HazardDomain& domain_ = HazardDomain::Current();
  // Null if the clock is another one: so a read need not ask which there is.
  HazardDomain* const domain_if_system_ =
      clock_.IsSystem() ? &domain_ : nullptr;
};

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_PUBLISHED_H_
