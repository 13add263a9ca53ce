// SPDX-License-Identifier: Apache-2.0
//
// HazardDomain lets a thread keep using an object that another thread may
// replace. Usually, a reader writes to no memory that other readers touch.
//
// docs/memory_model.md explains the algorithm; "(M1)" and so on in comments
// refer to its paragraphs.
//
// A *node* is an object that can be held, and a *cell* is the place where
// readers find it. A *read* takes a *hold* of a node: it announces the node in
// a *slot*. The release of the hold clears the slot. A thread's *record*
// contains the thread's first slots. A *shared record* contains slots that any
// thread may take. A thread that has replaced a node in a cell *retires* that
// node. A *scan* finds the retired nodes that no slot announces, so that they
// can be freed.
//
// A *heavy barrier* makes every thread of the process execute a full barrier,
// by membarrier(2). If the system has no membarrier(2) at the first use of a
// domain, the domain is in *symmetric mode*: its reads and releases use
// read-modify-writes instead.
//
// A process may have several domains: one for each copy of the library that is
// linked into it. Each cell and each record belongs to one domain. All code
// reaches the data of a domain through a pointer, because the linker may bind a
// symbol to any of the copies.

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

// The place where a hold announces its node.
struct HazardSlot {
  // The value of `waited_for` in each node's slot `HazardNode::counted_`. A
  // hold in that slot is a *counted reference*: it owns one of the node's
  // references.
  static constexpr uint32_t kCounted = 2;

  constexpr explicit HazardSlot(const void* n = nullptr, uint32_t w = 0)
      : node(n), waited_for(w) {}

  // The node that is in use; null if the slot is free. Never dereferenced.
  std::atomic<const void*> node;
  // 0 if a release must call ReleaseSlow: a retired node may be waiting for the
  // slot, or the hold is a counted reference. Always 0 in symmetric mode.
  // Written only by a thread that scans or forks.
  std::atomic<uint32_t> no_scan_on_release{0};
  // In symmetric mode, 1 if clearing the slot must trigger a scan.
  //
  // In asymmetric mode, a scan sets this to 1 if it found a retired node in
  // this slot, and otherwise to 0. A fork sets this to 0. So does each release
  // from a slot in a ring (M8).
  std::atomic<uint32_t> waited_for;
};

// A slot that belongs to a domain, and exists as long as the domain does.
struct alignas(32) DomainSlot : HazardSlot {
  constexpr explicit DomainSlot(HazardDomain* d = nullptr,
                                const void* n = nullptr)
      : HazardSlot(n), domain(d) {}

  HazardDomain* domain;
  // The next slot in the thread's ring (see SlotRing). Null if this slot is in
  // no ring.
  std::atomic<DomainSlot*> next{nullptr};
};
static_assert(sizeof(DomainSlot) == 32, "four slots fill two cache lines");

// An object that can be held. A new node has one reference, which belongs to
// its cell. The thread that replaces the node passes that reference to
// `HazardDomain::Retire`.
class HazardNode {
 public:
  HazardNode() = default;
  HazardNode(const HazardNode&) = delete;
  HazardNode& operator=(const HazardNode&) = delete;

  void Ref() const { references_.fetch_add(1, std::memory_order_relaxed); }
  // Calls OnUnreferenced if this was the last reference. (M6) All uses of the
  // node through other references happen before that call.
  void Unref() const {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const_cast<HazardNode*>(this)->OnUnreferenced();
    }
  }

 protected:
  virtual ~HazardNode() = default;

 private:
  friend class HazardDomain;

  // Frees the object. Called once, with no lock of the library held.
  virtual void OnUnreferenced() { delete this; }

  // The slot of all holds that are counted references of this node.
  mutable HazardSlot counted_{nullptr, HazardSlot::kCounted};
  // The next node in whichever list of the domain contains this node.
  mutable const HazardNode* next_ = nullptr;
  // 32 bits suffice: 2^32 holds would take 64 GiB. This is the last member so
  // that a derived class's first member can follow without a gap.
  mutable std::atomic<uint32_t> references_{1};
};

// The place where readers find a node; null if there is none.
using HazardCell = std::atomic<const HazardNode*>;

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// The slots of a thread, which form a ring. Another thread writes to these
// slots only if it scans, forks, or releases a hold that was moved to it.
//
// The next hold takes the slot that the thread took last, if that slot is free
// again. Otherwise the thread goes on round the ring to the next free slot. One
// tour of the ring is a *lap*. If a lap finds more than half of the slots in
// use, the thread adds slots.
struct SlotRing {
  // The slot that the next hold tries first. If the thread has no slots, this
  // is a slot that is never free. So reads need not check whether the thread
  // has slots.
  DomainSlot* slot;
  uint32_t size;
  uint32_t ahead;  // Slots that this lap has not reached yet.
  uint32_t busy;   // Slots that this lap has found in use.
};

// The ring of the calling thread. The variable is `__thread` so that no access
// calls an initialisation function. It is not inline. If it were, a program
// that GCC compiles with -fvisibility=hidden would not share the variable with
// a shared library.
#ifdef __GNUC__
extern __thread SlotRing this_threads_ring;
#else
extern thread_local SlotRing this_threads_ring;
#endif
#endif

// Slots that any thread may take by compare-and-swap.
struct alignas(128) SharedRecord {
  DomainSlot slots[3];
  // A read takes this slot only if the `slots` of all shared records are in
  // use. It clears the slot as soon as it has made a counted reference.
  DomainSlot transient;
};

constexpr int kSharedRecords = 64;

// The index of the shared record that this thread tries first. It depends on
// the address of the stack, so that threads tend to begin with different
// records.
inline size_t PreferredSharedRecord() {
  const char local = 0;
  const auto address = reinterpret_cast<uintptr_t>(&local);
  return static_cast<size_t>(
      (static_cast<uint64_t>(address >> 16) * 0x9E3779B97F4A7C15u) >> 58);
}
static_assert(kSharedRecords == 1 << (64 - 58), "the hash fits the table");

// The members of a hold; `node` is null if there is no hold. There is no
// destructor, so that compilers keep this struct in registers. The receiver
// must construct a HazardHolder, which releases the hold.
struct HazardRawHolder {
  const HazardNode* node = nullptr;
  HazardSlot* slot = nullptr;
};

// A hold, which keeps its node alive, or an empty hold. A hold may be moved to
// another thread, and may outlive the thread that made it.
class HazardHolder {
 public:
  HazardHolder() = default;
  explicit HazardHolder(HazardRawHolder raw) : node_(raw.node) {
    slot_ = Apart(raw.slot);
  }
  HazardHolder(HazardHolder&& other) noexcept
      : node_(std::exchange(other.node_, nullptr)) {
    slot_ = Apart(other.slot_);
  }
  HazardHolder& operator=(HazardHolder&& other) noexcept {
    HazardHolder old(std::move(*this));
    node_ = std::exchange(other.node_, nullptr);
    slot_ = Apart(other.slot_);
    return *this;
  }
  ~HazardHolder() {
    if (node_ != nullptr) Release();
  }

  const HazardNode* node() const { return node_; }

 private:
  friend class HazardDomain;

  inline void Release();

  // Keeps GCC from accessing `node_` and `slot_` with one vector instruction,
  // as GCC 12 would. Such a load is slow if the two members were stored
  // separately just before.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardSlot* Apart(HazardSlot* slot) {
#ifdef __GNUC__
    __asm__ volatile("" : "+r"(slot));
#endif
    return slot;
  }

  const HazardNode* node_ = nullptr;
  HazardSlot* slot_ = nullptr;
};

// The slots, and the retired nodes that have not been freed yet. Thread-safe.
// Reads wait for no scan. No function of this class waits for a node's
// destructor that another thread runs.
//
// A domain can be used before and after main, by any thread, and in the child
// of a fork(). The domain of a shared object exists until the object is
// unloaded. If there is no memory for a scan, the program ends. If there is no
// memory for a thread's slots, the thread takes shared slots.
class HazardDomain {
 public:
  HazardDomain(const HazardDomain&) = delete;
  HazardDomain& operator=(const HazardDomain&) = delete;

  // Returns the domain for new cells. Copies of the library may return
  // different domains, so a cell must always be used with its own domain.
  static HazardDomain& Current() {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return CurrentWithoutThreadLocal();
#else
    return *this_threads_ring.slot->domain;
#endif
  }

  // Returns a hold of the node that `cell` contains at some moment during the
  // call, or an empty hold if the cell contains null then. Never waits for a
  // scan. May allocate memory for slots.
  HazardHolder Protect(const HazardCell& cell) {
    return HazardHolder(RawProtect(cell));
  }

  // Returns whether TryProtect may be called for a cell of `domain`, which may
  // be null.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool AtHand(const HazardDomain* domain) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain != nullptr;
#else
    return this_threads_ring.slot->domain == domain;
#endif
  }

  // The fast path of `domain->Protect(cell)`: tries one slot. With
  // thread_local, returns a null node if that try fails. If the try succeeds,
  // calls no function, except perhaps `__tls_get_addr` in a shared object.
  // Requires `AtHand(domain)`, and that the cell never contains null. The
  // caller must construct a HazardHolder from the result.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHolder TryProtect(
      HazardDomain* domain, const HazardCell& cell) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain->TryProtectShared(cell);
#else
    static_cast<void>(domain);
    DomainSlot* const slot = this_threads_ring.slot;
    // (M4) This load acquires, so earlier uses of the slot by other threads
    // happen before this thread's use.
    if (ABSL_PREDICT_FALSE(!IsZeroAcquire(slot->node))) return {};
    const HazardNode* const node = Announce(*slot, cell);
    if (ABSL_PREDICT_FALSE(!EqualsAcquire(cell, node))) {
      ClearAndLook(slot);
      return {};
    }
    ABSL_ASSUME(node != nullptr);
    return {node, slot};
#endif
  }

  // Does what Protect does, after TryProtect has failed. Requires of its caller
  // what TryProtect requires.
  static HazardRawHolder ProtectElsewhere(HazardDomain* domain,
                                          const HazardCell& cell) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain->RawProtect(cell);
#else
    static_cast<void>(domain);
    return ProtectInRing(this_threads_ring, cell);
#endif
  }

  // Returns a counted reference of `node`, or an empty hold if `node` is null.
  // The node must stay alive during the call.
  static HazardHolder Count(const HazardNode* node) {
    return node == nullptr ? HazardHolder() : HazardHolder(RawCount(node));
  }

  // Passes the cell's reference of `node` to the domain. The domain drops it
  // when a scan finds that no slot announces the node: in this call, or later
  // on any thread. Requires that no cell contains the node. May run the
  // destructors of this node and of others. Does nothing if `node` is null.
  //
  // (M5) This call scans. If another thread is scanning or a fork() is in
  // progress, it leaves the node to a later scan. If kMostHandedOver nodes have
  // been left already, it also waits until a scan has taken `node` or a fork()
  // is in progress.
  virtual void Retire(const HazardNode* node) noexcept = 0;

  // Scans, and drops the references of the retired nodes that no slot
  // announces. If another thread is scanning or a fork() is in progress, leaves
  // the work to the next scan. Never waits.
  virtual void Reclaim() noexcept = 0;

  // What TryProtect does without thread_local: tries one shared slot, and calls
  // ProtectShared if that fails.
  HazardRawHolder TryProtectShared(const HazardCell& cell) {
    DomainSlot* const slot = shared_records_[PreferredSharedRecord()].slots;
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    const void* none = nullptr;
    // (M2) The compare-and-swap, the second load, a publisher's replacement of
    // the node and a scan's look at the slot are sequentially consistent. So
    // either this thread sees the replacement or the scan sees the node.
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

  // Returns false in symmetric mode. The first call decides the mode.
  virtual bool Asymmetric() = 0;

  // How many nodes other threads may leave to a thread that is scanning.
  static constexpr int kMostHandedOver = 8;

  // ---- For tests ----

  struct Counts {
    int records = 0;
    int owned = 0;     // Records that a thread owns.
    int slots = 0;     // Slots in all threads' rings.
    int held = 0;      // Slots in use, shared slots too.
    int retained = 0;  // Retired nodes that a scan found in use.
    // The largest number of newly retired nodes that one scan has taken.
    int most_incoming = 0;
    int64_t scans = 0;
    int64_t barriers = 0;  // Heavy barriers, refused ones too.
    int64_t bytes = 0;     // The memory of the records and rings.
  };
  // The counts are exact if no other thread uses the domain.
  virtual Counts CountForTesting() = 0;

  // Must be called before any other use of the domain.
  virtual void ForceSymmetricForTesting() = 0;
  // Makes each scan of newly retired nodes call `barrier` in place of a heavy
  // barrier, also in symmetric mode. Null restores the heavy barrier.
  virtual void ReplaceHeavyBarrierForTesting(void (*barrier)()) = 0;

 protected:
  constexpr HazardDomain() {
    for (SharedRecord& record : shared_records_) {
      for (DomainSlot& slot : record.slots) slot.domain = this;
      record.transient.domain = this;
    }
  }
  ~HazardDomain() = default;

  // Clears `slot` after a failed read. Then calls Reclaim, because a scan may
  // have kept the node on account of the announcement.
  ABSL_ATTRIBUTE_NOINLINE static void ClearAndLook(DomainSlot* slot);

#ifndef REFRESHABLE_NO_THREAD_LOCAL
  // Announces in `slot` the node that `cell` contains, and returns it. The
  // caller must then check that the cell still contains the node.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static const HazardNode* Announce(
      HazardSlot& slot, const HazardCell& cell) {
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    // (M2) A compiler barrier suffices between this store and the caller's
    // check, because scans make a heavy barrier. (M4) The store releases, so
    // that earlier uses of the slot happen before a scan that finds `node` in
    // it. The check acquires, so that this thread sees the contents of the
    // node.
    slot.node.store(node, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return node;
  }

  // Does what Protect does, in a slot of this thread's `ring`. This inline part
  // tries only the slot after `ring.slot`; ProtectInRingSlow does the rest.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHolder ProtectInRing(
      SlotRing& ring, const HazardCell& cell) {
    if (ABSL_PREDICT_TRUE(ring.ahead != 0)) {
      DomainSlot* const slot = ring.slot->next.load(std::memory_order_relaxed);
      if (ABSL_PREDICT_TRUE(IsZeroAcquire(slot->node))) {
        ring.slot = slot;
        --ring.ahead;
        const HazardNode* const node = Announce(*slot, cell);
        if (ABSL_PREDICT_TRUE(EqualsAcquire(cell, node))) return {node, slot};
        ClearAndLook(slot);
      }
    }
    return ProtectInRingSlow(ring, cell);
  }

  // Depends on nothing but its arguments, because the linker may bind the call
  // to another copy of the library.
  ABSL_ATTRIBUTE_NOINLINE static HazardRawHolder ProtectInRingSlow(
      SlotRing& ring, const HazardCell& cell);
#endif

  // Does what Protect does, in a shared slot, or by a counted reference if all
  // shared slots are in use.
  virtual HazardRawHolder ProtectShared(const HazardCell& cell) = 0;

  // `node` must not be null.
  static HazardRawHolder RawCount(const HazardNode* node) {
    node->Ref();
    return {node, &node->counted_};
  }

  static const HazardNode*& NextOf(const HazardNode* node) {
    return node->next_;
  }

  // Set before the first use of a shared slot. Until then, scans skip shared
  // slots.
  std::atomic<bool> shared_slots_are_used_{false};
  SharedRecord shared_records_[kSharedRecords];

 private:
  friend class HazardHolder;

  static HazardDomain& CurrentWithoutThreadLocal();
  virtual HazardRawHolder RawProtect(const HazardCell& cell) noexcept = 0;
  // Completes the release of `node` from `slot`, which has been cleared and
  // whose `no_scan_on_release` is 0.
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseSlow(const HazardNode* node,
                                                  HazardSlot* slot);
  // Called by ReleaseSlow if `slot` is a slot of this domain. Before it was
  // cleared, `slot` announced `node`.
  virtual void Released(DomainSlot& slot, const void* node) = 0;
};

inline void HazardHolder::Release() {
  // (M3) The slot is cleared before `no_scan_on_release` is read. (M6) The
  // store has release order, so all uses of the node happen before a scan frees
  // the node.
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
