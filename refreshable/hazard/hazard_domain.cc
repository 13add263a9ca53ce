// SPDX-License-Identifier: Apache-2.0
//
// long: names in an unnamed namespace are never bound to those of another copy.

#include "refreshable/hazard/hazard_domain.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

// ThreadSanitizer cannot model membarrier(2). Its builds use the symmetric
// protocol, which synchronises by atomic operations only.
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

// From <linux/membarrier.h>, which some C libraries do not have.
constexpr int kPrivateExpedited = 1 << 3;
constexpr int kRegisterPrivateExpedited = 1 << 4;

bool RegisterHeavyBarrier() {
  return syscall(SYS_membarrier, kRegisterPrivateExpedited, 0, 0) == 0;
}

// Makes every thread of the process execute a full barrier during the call.
// Returns false if the kernel has begun to refuse it (a sandbox set up late).
bool HeavyBarrier() {
  return syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0;
}

#endif

// ---- Nodes and slots ----

// The value of `waited_for` in the slot that stands for a counted reference;
// all other slots have 0 or 1. That slot is recognised by this value and not by
// its address, because the hold may belong to another domain.
constexpr uint32_t kCounted = 2;

// A thread's record, as an element of the list of all records.
struct ListedRecord : HazardRecord {
  std::atomic<bool> owned{false};
  ListedRecord* next = nullptr;
};

#ifndef REFRESHABLE_NO_THREAD_LOCAL

bool IsClear(const HazardRecord& record) {
  // (M4) Acquire: all use of the nodes held in these slots happens before.
  return record.transient.node.load(std::memory_order_acquire) == nullptr &&
         std::all_of(std::begin(record.slots), std::end(record.slots),
                     [](const HazardSlot& slot) {
                       return slot.node.load(std::memory_order_acquire) ==
                              nullptr;
                     });
}

// Returns a free slot of the record; the transient one if none is free.
HazardSlot& FreeSlot(HazardRecord& record) {
  for (HazardSlot& slot : record.slots) {
    if (slot.node.load(std::memory_order_acquire) == nullptr) return slot;
  }
  return record.transient;
}

#endif  // REFRESHABLE_NO_THREAD_LOCAL

bool Claim(HazardSlot& slot, const HazardNode* node) {
  const void* none = nullptr;
  return slot.node.load(std::memory_order_relaxed) == nullptr &&
         slot.node.compare_exchange_strong(
             none, node, std::memory_order_seq_cst, std::memory_order_relaxed);
}

// Gives way to a scan in progress. Yielding alone could wait forever, because
// the scanning thread may have a lower priority than this one.
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

  HazardHolder Count(const HazardNode* node) override {
    if (node != nullptr) node->Ref();
    return HazardHolder({node, &counted_});
  }

  void Retire(const HazardNode* node) noexcept override;
  void Reclaim() noexcept override {
    pending_.store(true, std::memory_order_seq_cst);
    TryToScan();
  }

  Counts CountForTesting() override;
  void ForceSymmetricForTesting() override {
    force_symmetric_.store(true, std::memory_order_relaxed);
  }
  void ReplaceHeavyBarrierForTesting(void (*barrier)()) override {
    test_barrier_.store(barrier, std::memory_order_relaxed);
  }

  // Registers the handlers of fork(). Called before main, or at the first use
  // if that is earlier: otherwise a fork concurrent with the first use could
  // copy a scan in progress that the child never finishes.
  void HandleForks();

 private:
  // Whether scans use a heavy barrier, which is decided once. The decision is
  // not a static variable of a function, because a child would wait forever for
  // a thread of its parent that was about to initialise that.
  enum Mode { kUnknown, kAsymmetric, kSymmetric };

  HazardRawHolder RawProtect(const HazardCell& cell) noexcept override;
  HazardRawHolder ProtectShared(const HazardCell& cell) noexcept override;
  void Released(HazardSlot& slot) noexcept override;

  Mode SetUp();
  void BeforeFork();
  void EndFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // Returns a counted reference to the node that `slot` holds, and clears
  // `slot`.
  HazardRawHolder Counted(const HazardNode* node, HazardSlot& slot);
  HazardSlot& ClaimShared(const HazardNode* node, bool& transient);
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  ListedRecord* AcquireRecord();
#endif

  void SetWaitedFor(HazardSlot& slot, bool waited_for);
  bool MakeHeavyBarrier();
  void TryToScan() noexcept;
  const HazardNode* Scan(bool also_incoming);
  void TakeIncoming(bool first);
  void Push(const HazardNode* first, const HazardNode* last);

  static void Append(const HazardNode* nodes, const HazardNode*& list) {
    while (nodes != nullptr) {
      const HazardNode* const next = NextOf(nodes);
      NextOf(nodes) = list;
      list = nodes;
      nodes = next;
    }
  }

  template <typename Function>
  void ForEachRecord(bool also_unused, Function function) {
    for (ListedRecord* record = records_.load(std::memory_order_acquire);
         record != nullptr; record = record->next) {
      function(*record);
    }
    // (M2) If a reader claims a slot after this load, it then finds the cell
    // changed, because all of these operations are sequentially consistent.
    if (!also_unused &&
        !shared_slots_are_used_.load(std::memory_order_seq_cst)) {
      return;
    }
    for (HazardRecord& record : shared_records_) function(record);
  }

  template <typename Function>
  void ForEachSlot(Function function, bool also_unused = false) {
    ForEachRecord(also_unused, [&](HazardRecord& record) {
      for (HazardSlot& slot : record.slots) function(slot);
      function(record.transient);
    });
  }

  // The threads' records. None is ever removed.
  std::atomic<ListedRecord*> records_{nullptr};
  // Nodes that were retired and that no scan has seen yet.
  std::atomic<const HazardNode*> incoming_{nullptr};
  // How often a scan has begun to take nodes from `incoming_`, plus how often
  // it has finished that. Odd in between.
  std::atomic<uint64_t> takings_{0};
  // The number of nodes handed over since a thread that began to scan took the
  // incoming nodes.
  std::atomic<int> handed_over_{0};
  // Nodes that a scan found in use, and the most nodes that a scan took at a
  // time. Only the thread that has set `scanning_` may access these two.
  const HazardNode* retained_ = nullptr;
  int most_incoming_ = 0;
  std::atomic<bool> scanning_{false};
  // (M5) Set if a slot was cleared and possibly no scan has seen that. A thread
  // that finds another one scanning leaves the work to it, so no reader waits.
  std::atomic<bool> pending_{false};
  // The number of threads that are about to fork. While it is not 0, no new
  // scan starts.
  std::atomic<int> forking_{0};
  // Set if nodes may have been left in `incoming_`. The next scan takes them,
  // whichever thread makes it.
  std::atomic<bool> left_{false};
  std::atomic<bool> forks_are_handled_{false};
  std::atomic<Mode> mode_{kUnknown};
  HazardSlot counted_{nullptr, kCounted};

  std::atomic<bool> force_symmetric_{false};
  std::atomic<void (*)()> test_barrier_{nullptr};
};

ABSL_CONST_INIT Domain the_domain;

#ifndef REFRESHABLE_NO_THREAD_LOCAL

ABSL_CONST_INIT HazardRecord no_record(&the_domain, &no_record);

// This thread's record in this domain, or null. Trivially destructible, like
// `this_threads_record`, because destructors that run after `ThreadEnd` may
// read.
ABSL_CONST_INIT thread_local ListedRecord* own_record = nullptr;
ABSL_CONST_INIT thread_local bool this_thread_ends = false;

// Gives the record back when the thread ends. While leases that use its slots
// live on elsewhere, the record is not used again. (A shared object is not
// unloaded while threads have such a destructor in it.)
struct ThreadEnd {
  ~ThreadEnd() {
    this_thread_ends = true;
    ListedRecord* const record = std::exchange(own_record, nullptr);
    if (record == nullptr) return;
    if (this_threads_record == record) this_threads_record = &no_record;
    record->owned.store(false, std::memory_order_release);
  }
};

#endif  // REFRESHABLE_NO_THREAD_LOCAL

// ---- The choice between barriers ----

// (M3) Records whether somebody waits for the slot to be cleared. Only the
// thread that has set `scanning_` may call it.
void Domain::SetWaitedFor(HazardSlot& slot, bool waited_for) {
  if (!Asymmetric()) {
    slot.waited_for.exchange(waited_for ? 1 : 0, std::memory_order_acq_rel);
  } else if (slot.no_scan_on_release.load(std::memory_order_relaxed) !=
             (waited_for ? 0u : 1u)) {
    slot.no_scan_on_release.store(waited_for ? 0 : 1,
                                  std::memory_order_seq_cst);
  }
}

// Makes the heavy barrier, if scans use one. Returns false if the kernel has
// begun to refuse it.
bool Domain::MakeHeavyBarrier() {
  void (*const replaced)() = test_barrier_.load(std::memory_order_relaxed);
  if (replaced == nullptr) return !Asymmetric() || HeavyBarrier();
  replaced();
  return true;
}

// Decides the mode. If several threads do so at the same time, the first result
// stays, because reads may already have used it.
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

// Ensures that no scan is in progress while the process is copied. A scan does
// not wait for anything, so this does not wait for long.
void Domain::BeforeFork() {
  forking_.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; scanning_.exchange(true, std::memory_order_acquire);
       ++turn) {
    Pause(turn);
  }
}

// Other threads may have left their work to a scan that was not made, so in
// either process the thread that next clears a slot scans. This thread does not
// scan here, because that would run destructors inside fork(), under the locks
// of other handlers.
void Domain::EndFork() {
  if (mode_.load(std::memory_order_relaxed) == kUnknown) return;
  left_.store(true, std::memory_order_seq_cst);
  ForEachSlot([this](HazardSlot& slot) { SetWaitedFor(slot, true); });
}

void Domain::AfterForkInParent() {
  EndFork();
  scanning_.store(false, std::memory_order_seq_cst);
  forking_.fetch_sub(1, std::memory_order_seq_cst);
}

// The child has one thread, and the records of the other threads may be used
// again. What is in their slots stays, because a lease may have been handed to
// the thread that lives on. A lease that was not is lost, like everything else
// on the stacks of the other threads.
void Domain::AfterForkInChild() {
  for (ListedRecord* record = records_.load(std::memory_order_relaxed);
       record != nullptr; record = record->next) {
#ifndef REFRESHABLE_NO_THREAD_LOCAL
    if (record == own_record) continue;
#endif
    record->transient.node.store(nullptr, std::memory_order_relaxed);
    record->owned.store(false, std::memory_order_relaxed);
  }
  for (HazardRecord& record : shared_records_) {
    record.transient.node.store(nullptr, std::memory_order_relaxed);
  }
  // A thread of the parent may have been in SetUp while the process was copied.
  // It may have set `mode_` in time for the child, but made the system call too
  // late, so the child makes that call itself.
  if (mode_.load(std::memory_order_relaxed) == kAsymmetric) {
    RegisterHeavyBarrier();
  }
  EndFork();
  forking_.store(0, std::memory_order_seq_cst);
  scanning_.store(false, std::memory_order_seq_cst);
}

// ---- Reads ----

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// Returns this thread's record; null if the thread is ending or there is no
// memory for a record.
ListedRecord* Domain::AcquireRecord() {
  if (own_record != nullptr) return own_record;
  if (this_thread_ends) return nullptr;
  static thread_local ThreadEnd end;
  static_cast<void>(&end);
  const auto keep = [this](ListedRecord* record) {
    // The variable may be that of another copy, which has its own domain.
    if (this_threads_record->domain == this) this_threads_record = record;
    return own_record = record;
  };
  for (ListedRecord* record = records_.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    if (record->owned.load(std::memory_order_relaxed) ||
        record->owned.exchange(true, std::memory_order_acquire)) {
      continue;
    }
    if (IsClear(*record)) return keep(record);
    record->owned.store(false, std::memory_order_release);
  }
  auto* const record = new (std::nothrow) ListedRecord;
  if (record == nullptr) return nullptr;
  record->domain = this;
  record->owned.store(true, std::memory_order_relaxed);
  record->next = records_.load(std::memory_order_relaxed);
  while (!records_.compare_exchange_weak(record->next, record,
                                         std::memory_order_release,
                                         std::memory_order_relaxed)) {
  }
  return keep(record);
}
#endif

HazardRawHolder Domain::RawProtect(const HazardCell& cell) noexcept {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
  return ProtectShared(cell);
#else
  ListedRecord* const record = Asymmetric() ? AcquireRecord() : nullptr;
  if (record == nullptr) return ProtectShared(cell);
  for (;;) {
    HazardSlot& slot = FreeSlot(*record);
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    slot.node.store(node, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (cell.load(std::memory_order_acquire) != node) {
      ClearAndLook(&slot);
      continue;
    }
    if (node == nullptr) return {};
    if (&slot == &record->transient) return Counted(node, slot);
    return {node, &slot};
  }
#endif
}

HazardRawHolder Domain::Counted(const HazardNode* node, HazardSlot& slot) {
  const HazardHolder until_it_is_counted({node, &slot});
  node->Ref();
  return {node, &counted_};
}

// Announces the node in a shared slot, or in a transient one if all are in use.
HazardSlot& Domain::ClaimShared(const HazardNode* node, bool& transient) {
  const size_t preferred = PreferredSharedRecord();
  transient = false;
  for (size_t i = 0; i < kSharedRecords; ++i) {
    for (HazardSlot& slot :
         shared_records_[(preferred + i) % kSharedRecords].slots) {
      if (Claim(slot, node)) return slot;
    }
  }
  transient = true;
  // A transient slot is held for a few instructions only, so one is free soon.
  for (size_t i = preferred;; ++i) {
    HazardSlot& slot = shared_records_[i % kSharedRecords].transient;
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
    HazardSlot& slot = ClaimShared(node, transient);
    // (M2) Claiming and this load are both sequentially consistent, as are the
    // replacement in the cell and the scan's look at the slot.
    if (cell.load(std::memory_order_seq_cst) != node) {
      ClearAndLook(&slot);
      continue;
    }
    if (transient) return Counted(node, slot);
    return {node, &slot};
  }
}

void Domain::Released(HazardSlot& slot) noexcept {
  // (M3) If scans make no heavy barrier, this is a read-modify-write, as in the
  // scan.
  if (!Asymmetric() &&
      slot.waited_for.fetch_or(0, std::memory_order_acq_rel) == 0) {
    return;
  }
  Reclaim();
}

// ---- Scans ----

void Domain::Push(const HazardNode* first, const HazardNode* last) {
  NextOf(last) = incoming_.load(std::memory_order_relaxed);
  // The exchange is sequentially consistent, because `Retire` reads `takings_`
  // after it.
  while (!incoming_.compare_exchange_weak(NextOf(last), first,
                                          std::memory_order_seq_cst,
                                          std::memory_order_relaxed)) {
  }
}

// Moves the retired nodes to `retained_`, once no new read of them can succeed.
// In the first turn (M5), no node can be handed over while nodes are being
// taken, and the number handed over starts from 0 afterwards. So no node
// escapes the count, and none counts twice.
void Domain::TakeIncoming(bool first) {
  if (first) handed_over_.exchange(kMostHandedOver, std::memory_order_acq_rel);
  takings_.fetch_add(1, std::memory_order_seq_cst);
  const HazardNode* const fresh =
      incoming_.exchange(nullptr, std::memory_order_seq_cst);
  takings_.fetch_add(1, std::memory_order_seq_cst);
  if (first) handed_over_.store(0, std::memory_order_release);
  if (fresh == nullptr) return;
  int count = 0;
  for (const HazardNode* node = fresh; node != nullptr; node = NextOf(node)) {
    ++count;
  }
  most_incoming_ = std::max(most_incoming_, count);
  // (M3) Mark the slots as waited for before reading what they hold.
  ForEachSlot([this](HazardSlot& slot) { SetWaitedFor(slot, true); });
  if (!MakeHeavyBarrier()) {
    // Nothing can be concluded about these nodes. They stay until the barrier
    // works again.
    const HazardNode* last = fresh;
    while (NextOf(last) != nullptr) last = NextOf(last);
    Push(fresh, last);
  } else {
    Append(fresh, retained_);
  }
}

// Must be called by the thread that has set `scanning_`. Returns the nodes that
// no slot holds; the caller must unreference them after resetting `scanning_`.
const HazardNode* Domain::Scan(bool also_incoming) {
  struct Holder {
    const void* node;
    HazardSlot* slot;
  };
  if (left_.exchange(false, std::memory_order_seq_cst) || also_incoming) {
    TakeIncoming(/*first=*/also_incoming);
  }
  std::vector<Holder> holders;
  ForEachSlot([&](HazardSlot& slot) {
    // (M2) This sees what was announced before the barrier. (M6) Acquire: a
    // node that was released is no longer in use.
    const void* const node = slot.node.load(std::memory_order_seq_cst);
    if (node != nullptr) {
      holders.push_back({node, &slot});
    } else {
      SetWaitedFor(slot, false);
    }
  });
  const auto before = [](const Holder& a, const Holder& b) {
    return std::less<>()(a.node, b.node);
  };
  std::sort(holders.begin(), holders.end(), before);
  std::vector<bool> waited_for(holders.size());
  const HazardNode* dead = nullptr;
  const HazardNode* node = std::exchange(retained_, nullptr);
  while (node != nullptr) {
    const HazardNode* const next = NextOf(node);
    const auto [first, last] = std::equal_range(holders.begin(), holders.end(),
                                                Holder{node, nullptr}, before);
    const HazardNode*& list = first == last ? dead : retained_;
    NextOf(node) = list;
    list = node;
    std::fill(waited_for.begin() + (first - holders.begin()),
              waited_for.begin() + (last - holders.begin()), true);
    node = next;
  }
  // (M3) What counts here is what was read above, and not what the slot
  // contains now. So if a node was kept because of a slot, that slot stays
  // marked.
  for (size_t i = 0; i < holders.size(); ++i) {
    if (!waited_for[i]) SetWaitedFor(*holders[i].slot, false);
  }
  return dead;
}

// Scans, and scans again if a slot that is waited for was cleared, or a node
// was handed over, in the meantime. Does nothing if another thread is scanning.
// The calling thread may be a reader, and a reader must not work for publishers
// without end, so the number of nodes handed over is limited.
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

// (M5) If another thread is scanning, the node is left to it. If enough nodes
// have been left to that thread, this waits until a scan has taken the node, so
// that no thread has more than one node that has not been taken.
void Domain::Retire(const HazardNode* node) noexcept {
  if (node == nullptr) return;
  Push(node, node);
  if (handed_over_.fetch_add(1, std::memory_order_acq_rel) < kMostHandedOver) {
    left_.store(true, std::memory_order_seq_cst);
    Reclaim();
    return;
  }
  // The value of `takings_` once the next taking that begins has finished.
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
  for (const ListedRecord* record = records_.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    ++counts.records;
    if (record->owned.load(std::memory_order_acquire)) ++counts.owned;
  }
  while (scanning_.exchange(true, std::memory_order_acquire)) {
    std::this_thread::yield();
  }
  for (const HazardNode* node = retained_; node != nullptr;
       node = NextOf(node)) {
    ++counts.retained;
  }
  counts.most_incoming = most_incoming_;
  scanning_.store(false, std::memory_order_seq_cst);
  return counts;
}

}  // namespace

// ---- What is the same in every domain ----

#ifdef REFRESHABLE_NO_THREAD_LOCAL
HazardDomain& HazardDomain::CurrentWithoutThreadLocal() { return the_domain; }
#elif defined(__GNUC__)
__thread HazardRecord* this_threads_record = &no_record;
#else
ABSL_CONST_INIT thread_local HazardRecord* this_threads_record = &no_record;
#endif

void HazardDomain::ClearAndLook(HazardSlot* slot) {
  slot->node.store(nullptr, std::memory_order_release);
  HazardRecord::Of(slot).domain->Reclaim();
}

void HazardDomain::ReleaseSlow(const HazardNode* node, HazardSlot* slot) {
  if (slot->waited_for.load(std::memory_order_relaxed) == kCounted) {
    node->Unref();
  } else {
    HazardRecord::Of(slot).domain->Released(*slot);
  }
}

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable
