// SPDX-License-Identifier: Apache-2.0
//
// The hazard domain: lets any thread hold on to an object that another thread
// is about to replace, without writing to memory that is shared.
//
// The algorithm, and why each memory ordering is what it is, is in
// docs/memory_model.md; "(M1)" and so on in comments are its paragraphs.

#ifndef REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_
#define REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "refreshable/internal/compare_in_memory.h"

// Defined where the platform has no `thread_local`, or none that is cheap
// (`--define=refreshable_no_thread_local=1` under Bazel): slots are then shared
// between threads, and a read costs one compare-and-swap. The same in every
// translation unit of a program.
// #define REFRESHABLE_NO_THREAD_LOCAL

namespace refreshable {
namespace internal {

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
  constexpr explicit HazardSlot(const void* n) : node(n) {}

  std::atomic<const void*> node;  // Null: it is free. Only ever compared.
  // Zero: a superseded node may be waiting for this slot to be cleared, and
  // whoever clears it has to look. Written by scans only; always zero where
  // they make no heavy barrier: `waited_for` then has the answer.
  std::atomic<uint32_t> quiet{0};
  std::atomic<uint32_t> waited_for{0};
};

// The slots of one thread: its own two cache lines, which no other thread
// writes to but to clear a slot whose hold it was given. Never freed; handed on
// to another thread once its own has ended and the slots are clear.
struct alignas(128) HazardRecord {
  static constexpr int kSlots = 6;

  constexpr HazardRecord() = default;
  // One whose first slot is taken for good.
  constexpr explicit HazardRecord(const void* first)
      : slots{HazardSlot(first)} {}

  HazardSlot slots[kSlots];
  HazardSlot transient;  // Held only while a node is being counted.
  HazardRecord* next = nullptr;
  std::atomic<bool> owned{false};
};
static_assert(sizeof(HazardRecord) == 128, "a record is two cache lines");

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// The record of a thread that has none: before its first hold, after its end,
// and wherever membarrier(2) or its like is missing. Its first slot is never
// free, so that a read need not ask whether there is a record.
extern HazardRecord no_record;

// Constant-initialised, so that access is a plain load.
ABSL_CONST_INIT inline thread_local HazardRecord* this_threads_record =
    &no_record;
#endif

// Slots that any thread may take, by compare-and-swap.
constexpr int kSharedRecords = 64;
extern HazardRecord shared_records[kSharedRecords];

// Threads have stacks of their own, so that an address there tells them apart,
// well enough to keep most of them off each other's records.
inline size_t PreferredSharedRecord() {
  const char local = 0;
  const auto address = reinterpret_cast<uintptr_t>(&local);
  return static_cast<size_t>(
      (static_cast<uint64_t>(address >> 16) * 0x9E3779B97F4A7C15u) >> 58);
}
static_assert(kSharedRecords == 1 << (64 - 58), "the hash fits the table");

// The slot of a hold that has none, but a reference to the node.
extern HazardSlot counted;

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

// All of it is process-wide and immortal: usable before main and after it, by
// threads of any kind, and in a child after fork(). Thread-safe. Nothing here
// blocks, but for fork() (see hazard_domain.cc); no user code runs under
// anything that another thread could wait for.
class HazardDomain {
 public:
  // Holds the node that `cell` has at some moment during the call; nothing if
  // that is null. Lock-free; wait-free while the cell does not change.
  static HazardHold Protect(const HazardCell& cell) {
    return HazardHold(RawProtect(cell));
  }

  // As Protect, but does only what can be done without a call (where there is
  // a thread_local), and may hold nothing instead. Wait-free. `node` is what
  // `cell` had a moment ago: not null, as nothing ever is in that cell. What
  // this returns must be made a HazardHold.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static HazardRawHold TryProtect(
      const HazardCell& cell, const HazardNode* node) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
    static_cast<void>(node);
    return TryProtectShared(cell);
#else
    HazardSlot* const slot = this_threads_record->slots;
    // (M4) Another thread may have cleared it: its use came before ours.
    if (ABSL_PREDICT_FALSE(!IsZeroAcquire(slot->node))) return {};
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
  static HazardHold Count(const HazardNode* node) {
    if (node != nullptr) node->Ref();
    return HazardHold({node, &counted});
  }

  // Drops `node`'s first reference as soon as no hold is on it: here, or in the
  // thread that ends the last one. Requires that no cell has the node any more.
  // May free it and others, hence run their destructors.
  static void Retire(const HazardNode* node) noexcept;

  // Frees what waits and is not held any more, unless another thread is about
  // to.
  ABSL_ATTRIBUTE_NOINLINE static void Look() noexcept;

  // The hold in a slot that is picked by compare-and-swap among those that all
  // threads share: what TryProtect does without thread_local. As TryProtect.
  static HazardRawHold TryProtectShared(const HazardCell& cell) {
    HazardSlot* const slot = shared_records[PreferredSharedRecord()].slots;
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    const void* none = nullptr;
    // (M2) This and the next load are both sequentially consistent, as are the
    // replacement in the cell and the scan's look at the slot.
    if (ABSL_PREDICT_FALSE(!slot->node.compare_exchange_strong(
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

  // ---- For tests ----

  struct Counts {
    int records = 0;   // Threads' records that exist.
    int owned = 0;     // Of those, the ones that a thread has.
    int held = 0;      // Slots that are in use.
    int retained = 0;  // Nodes that wait for a hold to end.
  };
  // Exact while no other thread is in the domain.
  static Counts CountForTesting();

  // As on a platform without membarrier(2). To be called before any other use
  // in the process.
  static void ForceSymmetricForTesting();
  // Whether scans make a heavy barrier and reads none.
  static bool Asymmetric();
  // Leaves the scans' heavy barrier out: wrong, as a test must be able to see.
  static void SkipHeavyBarrierForTesting(bool skip);

 private:
  friend class HazardHold;
  struct Scanner;

  ABSL_ATTRIBUTE_NOINLINE static HazardRawHold RawProtect(
      const HazardCell& cell) noexcept;
  ABSL_ATTRIBUTE_NOINLINE static HazardRawHold ProtectShared(
      const HazardCell& cell);
  // A reference to a node that is held in `slot`, which is cleared.
  static HazardRawHold Counted(const HazardNode* node, HazardSlot& slot);
  // The rest of a release, for a slot that is not quiet.
  ABSL_ATTRIBUTE_NOINLINE static void ReleaseSlow(const HazardNode* node,
                                                  HazardSlot* slot);
  // After a failed Protect: a scan may have taken it for a hold.
  ABSL_ATTRIBUTE_NOINLINE static void ClearAndLook(HazardSlot* slot);
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

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_HAZARD_DOMAIN_H_
