// SPDX-License-Identifier: Apache-2.0
//
// long: what is in one unnamed namespace is never bound to another copy's.

#include "refreshable/internal/hazard_domain.h"

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

// ThreadSanitizer cannot model membarrier(2). It sees the symmetric protocol,
// which synchronises by atomic operations alone.
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

// <linux/membarrier.h> is younger than some kernels and libraries.
constexpr int kPrivateExpedited = 1 << 3;
constexpr int kRegisterPrivateExpedited = 1 << 4;

bool RegisterHeavyBarrier() {
  return syscall(SYS_membarrier, kRegisterPrivateExpedited, 0, 0) == 0;
}

// A full barrier in every thread of the process, somewhere during the call.
// False if the kernel has come to refuse it (a sandbox set up late).
bool HeavyBarrier() {
  return syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0;
}

#endif

// ---- Nodes and slots ----

// The slot of a hold that has none, but a reference to the node, has this in
// `waited_for`; all others have 0 or 1. Not told by its address: the hold may
// be another domain's.
constexpr uint32_t kCounted = 2;

// A thread's record, in the list of all.
struct ListedRecord : HazardRecord {
  std::atomic<bool> owned{false};
  ListedRecord* next = nullptr;
};

#ifndef REFRESHABLE_NO_THREAD_LOCAL

bool IsClear(const HazardRecord& record) {
  // (M4) Acquire: the use of what was held in it came before.
  return record.transient.node.load(std::memory_order_acquire) == nullptr &&
         std::all_of(std::begin(record.slots), std::end(record.slots),
                     [](const HazardSlot& slot) {
                       return slot.node.load(std::memory_order_acquire) ==
                              nullptr;
                     });
}

// A slot of the record that is not in use; the transient one if all are.
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

// Gives way to a scan in progress. Its thread may have a lower priority than
// this one, so that merely to yield would be to wait for ever.
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

  HazardHold Count(const HazardNode* node) override {
    if (node != nullptr) node->Ref();
    return HazardHold({node, &counted_});
  }

  void Retire(const HazardNode* node) noexcept override;
  void Look() noexcept override {
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

  // Before main: the first use may be in one thread while another one forks,
  // and a scan never end in its child. And at the first use, if that is even
  // earlier.
  void HandleForks();

 private:
  // What is decided once. Not a function's static variable: a child would wait
  // for ever for a thread of its parent that was about to initialise that.
  enum Mode { kUnknown, kAsymmetric, kSymmetric };

  HazardRawHold RawProtect(const HazardCell& cell) noexcept override;
  HazardRawHold ProtectShared(const HazardCell& cell) noexcept override;
  void Released(HazardSlot& slot) noexcept override;

  Mode SetUp();
  void BeforeFork();
  void EndFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // A reference to a node that is held in `slot`, which is cleared.
  HazardRawHold Counted(const HazardNode* node, HazardSlot& slot);
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
    // (M2) A slot that is claimed after this was read is claimed by a reader
    // that then finds the cell changed: all of it is sequentially consistent.
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

  // The threads' records. Only ever added to.
  std::atomic<ListedRecord*> records_{nullptr};
  // Nodes that were retired and that no scan has seen yet.
  std::atomic<const HazardNode*> incoming_{nullptr};
  // How often a scan has begun to take those, and how often it has done so. Odd
  // in between.
  std::atomic<uint64_t> takings_{0};
  // Nodes that were handed over since a thread that began to scan took those.
  std::atomic<int> handed_over_{0};
  // Nodes that a scan found in use. Whoever set `scanning_` has the list.
  const HazardNode* retained_ = nullptr;
  int most_incoming_ = 0;  // Likewise.
  std::atomic<bool> scanning_{false};
  // (M5) A slot was cleared that no scan may have seen so. A thread that finds
  // another one scanning leaves its work to that one: no reader waits.
  std::atomic<bool> pending_{false};
  // How many threads are about to fork: no new scan starts meanwhile.
  std::atomic<int> forking_{0};
  // Nodes may have been left in `incoming_`, and the next scan has to take
  // them, whoever makes it.
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

// This thread's record in this domain, or null. Like the other one trivially
// destructible: what ends after `ThreadEnd` may read.
ABSL_CONST_INIT thread_local ListedRecord* own_record = nullptr;
ABSL_CONST_INIT thread_local bool this_thread_ends = false;

// Gives the record back when the thread ends. Leases that it handed out and
// that live on elsewhere keep it from being used again until they end. (A
// shared object is not unloaded while threads have such a destructor in it.)
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

// (M3) Whether somebody waits for the slot to be cleared. Called by whoever has
// set `scanning_`.
void Domain::SetWaitedFor(HazardSlot& slot, bool waited_for) {
  if (!Asymmetric()) {
    slot.waited_for.exchange(waited_for ? 1 : 0, std::memory_order_acq_rel);
  } else if (slot.quiet.load(std::memory_order_relaxed) !=
             (waited_for ? 0u : 1u)) {
    slot.quiet.store(waited_for ? 0 : 1, std::memory_order_seq_cst);
  }
}

// Where scans make one. False if the kernel has come to refuse it.
bool Domain::MakeHeavyBarrier() {
  void (*const replaced)() = test_barrier_.load(std::memory_order_relaxed);
  if (replaced == nullptr) return !Asymmetric() || HeavyBarrier();
  replaced();
  return true;
}

// What the first of several threads found stays: reads have gone by it.
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
  // The C library forgets them if this is in a shared object that is unloaded.
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

// No scan is in progress while the process is copied. A scan does not wait for
// anything, so neither does this for long.
void Domain::BeforeFork() {
  forking_.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; scanning_.exchange(true, std::memory_order_acquire);
       ++turn) {
    Pause(turn);
  }
}

// Others may have left their work to the scan that never was: whoever next
// clears a slot looks, in either process. Not this thread, here: that would run
// destructors inside fork(), under whatever other handlers have locked.
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

// The child has one thread. Records of the others may be used again. What is in
// their slots stays: a lease may have been handed to the thread that lives on;
// one that was not is as lost as everything else on the stacks of the others.
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
  // A thread may have registered the parent while it was being copied: the
  // kernel's part before that, and `mode_` after it.
  if (mode_.load(std::memory_order_relaxed) == kAsymmetric) {
    RegisterHeavyBarrier();
  }
  EndFork();
  forking_.store(0, std::memory_order_seq_cst);
  scanning_.store(false, std::memory_order_seq_cst);
}

// ---- Reads ----

#ifndef REFRESHABLE_NO_THREAD_LOCAL
// This thread's record, or null if it cannot have one any more, or there is no
// memory for it.
ListedRecord* Domain::AcquireRecord() {
  if (own_record != nullptr) return own_record;
  if (this_thread_ends) return nullptr;
  static thread_local ThreadEnd end;
  static_cast<void>(&end);
  const auto keep = [this](ListedRecord* record) {
    // Unless it is the variable of another copy, with a domain of its own.
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

HazardRawHold Domain::RawProtect(const HazardCell& cell) noexcept {
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

HazardRawHold Domain::Counted(const HazardNode* node, HazardSlot& slot) {
  const HazardHold until_it_is_counted({node, &slot});
  node->Ref();
  return {node, &counted_};
}

// Announces the node in a shared slot; in a transient one if all are in use.
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
  // Held for a few instructions each: one is free, or soon will be.
  for (size_t i = preferred;; ++i) {
    HazardSlot& slot = shared_records_[i % kSharedRecords].transient;
    if (Claim(slot, node)) return slot;
  }
}

HazardRawHold Domain::ProtectShared(const HazardCell& cell) noexcept {
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
  // (M3) Where nobody makes a barrier for us: a read-modify-write, as in the
  // scan.
  if (!Asymmetric() &&
      slot.waited_for.fetch_or(0, std::memory_order_acq_rel) == 0) {
    return;
  }
  Look();
}

// ---- Scans ----

void Domain::Push(const HazardNode* first, const HazardNode* last) {
  NextOf(last) = incoming_.load(std::memory_order_relaxed);
  // Sequentially consistent: `Retire` reads `takings_` after it.
  while (!incoming_.compare_exchange_weak(NextOf(last), first,
                                          std::memory_order_seq_cst,
                                          std::memory_order_relaxed)) {
  }
}

// Adds to `retained_` what was retired, once no new read of it can succeed. In
// the first turn (M5), nodes may be handed over again from here on: not before,
// or those that are being taken would not count, and not meanwhile, or they
// would count twice over.
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
  // (M3) First say that somebody waits, then look who holds what.
  ForEachSlot([this](HazardSlot& slot) { SetWaitedFor(slot, true); });
  if (!MakeHeavyBarrier()) {
    // Nothing may be concluded about them. They stay until it works again.
    const HazardNode* last = fresh;
    while (NextOf(last) != nullptr) last = NextOf(last);
    Push(fresh, last);
  } else {
    Append(fresh, retained_);
  }
}

// Called by whoever has set `scanning_`. Returns the nodes that no slot holds,
// to be unreferenced once it has been reset.
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
    // (M2) Sees what was announced before the barrier. (M6) Acquire: what was
    // held is not in use any more.
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
  // (M3) Decided by what was read above, not by what the slot has now: a slot
  // that was the reason to keep a node stays marked.
  for (size_t i = 0; i < holders.size(); ++i) {
    if (!waited_for[i]) SetWaitedFor(*holders[i].slot, false);
  }
  return dead;
}

// Scans, and scans again while slots get clear that somebody waits for, or
// nodes are handed over; unless another thread is at it. Whoever is here may be
// a reader, which must not work for publishers without end: hence the limit on
// what is handed over.
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

// (M5) If another thread is scanning, the node is left to it. If it has been
// left enough of them, not done before a scan has taken the node, so that no
// thread has more than one that waits for that.
void Domain::Retire(const HazardNode* node) noexcept {
  if (node == nullptr) return;
  Push(node, node);
  if (handed_over_.fetch_add(1, std::memory_order_acq_rel) < kMostHandedOver) {
    left_.store(true, std::memory_order_seq_cst);
    Look();
    return;
  }
  // After the first taking that begins after this.
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
  HazardRecord::Of(slot).domain->Look();
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
