// SPDX-License-Identifier: Apache-2.0
//
// long: nearly all of the file must be in one unnamed namespace, whose names
// the linker never binds to another copy of the library.

#include "refreshable/hazard/hazard_domain.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "refreshable/hazard/compare_in_memory.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

// ThreadSanitizer cannot model membarrier(2), so builds with ThreadSanitizer
// use symmetric mode (see hazard_domain.h).
#if defined(__SANITIZE_THREAD__)
#define REFRESHABLE_NO_MEMBARRIER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REFRESHABLE_NO_MEMBARRIER
#endif
#endif
#if !defined(__linux__) || !defined(SYS_membarrier)
#define REFRESHABLE_NO_MEMBARRIER
#endif

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN
namespace {

// ---- The heavy barrier ----

#ifdef REFRESHABLE_NO_MEMBARRIER

bool RegisterHeavyBarrier() { return false; }
bool HeavyBarrier() { return false; }

#else

// Commands of membarrier(2). Some systems have no <linux/membarrier.h>.
constexpr int kPrivateExpedited = 1 << 3;
constexpr int kRegisterPrivateExpedited = 1 << 4;

bool RegisterHeavyBarrier() {
  return syscall(SYS_membarrier, kRegisterPrivateExpedited, 0, 0) == 0;
}

// Makes every thread of the process execute a full barrier during this call.
// Returns false if the kernel refuses the system call.
bool HeavyBarrier() {
  return syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0;
}

#endif

// ---- Slots ----

#ifndef REFRESHABLE_NO_THREAD_LOCAL

// Slots that are added to a thread's ring.
struct alignas(128) SlotBlock {
  DomainSlot slots[4];
};

// A record: the first slots of a thread's ring, and an element of the domain's
// list of records. A record is never freed. When its thread has ended, another
// thread may take over the record with the whole ring.
struct alignas(128) ThreadRecord {
  static constexpr uint32_t kSlots = 3;

  DomainSlot slots[kSlots];
  std::atomic<bool> owned{false};
  ThreadRecord* next = nullptr;
};
static_assert(sizeof(SlotBlock) == 128 && sizeof(ThreadRecord) == 128,
              "two cache lines each");

// Makes the slots belong to `domain`, and links them in a row.
void Link(DomainSlot* slots, size_t count, HazardDomain* domain) {
  for (size_t i = 0; i < count; ++i) {
    slots[i].domain = domain;
    if (i > 0) slots[i - 1].next.store(&slots[i], std::memory_order_relaxed);
  }
}

template <typename Function>
void ForEachSlotOf(ThreadRecord& record, Function function) {
  DomainSlot* slot = record.slots;
  do {
    function(*slot);
    slot = slot->next.load(std::memory_order_acquire);
  } while (slot != record.slots);
}

// Inserts `ring.size` + 1 new slots after `ring.slot`, and moves the thread to
// the first of them. Returns false if there is no memory.
bool Grow(SlotRing& ring) {
  const size_t more = size_t{ring.size} + 1;  // 4, 8, 16, ...
  auto* const blocks = new (std::nothrow) SlotBlock[more / 4];
  if (blocks == nullptr) return false;
  DomainSlot* const slots = blocks->slots;
  Link(slots, more, ring.slot->domain);
  slots[more - 1].next.store(ring.slot->next.load(std::memory_order_relaxed),
                             std::memory_order_relaxed);
  // (M3) This store releases, so a scan that comes to the new slots sees the
  // links between them.
  ring.slot->next.store(slots, std::memory_order_release);
  ring = {slots, static_cast<uint32_t>(ring.size + more), 0, 0};
  return true;
}

bool IsFree(const HazardSlot& slot) {
  // (M4) This load acquires, so earlier uses of the slot by other threads
  // happen before this thread's use.
  return IsZeroAcquire(slot.node);
}

// Moves the thread to a free slot of its ring. Visits the slots in laps, and
// adds slots if a lap finds more than half of the ring in use. Returns false if
// all slots are in use and there is no memory for more.
bool MoveToFreeSlot(SlotRing& ring) {
  for (uint32_t i = 0; i < ring.size; ++i) {
    if (ring.ahead == 0) {
      ring.ahead = ring.size;
      ring.busy = 0;
    }
    ring.slot = ring.slot->next.load(std::memory_order_relaxed);
    --ring.ahead;
    if (IsFree(*ring.slot)) return true;
    if (++ring.busy > ring.size / 2) {
      if (Grow(ring)) return true;
      ring.busy = 0;
    }
  }
  return false;
}

#endif  // REFRESHABLE_NO_THREAD_LOCAL

// Announces `node` in `slot`. Returns false if the slot is in use.
bool Claim(HazardSlot& slot, const HazardNode* node) {
  const void* none = nullptr;
  return slot.node.load(std::memory_order_relaxed) == nullptr &&
         slot.node.compare_exchange_strong(
             none, node, std::memory_order_seq_cst, std::memory_order_relaxed);
}

// Lets other threads run while this thread waits for a scan. `turn` is the
// number of earlier pauses. After a hundred pauses the thread sleeps, because
// the scanning thread may have a lower priority.
void Pause(int turn) {
  if (turn < 100) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// ---- The domain: constant-initialised, never destroyed ----

class Domain final : public HazardDomain {
 public:
  constexpr Domain() = default;

  bool Asymmetric() override {
    const Mode known = mode_.load(std::memory_order_acquire);
    return (known == kUnknown ? SetUp() : known) == kAsymmetric;
  }

  void Retire(const HazardNode* node) noexcept override;
  void Reclaim() noexcept override {
    pending_.exchange(true, std::memory_order_seq_cst);
    TryToScan();
  }

  Counts CountForTesting() override;
  void ForceSymmetricForTesting() override {
    force_symmetric_.store(true, std::memory_order_relaxed);
  }
  void ReplaceHeavyBarrierForTesting(void (*barrier)()) override {
    test_barrier_.store(barrier, std::memory_order_relaxed);
  }

  // Registers the domain's handlers of fork(). Called by a static initializer,
  // or at the first use of the domain if that is earlier. If only the first use
  // registered them, another thread could already be inside fork(). That fork()
  // would not run them, and could copy an unfinished scan. In the child that
  // scan would never end.
  void HandleForks();

#ifndef REFRESHABLE_NO_THREAD_LOCAL
  void ReleaseRecord();
#endif

 private:
  // Whether scans make a heavy barrier.
  enum Mode { kUnknown, kAsymmetric, kSymmetric };

  HazardRawHolder RawProtect(const HazardCell& cell) noexcept override;
  HazardRawHolder ProtectShared(const HazardCell& cell) noexcept override;
  void Released(DomainSlot& slot, const void* node) noexcept override;

  Mode SetUp();
  void BeforeFork();
  void EndFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // Returns a counted reference of `node`, and clears `slot`, which announces
  // `node`.
  static HazardRawHolder Counted(const HazardNode* node, DomainSlot& slot);
  DomainSlot& ClaimShared(const HazardNode* node, bool& transient);
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  SlotRing* RingOfThisThread();
  ThreadRecord* AcquireRecord(SlotRing& ring);
#endif

  // Whether clearing a slot must trigger a scan.
  enum WaitedFor {
    kNo,
    kPerhaps,  // Yes, until a scan has looked at the slot.
    kYes       // Yes, because a scan found a retired node in the slot.
  };
  void SetWaitedFor(HazardSlot& slot, WaitedFor waited_for);
  bool NobodyElseReads();
  bool MakeHeavyBarrier();
  void TryToScan() noexcept;
  const HazardNode* Scan(bool also_incoming);
  const HazardNode* TakeIncoming(bool first);
  const HazardNode* Sift(const HazardNode* nodes, const HazardNode*& dead,
                         bool mark);
  void Push(const HazardNode* first, const HazardNode* last);

  static void Append(const HazardNode* nodes, const HazardNode*& list) {
    while (nodes != nullptr) {
      const HazardNode* const next = NextOf(nodes);
      NextOf(nodes) = list;
      list = nodes;
      nodes = next;
    }
  }

  // Calls `function` with each slot. Skips the shared slots if none was ever
  // used and `also_unused` is false.
  template <typename Function>
  void ForEachSlot(Function function, bool also_unused = false) {
#ifndef REFRESHABLE_NO_THREAD_LOCAL
    for (ThreadRecord* record = records_.load(std::memory_order_acquire);
         record != nullptr; record = record->next) {
      ForEachSlotOf(*record, function);
    }
#endif
    // (M2) A reader sets `shared_slots_are_used_`, claims a shared slot, and
    // then checks the cell. These operations and the load below are
    // sequentially consistent. If the load returns false, such a reader checks
    // the cell after the load. The scan's nodes were replaced before the load.
    // So the reader gets none of them, and the scan may skip the shared slots.
    if (!also_unused &&
        !shared_slots_are_used_.load(std::memory_order_seq_cst)) {
      return;
    }
    for (SharedRecord& record : shared_records_) {
      for (DomainSlot& slot : record.slots) function(slot);
      function(record.transient);
    }
  }

#ifndef REFRESHABLE_NO_THREAD_LOCAL
  // The threads' records. None is ever removed.
  std::atomic<ThreadRecord*> records_{nullptr};
#endif
  // (M7) The number of threads that own or are acquiring a record.
  std::atomic<int> owners_{0};
  // Retired nodes that wait for a scan to take them.
  std::atomic<const HazardNode*> incoming_{nullptr};
  // A scan raises this by one before and after it takes the nodes in
  // `incoming_`.
  std::atomic<uint64_t> takings_{0};
  // (M5) The number of nodes that were retired since this was last reset. If
  // this is kMostHandedOver or more, a thread that retires a node must wait
  // until a scan has taken it. The first scan of each call of TryToScan sets
  // this to kMostHandedOver, so that such threads wait. Once the scan has taken
  // the nodes, it resets this.
  std::atomic<int> handed_over_{0};
  // Only the thread that has set `scanning_` may access the members from
  // `retained_` to `barriers_`.
  const HazardNode* retained_ = nullptr;  // Nodes that a scan found in use.
  // The largest number of nodes that one scan has taken from `incoming_`.
  int most_incoming_ = 0;
  int64_t scans_ = 0;
  int64_t barriers_ = 0;
  // Set while a thread scans or forks.
  std::atomic<bool> scanning_{false};
  // (M5) Requests a scan. A scanning thread resets this flag before each scan.
  // It checks the flag after the scan, so threads that set it need not wait.
  std::atomic<bool> pending_{false};
  // The number of threads that are in fork(). A thread must find 0 here before
  // it tries to set `scanning_` for a scan.
  std::atomic<int> forking_{0};
  // Set if the next scan must take the nodes in `incoming_`.
  std::atomic<bool> left_{false};
  std::atomic<bool> forks_are_handled_{false};
  // This is no function-local static. If another thread initialised such a
  // variable during a fork(), the child would wait for that thread forever.
  std::atomic<Mode> mode_{kUnknown};

  std::atomic<bool> force_symmetric_{false};
  std::atomic<void (*)()> test_barrier_{nullptr};
};

ABSL_CONST_INIT Domain the_domain;

#ifndef REFRESHABLE_NO_THREAD_LOCAL

// The slot of threads that have no record. It announces itself, so it is never
// free.
ABSL_CONST_INIT DomainSlot no_slot(&the_domain, &no_slot);

// These variables are trivially destructible, because destructors of other
// thread-local objects may read tokens after this thread has given up its
// record.

ABSL_CONST_INIT thread_local ThreadRecord* own_record = nullptr;
// Used only if `this_threads_ring` is the variable of another copy of the
// library.
ABSL_CONST_INIT thread_local SlotRing own_ring = {&no_slot, 0, 0, 0};
ABSL_CONST_INIT thread_local bool this_thread_ends = false;

#endif  // REFRESHABLE_NO_THREAD_LOCAL

// ---- The choice between barriers ----

// (M3) Only the thread that has set `scanning_` may call this.
void Domain::SetWaitedFor(HazardSlot& slot, WaitedFor waited_for) {
  if (!Asymmetric()) {
    slot.waited_for.exchange(waited_for == kNo ? 0 : 1,
                             std::memory_order_acq_rel);
    return;
  }
  // Writes to `word` only to change it, because a write takes the cache line
  // from the slot's thread.
  const auto set = [](std::atomic<uint32_t>& word, uint32_t value) {
    if (word.load(std::memory_order_relaxed) != value) {
      word.store(value, std::memory_order_seq_cst);
    }
  };
  set(slot.no_scan_on_release, waited_for == kNo ? 1 : 0);
  set(slot.waited_for, waited_for == kYes ? 1 : 0);
}

// (M7) Returns true only if no other thread owns a record. Then this thread
// sees all that others have announced. Later reads cannot get the nodes that
// the calling scan has taken. So the scan needs no heavy barrier to free those
// of the nodes that no slot announces.
bool Domain::NobodyElseReads() {
  if (!Asymmetric()) return false;
  if (test_barrier_.load(std::memory_order_relaxed) != nullptr) return false;
  int mine = 0;
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  mine = own_record != nullptr ? 1 : 0;
#endif
  return owners_.fetch_add(0, std::memory_order_acq_rel) == mine;
}

// Makes a heavy barrier, except in symmetric mode. Returns false if the kernel
// has begun to refuse the barrier.
bool Domain::MakeHeavyBarrier() {
  void (*const replaced)() = test_barrier_.load(std::memory_order_relaxed);
  if (replaced == nullptr) {
    if (!Asymmetric()) return true;
    ++barriers_;
    return HeavyBarrier();
  }
  replaced();
  return true;
}

// If several threads decide the mode at once, the first result stays, because
// reads may already have used it.
Domain::Mode Domain::SetUp() {
  HandleForks();
  const bool forced = force_symmetric_.load(std::memory_order_relaxed);
  const Mode mine =
      !forced && RegisterHeavyBarrier() ? kAsymmetric : kSymmetric;
  Mode first = kUnknown;
  return mode_.compare_exchange_strong(first, mine) ? mine : first;
}

// ---- fork() ----

void Domain::HandleForks() {
#ifndef _WIN32
  // If this code is in a shared object that is unloaded, the C library forgets
  // the handlers.
  if (!forks_are_handled_.exchange(true, std::memory_order_relaxed)) {
    pthread_atfork([] { the_domain.BeforeFork(); },
                   [] { the_domain.AfterForkInParent(); },
                   [] { the_domain.AfterForkInChild(); });
  }
#endif
}
[[maybe_unused]] const bool forks_are_handled = [] {
  the_domain.HandleForks();
  return true;
}();

// Prevents scans while the process is copied, and waits for the end of a scan
// in progress. A scan waits for nothing, so it soon ends.
void Domain::BeforeFork() {
  forking_.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; scanning_.exchange(true, std::memory_order_acquire);
       ++turn) {
    Pause(turn);
  }
}

// Threads may have left work to the next scan during the fork. So this marks
// all slots as waited for, and the next thread that clears a slot makes a scan.
// A scan here would run destructors inside fork(), under the locks of other
// handlers.
void Domain::EndFork() {
  if (mode_.load(std::memory_order_relaxed) == kUnknown) return;
  left_.store(true, std::memory_order_seq_cst);
  ForEachSlot([this](HazardSlot& slot) { SetWaitedFor(slot, kPerhaps); });
}

void Domain::AfterForkInParent() {
  EndFork();
  scanning_.store(false, std::memory_order_seq_cst);
  forking_.fetch_sub(1, std::memory_order_seq_cst);
}

// The child has only the thread that forked, so the records of all other
// threads are given up. The slots of these records keep their announcements,
// because the thread that forked may have holds in them. Transient slots are
// cleared, because no thread of the child uses them.
void Domain::AfterForkInChild() {
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  for (ThreadRecord* record = records_.load(std::memory_order_relaxed);
       record != nullptr; record = record->next) {
    if (record != own_record) {
      record->owned.store(false, std::memory_order_relaxed);
    }
  }
  owners_.store(own_record != nullptr ? 1 : 0, std::memory_order_relaxed);
#endif
  for (SharedRecord& record : shared_records_) {
    record.transient.node.store(nullptr, std::memory_order_relaxed);
  }
  // The child registers for membarrier(2) anew. If a thread of the parent ran
  // SetUp during the fork(), the child may have the mode but no registration.
  if (mode_.load(std::memory_order_relaxed) == kAsymmetric) {
    RegisterHeavyBarrier();
  }
  EndFork();
  forking_.store(0, std::memory_order_seq_cst);
  scanning_.store(false, std::memory_order_seq_cst);
}

// ---- Reads ----

#ifndef REFRESHABLE_NO_THREAD_LOCAL

// Gives up the thread's record when the thread ends. Slots that are still in
// use stay as they are.
struct ThreadEnd {
  ~ThreadEnd() {
    this_thread_ends = true;
    the_domain.ReleaseRecord();
  }
};

// Acquires a record if this thread has none. Returns null if the thread is
// ending or there is no memory.
SlotRing* Domain::RingOfThisThread() {
  // `this_threads_ring` may belong to another copy of the library.
  SlotRing& ring =
      this_threads_ring.slot->domain == this ? this_threads_ring : own_ring;
  if (own_record != nullptr) return &ring;
  if (this_thread_ends) return nullptr;
  own_record = AcquireRecord(ring);
  if (own_record == nullptr) return nullptr;
  static thread_local ThreadEnd end;
  static_cast<void>(&end);
  return &ring;
}

// Takes over a record that no thread owns, if at most half of its slots are in
// use. Otherwise makes a record. Sets `ring` to the record's ring. Returns null
// if there is no memory.
ThreadRecord* Domain::AcquireRecord(SlotRing& ring) {
  // (M7) The count must rise before this thread announces anything.
  owners_.fetch_add(1, std::memory_order_acq_rel);
  for (ThreadRecord* record = records_.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    if (record->owned.load(std::memory_order_relaxed) ||
        record->owned.exchange(true, std::memory_order_acquire)) {
      continue;
    }
    uint32_t size = 0;
    uint32_t held = 0;
    ForEachSlotOf(*record, [&](const HazardSlot& slot) {
      ++size;
      held += IsFree(slot) ? 0 : 1;
    });
    if (held <= size / 2) {
      ring = {record->slots, size, 0, 0};
      return record;
    }
    record->owned.store(false, std::memory_order_release);
  }
  auto* const record = new (std::nothrow) ThreadRecord;
  if (record == nullptr) {
    owners_.fetch_sub(1, std::memory_order_acq_rel);
    return nullptr;
  }
  constexpr uint32_t kSlots = ThreadRecord::kSlots;
  Link(record->slots, kSlots, this);
  record->slots[kSlots - 1].next.store(record->slots,
                                       std::memory_order_relaxed);
  record->owned.store(true, std::memory_order_relaxed);
  record->next = records_.load(std::memory_order_relaxed);
  while (!records_.compare_exchange_weak(record->next, record,
                                         std::memory_order_release,
                                         std::memory_order_relaxed)) {
  }
  ring = {record->slots, kSlots, 0, 0};
  return record;
}

void Domain::ReleaseRecord() {
  ThreadRecord* const record = std::exchange(own_record, nullptr);
  if (record == nullptr) return;
  const SlotRing none = {&no_slot, 0, 0, 0};
  if (this_threads_ring.slot->domain == this) this_threads_ring = none;
  own_ring = none;
  record->owned.store(false, std::memory_order_release);
  // (M7) A thread that sees the lower count also sees this thread's
  // announcements.
  owners_.fetch_sub(1, std::memory_order_acq_rel);
}

#endif  // REFRESHABLE_NO_THREAD_LOCAL

HazardRawHolder Domain::RawProtect(const HazardCell& cell) noexcept {
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  SlotRing* const ring = Asymmetric() ? RingOfThisThread() : nullptr;
  if (ring != nullptr) return ProtectInRing(*ring, cell);
#endif
  return ProtectShared(cell);
}

HazardRawHolder Domain::Counted(const HazardNode* node, DomainSlot& slot) {
  const HazardHolder until_it_is_counted({node, &slot});
  return RawCount(node);
}

// Announces `node` in a shared slot. Takes a transient slot, and sets
// `transient`, only if all other shared slots are in use.
DomainSlot& Domain::ClaimShared(const HazardNode* node, bool& transient) {
  const size_t preferred = PreferredSharedRecord();
  transient = false;
  for (size_t i = 0; i < kSharedRecords; ++i) {
    for (DomainSlot& slot :
         shared_records_[(preferred + i) % kSharedRecords].slots) {
      if (Claim(slot, node)) return slot;
    }
  }
  transient = true;
  // A transient slot is held for a few instructions only, so one is free soon.
  for (size_t i = preferred;; ++i) {
    DomainSlot& slot = shared_records_[i % kSharedRecords].transient;
    if (Claim(slot, node)) return slot;
  }
}

HazardRawHolder Domain::ProtectShared(const HazardCell& cell) noexcept {
  if (!shared_slots_are_used_.load(std::memory_order_acquire)) {
    shared_slots_are_used_.store(true, std::memory_order_seq_cst);
  }
  for (;;) {
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    if (node == nullptr) return {};
    bool transient = false;
    DomainSlot& slot = ClaimShared(node, transient);
    // (M2) The claim, the load below, a publisher's replacement of the node and
    // a scan's look at the slot are sequentially consistent. So either this
    // thread sees the replacement or the scan sees the node.
    if (cell.load(std::memory_order_seq_cst) != node) {
      ClearAndLook(&slot);
      continue;
    }
    if (transient) return Counted(node, slot);
    return {node, &slot};
  }
}

void Domain::Released(DomainSlot& slot, const void* node) noexcept {
  // (M3) The slot has already been cleared. In symmetric mode, this function
  // and a scan access `waited_for` by read-modify-writes. If the scan's comes
  // first, this release sees that the slot is waited for. Otherwise the scan
  // sees the slot cleared.
  if (!Asymmetric()) {
    if (slot.waited_for.fetch_or(0, std::memory_order_acq_rel) != 0) Reclaim();
    return;
  }
  // (M8) If a scan found the retired `node` in this slot, and another slot of
  // the ring still announces it, the release of that other slot makes the scan.
  // Without this rule, a thousand holds of a replaced node would cause a
  // thousand scans.
  pending_.exchange(true, std::memory_order_seq_cst);
  DomainSlot* other = slot.next.load(std::memory_order_acquire);
  if (other != nullptr &&
      slot.waited_for.load(std::memory_order_relaxed) != 0) {
    // The hold for which the scan set `waited_for` has ended.
    slot.waited_for.store(0, std::memory_order_relaxed);
    for (; other != &slot;
         other = other->next.load(std::memory_order_acquire)) {
      if (other->node.load(std::memory_order_seq_cst) == node) return;
    }
  }
  TryToScan();
}

// ---- Scans ----

// Puts the list from `first` to `last` on `incoming_`.
void Domain::Push(const HazardNode* first, const HazardNode* last) {
  NextOf(last) = incoming_.load(std::memory_order_relaxed);
  // A taking that begins after `Retire` has read `takings_` must not miss these
  // nodes. So the exchange is sequentially consistent, like all accesses to
  // `takings_`.
  while (!incoming_.compare_exchange_weak(NextOf(last), first,
                                          std::memory_order_seq_cst,
                                          std::memory_order_relaxed)) {
  }
}

// `first` says whether this is the first scan of a call of TryToScan. (M5)
// While such a scan takes the nodes, `handed_over_` makes publishers wait.
const HazardNode* Domain::TakeIncoming(bool first) {
  if (first) handed_over_.exchange(kMostHandedOver, std::memory_order_acq_rel);
  takings_.fetch_add(1, std::memory_order_seq_cst);
  const HazardNode* const fresh =
      incoming_.exchange(nullptr, std::memory_order_seq_cst);
  takings_.fetch_add(1, std::memory_order_seq_cst);
  if (first) handed_over_.store(0, std::memory_order_release);
  int count = 0;
  for (const HazardNode* node = fresh; node != nullptr; node = NextOf(node)) {
    ++count;
  }
  most_incoming_ = std::max(most_incoming_, count);
  return fresh;
}

// Returns those of `nodes` that a slot announces. Adds the others to the list
// `dead`. If `mark` is set, calls SetWaitedFor for each slot: with kYes if the
// slot announces one of `nodes`, else with kNo.
const HazardNode* Domain::Sift(const HazardNode* nodes, const HazardNode*& dead,
                               bool mark) {
  struct Candidate {
    const HazardNode* node;
    bool held;
  };
  std::vector<Candidate> candidates;
  for (const HazardNode* node = nodes; node != nullptr; node = NextOf(node)) {
    candidates.push_back({node, false});
  }
  const auto before = [](const Candidate& candidate, const void* address) {
    return std::less<>()(static_cast<const void*>(candidate.node), address);
  };
  std::sort(candidates.begin(), candidates.end(),
            [&](const Candidate& a, const Candidate& b) {
              return before(a, b.node);
            });
  ForEachSlot([&](HazardSlot& slot) {
    // (M2) If a read gets one of `nodes`, this load sees the announcement of
    // the read or a later value of the slot. (M6) The load also acquires. If it
    // sees that a hold was released, all uses through that hold happen before
    // the load.
    const void* const node = slot.node.load(std::memory_order_seq_cst);
    const auto found = node == nullptr
                           ? candidates.end()
                           : std::lower_bound(candidates.begin(),
                                              candidates.end(), node, before);
    const bool holds = found != candidates.end() && found->node == node;
    if (holds) found->held = true;
    // (M3) If this scan keeps a node because the slot holds it, the slot must
    // be marked. So the mark depends on the value read above. If the slot were
    // read again, it might no longer hold the node.
    if (mark) SetWaitedFor(slot, holds ? kYes : kNo);
  });
  const HazardNode* held = nullptr;
  for (const Candidate& candidate : candidates) {
    const HazardNode*& list = candidate.held ? held : dead;
    NextOf(candidate.node) = list;
    list = candidate.node;
  }
  return held;
}

// Scans the retained nodes and, if `also_incoming` or `left_` is set, the
// incoming nodes. Requires that the calling thread has set `scanning_`. The
// caller must reset `scanning_` and then call Unref of the returned nodes.
const HazardNode* Domain::Scan(bool also_incoming) {
  ++scans_;
  const HazardNode* dead = nullptr;
  const HazardNode* fresh = nullptr;
  if (left_.exchange(false, std::memory_order_seq_cst) || also_incoming) {
    fresh = TakeIncoming(/*first=*/also_incoming);
  }
  if (fresh != nullptr && NobodyElseReads()) {
    fresh = Sift(fresh, dead, /*mark=*/false);
  }
  if (fresh != nullptr) {
    // (M3) Before reading what the slots announce, mark them as waited for.
    ForEachSlot([this](HazardSlot& slot) { SetWaitedFor(slot, kPerhaps); });
    // After the barrier no new read of these nodes can succeed.
    if (MakeHeavyBarrier()) {
      Append(fresh, retained_);
    } else {
      // Without the barrier, this thread may miss a reader's announcement. So
      // the nodes stay incoming until a scan makes the barrier or needs none
      // (M7).
      const HazardNode* last = fresh;
      while (NextOf(last) != nullptr) last = NextOf(last);
      Push(fresh, last);
    }
  }
  retained_ = Sift(std::exchange(retained_, nullptr), dead, /*mark=*/true);
  return dead;
}

// Does nothing if another thread is scanning or a fork() is in progress.
// Otherwise scans, and scans again if another thread set `pending_` during the
// scan. Then drops the references of the nodes that the scans returned. (M5)
// Other threads leave at most kMostHandedOver nodes to this thread. It may be a
// reader, which publishers must not keep busy forever.
void Domain::TryToScan() noexcept {
  const HazardNode* dead = nullptr;
  for (bool first = true; (first || pending_.load(std::memory_order_seq_cst)) &&
                          forking_.load(std::memory_order_seq_cst) == 0 &&
                          !scanning_.exchange(true, std::memory_order_seq_cst);
       first = false) {
    pending_.exchange(false, std::memory_order_seq_cst);
    Append(Scan(/*also_incoming=*/first), dead);
    scanning_.store(false, std::memory_order_seq_cst);
  }
  while (dead != nullptr) {
    const HazardNode* const next = NextOf(dead);
    dead->Unref();
    dead = next;
  }
}

// (M5) Threads wait here to keep `incoming_` short: at most kMostHandedOver
// nodes, plus one for each thread in this function. During a fork() there may
// be more.
void Domain::Retire(const HazardNode* node) noexcept {
  if (node == nullptr) return;
  Push(node, node);
  if (handed_over_.fetch_add(1, std::memory_order_acq_rel) < kMostHandedOver) {
    left_.store(true, std::memory_order_seq_cst);
    Reclaim();
    return;
  }
  // Each taking raises `takings_` by one when it begins and when it ends.
  // `done` is the value after the next taking that begins from now on. That is
  // 2 more than now, or 3 more if a taking is in progress now.
  const uint64_t done =
      (takings_.load(std::memory_order_seq_cst) + 3) & ~uint64_t{1};
  TryToScan();
  for (int turn = 0; takings_.load(std::memory_order_seq_cst) < done &&
                     forking_.load(std::memory_order_seq_cst) == 0;
       ++turn) {
    Pause(turn);
    TryToScan();
  }
}

// ---- For tests ----

HazardDomain::Counts Domain::CountForTesting() {
  Counts counts;
  ForEachSlot(
      [&](const HazardSlot& slot) {
        if (slot.node.load(std::memory_order_acquire) != nullptr) ++counts.held;
      },
      /*also_unused=*/true);
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  for (ThreadRecord* record = records_.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    ++counts.records;
    if (record->owned.load(std::memory_order_acquire)) ++counts.owned;
    ForEachSlotOf(*record, [&](const HazardSlot&) { ++counts.slots; });
  }
  counts.bytes = int64_t{counts.slots} * sizeof(DomainSlot) +
                 int64_t{counts.records} * sizeof(DomainSlot);
#endif
  while (scanning_.exchange(true, std::memory_order_acquire)) {
    std::this_thread::yield();
  }
  for (const HazardNode* node = retained_; node != nullptr;
       node = NextOf(node)) {
    ++counts.retained;
  }
  counts.most_incoming = most_incoming_;
  counts.scans = scans_;
  counts.barriers = barriers_;
  scanning_.store(false, std::memory_order_seq_cst);
  return counts;
}

}  // namespace

// ---- What is the same in every domain ----

#ifdef REFRESHABLE_NO_THREAD_LOCAL
HazardDomain& HazardDomain::CurrentWithoutThreadLocal() { return the_domain; }
#else
#ifdef __GNUC__
__thread SlotRing this_threads_ring = {&no_slot, 0, 0, 0};
#else
ABSL_CONST_INIT thread_local SlotRing this_threads_ring = {&no_slot, 0, 0, 0};
#endif

HazardRawHolder HazardDomain::ProtectInRingSlow(SlotRing& ring,
                                                const HazardCell& cell) {
  HazardDomain* const domain = ring.slot->domain;
  if (ring.size == 0) return domain->RawProtect(cell);
  for (;;) {
    if (!MoveToFreeSlot(ring)) return domain->ProtectShared(cell);
    DomainSlot* const slot = ring.slot;
    const HazardNode* const node = Announce(*slot, cell);
    if (EqualsAcquire(cell, node)) return {node, slot};
    ClearAndLook(slot);
  }
}
#endif

void HazardDomain::ClearAndLook(DomainSlot* slot) {
  slot->node.store(nullptr, std::memory_order_release);
  slot->domain->Reclaim();
}

void HazardDomain::ReleaseSlow(const HazardNode* node, HazardSlot* slot) {
  if (slot->waited_for.load(std::memory_order_relaxed) ==
      HazardSlot::kCounted) {
    node->Unref();
  } else {
    auto* const of_domain = static_cast<DomainSlot*>(slot);
    of_domain->domain->Released(*of_domain, node);
  }
}

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable
