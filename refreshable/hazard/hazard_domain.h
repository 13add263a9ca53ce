// SPDX-License-Identifier: Apache-2.0
//
// HazardDomain: lets a thread hold an object that another thread may replace at
// any time, without writing to memory that threads share.
//
// docs/memory_model.md explains the algorithm and each memory ordering; "(M1)"
// and so on in comments refer to its paragraphs.
//
// A process may have several domains: one for each copy of the library that is
// linked into it, unless the linker makes the copies share one. Each cell,
// record and hold belongs to one domain. Nothing here depends on the copy to
// which the linker binds a symbol: each function that needs a domain's data is
// a virtual method of that domain.

#ifndef REFRESHABLE_HAZARD_HAZARD_DOMAIN_H_
#define REFRESHABLE_HAZARD_HAZARD_DOMAIN_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "refreshable/hazard/compare_in_memory.h"
#include "refreshable/internal/abi.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class HazardDomain;

// An object that can be held. It is created with one reference; the thread that
// replaces it in its cell passes that reference to `Retire`.
class HazardNode {
 public:
  HazardNode() = default;
  HazardNode(const HazardNode&) = delete;
  HazardNode& operator=(const HazardNode&) = delete;

  void Ref() const { references_.fetch_add(1, std::memory_order_relaxed); }
  // (M6) All uses by other owners happen before the last reference is dropped.
  void Unref() const {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const_cast<HazardNode*>(this)->OnUnreferenced();
    }
  }

 protected:
  virtual ~HazardNode() = default;

 private:
  friend class HazardDomain;

  // Frees the object. Called once, under no lock.
  virtual void OnUnreferenced() { delete this; }

  mutable std::atomic<int64_t> references_{1};
  // The next node in one of the domain's lists.
  mutable const HazardNode* next_ = nullptr;
};

// The place where readers find a node; null if there is none.
using HazardCell = std::atomic<const HazardNode*>;

// One announcement that a node is in use.
struct HazardSlot {
  constexpr HazardSlot() : node(nullptr) {}
  constexpr explicit HazardSlot(const void* n, uint32_t w = 0)
      : node(n), waited_for(w) {}

  std::atomic<const void*> node;  // Null if free. Never dereferenced.
  // Zero if clearing this slot must trigger a scan, because a retired node may
  // be held by it. Written only by scans. Where scans use no heavy barrier it
  // stays zero, and `waited_for` decides.
  std::atomic<uint32_t> no_scan_on_release{0};
  std::atomic<uint32_t> waited_for{0};
};

// The slots of one thread, in two cache lines of their own. Another thread
// writes to these only in a scan, or to clear a slot whose hold was moved to
// that thread. A record is never freed. Another thread may take it over once
// its own thread has ended and the slots are clear.
struct alignas(128) HazardRecord {
  static constexpr int kSlots = 6;

  constexpr HazardRecord() = default;
  // A record whose first slot is never free.
  constexpr HazardRecord(HazardDomain* d, const void* first)
      : domain(d), slots{HazardSlot(first)} {}

  // Returns the record that contains the slot.
  static HazardRecord& Of(HazardSlot* slot) {
    return *reinterpret_cast<HazardRecord*>(reinterpret_cast<uintptr_t>(slot) &
                                            ~uintptr_t{127});
  }

  HazardDomain* domain = nullptr;
  HazardSlot slots[kSlots];
  HazardSlot transient;  // Held only while a node is being counted.
};
static_assert(sizeof(HazardRecord) == 128, "a record is two cache lines");

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// The record that this thread reads with. If the thread has none (before its
// first hold, after its end, and on a system without membarrier(2) or an
// equivalent), this is a record whose first slot is never free, so that reads
// need no check.
//
// It is `__thread` rather than `thread_local` so that access is a plain load,
// whichever file defines the variable. It is not inline, because an inline
// variable might exist twice: GCC makes one that is unique in the process for
// shared objects, but a hidden one, distinct from the library's, for a program
// that is compiled with -fvisibility=hidden.
#ifdef __GNUC__
extern __thread HazardRecord* this_threads_record;
#else
extern thread_local HazardRecord* this_threads_record;
#endif
#endif

// The number of records whose slots any thread may take by compare-and-swap.
constexpr int kSharedRecords = 64;

// Returns the index of a shared record. It is picked by the address of the
// thread's stack, so that most threads use different records.
inline size_t PreferredSharedRecord() {
  const char local = 0;
  const auto address = reinterpret_cast<uintptr_t>(&local);
  return static_cast<size_t>(
      (static_cast<uint64_t>(address >> 16) * 0x9E3779B97F4A7C15u) >> 58);
}
static_assert(kSharedRecords == 1 << (64 - 58), "the hash fits the table");

// The raw parts of a HazardHolder. The receiver must construct a HazardHolder
// from it. It has no destructor, so that compilers keep it in registers.
struct HazardRawHolder {
  const HazardNode* node = nullptr;
  HazardSlot* slot = nullptr;
};

// Keeps a node alive; may hold nothing. May be moved to another thread and
// outlive the one that made it.
class HazardHolder {
 public:
  HazardHolder() = default;
  explicit HazardHolder(HazardRawHolder raw) : node_(raw.node) {
    KeepStoresApart();
    slot_ = raw.slot;
  }
  HazardHolder(HazardHolder&& other) noexcept
      : node_(std::exchange(other.node_, nullptr)) {
    KeepStoresApart();
    slot_ = other.slot_;
  }
  HazardHolder& operator=(HazardHolder&& other) noexcept {
    HazardHolder old(std::move(*this));
    node_ = std::exchange(other.node_, nullptr);
    slot_ = other.slot_;
    return *this;
  }
  ~HazardHolder() {
    if (node_ != nullptr) Release();
  }

  const HazardNode* node() const { return node_; }

 private:
  friend class HazardDomain;

  // Keeps the compiler from storing both members with one vector instruction
  // (GCC 12 would). The loads of the members that follow soon would wait for
  // that store.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static void KeepStoresApart() {
#ifdef __GNUC__
    __asm__ volatile("");
#endif
  }

  inline void Release();

  const HazardNode* node_ = nullptr;
  HazardSlot* slot_ = nullptr;
};

// The slots of all threads, and the retired nodes that slots still hold. Never
// destroyed: a domain can be used before and after main, by any thread, and in
// a child of fork(); in a shared object, until that is unloaded. Thread-safe.
// Reads never wait. User code never runs while another thread could be waiting
// for it. If memory runs out, the program ends.
class HazardDomain {
 public:
  HazardDomain(const HazardDomain&) = delete;
  HazardDomain& operator=(const HazardDomain&) = delete;

  // Returns the domain for new cells. Two calls in different copies of the
  // library may return different domains, so use the domain that a cell was
  // created for.
  static HazardDomain& Current() {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return CurrentWithoutThreadLocal();
#else
    return *this_threads_record->domain;
#endif
  }

  // Returns a hold of the node that `cell` contains at some moment during the
  // call; an empty hold if that is null. Lock-free; wait-free while the cell
  // does not change.
  HazardHolder Protect(const HazardCell& cell) {
    return HazardHolder(RawProtect(cell));
  }

  // Whether TryProtect may be called for a cell of `domain`. False if `domain`
  // is null or belongs to another copy of the library.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool AtHand(const HazardDomain* domain) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain != nullptr;
#else
    return this_threads_record->domain == domain;
#endif
  }

  // Fast path of `domain->Protect(cell)`. May fail spuriously (null node).
  // Wait-free. Makes no function call where there is a thread_local. Requires
  // `AtHand(domain)`, and that the cell never contains null. The caller must
  // construct a HazardHolder from the result.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHolder TryProtect(
      HazardDomain* domain, const HazardCell& cell) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain->TryProtectShared(cell);
#else
    static_cast<void>(domain);
    HazardSlot* const slot = this_threads_record->slots;
    // (M4) If another thread cleared the slot, its use happens before ours.
    if (ABSL_PREDICT_FALSE(!IsZeroAcquire(slot->node))) return {};
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    // (M2) Announce the node, then look at the cell again. A compiler barrier
    // suffices in between, because scans make a heavy barrier. The store
    // releases for (M4); the second look acquires what was published.
    slot->node.store(node, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (ABSL_PREDICT_FALSE(!EqualsAcquire(cell, node))) {
      ClearAndLook(slot);
      return {};
    }
    ABSL_ASSUME(node != nullptr);
    return {node, slot};
#endif
  }

  // Returns a hold of `node` that is a counted reference. `node` may be null,
  // and must not be retired during the call.
  virtual HazardHolder Count(const HazardNode* node) = 0;

  // Drops `node`'s first reference as soon as no slot holds it: in this call,
  // or on the thread that ends the last hold. Requires that no cell contains
  // the node. May free this node and others, and so run their destructors. (M5)
  // If another thread is scanning, leaves the work to it, unless that thread
  // has been left kMostHandedOver nodes already; then waits for the scan.
  virtual void Retire(const HazardNode* node) noexcept = 0;

  // Frees retired nodes that no slot holds. If another thread is already
  // scanning, leaves the work to it. Never waits.
  virtual void Reclaim() noexcept = 0;

  // Like TryProtect, but uses a slot that all threads share and that is taken
  // by compare-and-swap. TryProtect calls this if there is no thread_local.
  HazardRawHolder TryProtectShared(const HazardCell& cell) {
    HazardSlot* const slot = shared_records_[PreferredSharedRecord()].slots;
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    const void* none = nullptr;
    // (M2) This and the next load are both sequentially consistent, as are the
    // replacement in the cell and the scan's look at the slot.
    if (ABSL_PREDICT_FALSE(
            !shared_slots_are_used_.load(std::memory_order_acquire)) ||
        ABSL_PREDICT_FALSE(!slot->node.compare_exchange_strong(
            none, node, std::memory_order_seq_cst,
            std::memory_order_relaxed))) {
      return ProtectShared(cell);
    }
    if (ABSL_PREDICT_FALSE(cell.load(std::memory_order_seq_cst) != node)) {
      ClearAndLook(slot);
      return ProtectShared(cell);
    }
    ABSL_ASSUME(node != nullptr);
    return {node, slot};
  }

  // Whether scans use a heavy barrier and reads use none.
  virtual bool Asymmetric() = 0;

  // How many nodes a thread that is scanning accepts from threads that retire
  // them meanwhile.
  static constexpr int kMostHandedOver = 8;

  // ---- For tests ----

  struct Counts {
    int records = 0;        // Threads' records that exist.
    int owned = 0;          // Those of them that a thread owns.
    int held = 0;           // Slots that are in use.
    int retained = 0;       // Retired nodes that are still held.
    int most_incoming = 0;  // The most nodes that one scan took at a time.
  };
  // Returns numbers that are exact while no other thread is in the domain.
  virtual Counts CountForTesting() = 0;

  // Makes the domain behave as on a platform without membarrier(2). Must be
  // called before any other use of the domain.
  virtual void ForceSymmetricForTesting() = 0;
  // If `barrier` is not null, scans call it in place of the heavy barrier (in
  // symmetric mode, at the place where that would be). Without the barrier the
  // domain is incorrect, which a test must be able to show.
  virtual void ReplaceHeavyBarrierForTesting(void (*barrier)()) = 0;

 protected:
  constexpr HazardDomain() {
    for (HazardRecord& record : shared_records_) record.domain = this;
  }
  ~HazardDomain() = default;

  // Clears a slot after a failed Protect, and reclaims, because a scan may have
  // taken the slot for a hold.
  ABSL_ATTRIBUTE_NOINLINE static void ClearAndLook(HazardSlot* slot);

  // Protect in a shared slot.
  virtual HazardRawHolder ProtectShared(const HazardCell& cell) = 0;

  static const HazardNode*& NextOf(const HazardNode* node) {
    return node->next_;
  }

  // Set before the first use of a shared slot, and never reset. Until it is
  // set, scans skip shared slots.
  std::atomic<bool> shared_slots_are_used_{false};
  HazardRecord shared_records_[kSharedRecords];

 private:
  friend class HazardHolder;

  static HazardDomain& CurrentWithoutThreadLocal();
  virtual HazardRawHolder RawProtect(const HazardCell& cell) noexcept = 0;
  // The rest of a release, if `no_scan_on_release` is zero.
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseSlow(const HazardNode* node,
                                                  HazardSlot* slot);
  virtual void Released(HazardSlot& slot) = 0;
};

inline void HazardHolder::Release() {
  // (M3) Clear the slot, then check whether a retired node waits for it. The
  // release orders all uses of the node before the clearing.
  slot_->node.store(nullptr, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (ABSL_PREDICT_FALSE(IsZeroRelaxed(slot_->no_scan_on_release))) {
    HazardDomain::ReleaseSlow(node_, slot_);
  }
}

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_HAZARD_HAZARD_DOMAIN_H_
