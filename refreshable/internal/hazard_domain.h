// SPDX-License-Identifier: Apache-2.0
//
// The hazard domain: lets any thread hold on to an object that another thread
// is about to replace, without writing to memory that is shared.
//
// The algorithm, and why each memory ordering is what it is, is in
// docs/memory_model.md; "(M1)" and so on in comments are its paragraphs.
//
// A process may have several domains: one for each copy of the library that is
// linked into it, unless the linker makes the copies share one. Each cell, each
// record and each hold belongs to one domain. Nothing here depends on which
// copy's symbol a reference was bound to: a function that needs a domain's data
// is a virtual method of that domain.

#ifndef REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_
#define REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "refreshable/internal/abi.h"
#include "refreshable/internal/compare_in_memory.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class HazardDomain;

// What can be held. It has one reference when it is made, which whoever
// replaces it in its cell hands to `Retire`.
class HazardNode {
 public:
  HazardNode() = default;
  HazardNode(const HazardNode&) = delete;
  HazardNode& operator=(const HazardNode&) = delete;

  void Ref() const { references_.fetch_add(1, std::memory_order_relaxed); }
  // (M6) Whoever drops the last reference has seen all use of the others.
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
  // In the domain's lists.
  mutable const HazardNode* next_ = nullptr;
};

// Where a node is found. Null: there is none.
using HazardCell = std::atomic<const HazardNode*>;

// One announcement "this node is in use".
struct HazardSlot {
  constexpr HazardSlot() : node(nullptr) {}
  constexpr explicit HazardSlot(const void* n, uint32_t w = 0)
      : node(n), waited_for(w) {}

  std::atomic<const void*> node;  // Null: it is free. Only ever compared.
  // Zero if clearing this slot must be followed by a look, because a superseded
  // node may be waiting for that. Written by scans only; always zero where they
  // make no heavy barrier: `waited_for` then has the answer.
  std::atomic<uint32_t> quiet{0};
  std::atomic<uint32_t> waited_for{0};
};

// The slots of one thread: its own two cache lines, which no other thread
// writes to except to clear a slot whose hold it was given. Freed only with the
// process; taken over by another thread once its own has ended and the slots
// are clear.
struct alignas(128) HazardRecord {
  static constexpr int kSlots = 6;

  constexpr HazardRecord() = default;
  // A record whose first slot is never free.
  constexpr HazardRecord(HazardDomain* d, const void* first)
      : domain(d), slots{HazardSlot(first)} {}

  // The record that the slot is in.
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
// The record that this thread reads with. Where it has none (before its first
// hold, after its end, and wherever membarrier(2) or its like is missing), one
// whose first slot is never free, so that a read need not ask.
//
// `__thread` and not `thread_local`: access is a plain load, whatever file the
// variable is in. Not inline: an inline variable would be one per process in
// GCC's shared objects, and hidden, hence another one than the library's, in a
// program that is compiled with -fvisibility=hidden.
#ifdef __GNUC__
extern __thread HazardRecord* this_threads_record;
#else
extern thread_local HazardRecord* this_threads_record;
#endif
#endif

// Slots that any thread may take, by compare-and-swap.
constexpr int kSharedRecords = 64;

// Threads have stacks of their own, so that an address there tells them apart,
// well enough to keep most of them off each other's records.
inline size_t PreferredSharedRecord() {
  const char local = 0;
  const auto address = reinterpret_cast<uintptr_t>(&local);
  return static_cast<size_t>(
      (static_cast<uint64_t>(address >> 16) * 0x9E3779B97F4A7C15u) >> 58);
}
static_assert(kSharedRecords == 1 << (64 - 58), "the hash fits the table");

// What a hold consists of, and whoever has it has to make one of it. Apart from
// HazardHold because a compiler keeps what has no destructor in registers.
struct HazardRawHold {
  const HazardNode* node = nullptr;
  HazardSlot* slot = nullptr;
};

// Keeps a node alive; may hold nothing. May be moved to another thread and
// outlive the one that made it.
class HazardHold {
 public:
  HazardHold() = default;
  explicit HazardHold(HazardRawHold raw) : node_(raw.node), slot_(raw.slot) {}
  HazardHold(HazardHold&& other) noexcept
      : node_(std::exchange(other.node_, nullptr)), slot_(other.slot_) {}
  HazardHold& operator=(HazardHold&& other) noexcept {
    HazardHold old(std::move(*this));
    node_ = std::exchange(other.node_, nullptr);
    slot_ = other.slot_;
    return *this;
  }
  ~HazardHold() {
    if (node_ != nullptr) Release();
  }

  const HazardNode* node() const { return node_; }

 private:
  friend class HazardDomain;

  inline void Release();

  const HazardNode* node_ = nullptr;
  HazardSlot* slot_ = nullptr;
};

// Immortal: usable before main and after it, by threads of any kind, and in a
// child after fork(); if it is in a shared object, until that is unloaded.
// Thread-safe. A read waits for nothing. No user code runs under anything that
// another thread could wait for. If memory runs out, the program ends.
class HazardDomain {
 public:
  HazardDomain(const HazardDomain&) = delete;
  HazardDomain& operator=(const HazardDomain&) = delete;

  // The domain for new cells. It need not be the one of the same call
  // elsewhere: what is done about a cell is done by the domain that the cell
  // was made for.
  static HazardDomain& Current() {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return CurrentWithoutThreadLocal();
#else
    return *this_threads_record->domain;
#endif
  }

  // Holds the node that `cell` has at some moment during the call; nothing if
  // that is null. Lock-free; wait-free while the cell does not change.
  HazardHold Protect(const HazardCell& cell) {
    return HazardHold(RawProtect(cell));
  }

  // Whether TryProtect can be called for a cell of `domain`: not for one that
  // another copy of the library made, nor for null.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static bool AtHand(const HazardDomain* domain) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain != nullptr;
#else
    return this_threads_record->domain == domain;
#endif
  }

  // As `domain->Protect(cell)`, but does only what can be done without a call
  // (where there is a thread_local), and may hold nothing instead. Wait-free.
  // Requires that the domain is at hand, and that the cell never has null. What
  // this returns must be made a HazardHold.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHold TryProtect(
      HazardDomain* domain, const HazardCell& cell) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    return domain->TryProtectShared(cell);
#else
    static_cast<void>(domain);
    HazardSlot* const slot = this_threads_record->slots;
    // (M4) Another thread may have cleared it: its use came before ours.
    if (ABSL_PREDICT_FALSE(!IsZeroAcquire(slot->node))) return {};
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    // (M2) Announce, then look again. The scan's heavy barrier makes the
    // compiler barrier suffice. Release: (M4). Acquire: what was published.
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

  // Holds `node`, which may be null and is not retired meanwhile, by counting.
  virtual HazardHold Count(const HazardNode* node) = 0;

  // Drops `node`'s first reference as soon as no hold is on it: here, or in the
  // thread that ends the last one. Requires that no cell has the node any more.
  // May free it and others, hence run their destructors. (M5) Waits for the
  // scan of another thread that retires a node at the same time.
  virtual void Retire(const HazardNode* node) noexcept = 0;

  // Frees what waits and is not held any more, unless another thread is about
  // to. Waits for nothing.
  virtual void Look() noexcept = 0;

  // The hold in a slot that is picked by compare-and-swap among those that all
  // threads share: what TryProtect does without thread_local. As TryProtect.
  HazardRawHold TryProtectShared(const HazardCell& cell) {
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

  // Whether scans make a heavy barrier and reads none.
  virtual bool Asymmetric() = 0;

  // ---- For tests ----

  struct Counts {
    int records = 0;        // Threads' records that exist.
    int owned = 0;          // Of those, the ones that a thread has.
    int held = 0;           // Slots that are in use.
    int retained = 0;       // Nodes that wait for a hold to end.
    int most_incoming = 0;  // Nodes that one scan took at a time, at most.
  };
  // Exact while no other thread is in the domain.
  virtual Counts CountForTesting() = 0;

  // As on a platform without membarrier(2). To be called before any other use
  // of the domain.
  virtual void ForceSymmetricForTesting() = 0;
  // Called by scans in place of the heavy barrier, or where it would be, unless
  // null. Without the barrier the domain is wrong, as a test must be able to
  // see.
  virtual void ReplaceHeavyBarrierForTesting(void (*barrier)()) = 0;

 protected:
  constexpr HazardDomain() {
    for (HazardRecord& record : shared_records_) record.domain = this;
  }
  ~HazardDomain() = default;

  // After a failed Protect: a scan may have taken it for a hold.
  ABSL_ATTRIBUTE_NOINLINE static void ClearAndLook(HazardSlot* slot);

  // Protect in a shared slot.
  virtual HazardRawHold ProtectShared(const HazardCell& cell) = 0;

  static const HazardNode*& NextOf(const HazardNode* node) {
    return node->next_;
  }

  // Set before the first use of a shared slot, and never reset. Until then
  // scans need not look at those.
  std::atomic<bool> shared_slots_are_used_{false};
  HazardRecord shared_records_[kSharedRecords];

 private:
  friend class HazardHold;

  static HazardDomain& CurrentWithoutThreadLocal();
  virtual HazardRawHold RawProtect(const HazardCell& cell) noexcept = 0;
  // The rest of a release, for a slot that is not quiet.
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseSlow(const HazardNode* node,
                                                  HazardSlot* slot);
  virtual void Released(HazardSlot& slot) = 0;
};

inline void HazardHold::Release() {
  // (M3) Clear, then look whether somebody waits for it. Release: all use of
  // the node comes before.
  slot_->node.store(nullptr, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (ABSL_PREDICT_FALSE(IsZeroRelaxed(slot_->quiet))) {
    HazardDomain::ReleaseSlow(node_, slot_);
  }
}

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_
