// SPDX-License-Identifier: Apache-2.0

#include "refreshable/internal/hazard_domain.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
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

#ifndef REFRESHABLE_NO_THREAD_LOCAL
ABSL_CONST_INIT HazardRecord no_record(&no_record);
#endif
ABSL_CONST_INIT HazardSlot counted;
ABSL_CONST_INIT HazardRecord shared_records[kSharedRecords];

namespace {

// ---- The domain: constant-initialised, never destroyed ----

// The threads' records. Only ever added to.
ABSL_CONST_INIT std::atomic<HazardRecord*> records{nullptr};
// Nodes that were retired and that no scan has seen yet.
ABSL_CONST_INIT std::atomic<const HazardNode*> incoming{nullptr};
// Nodes that a scan found in use. Whoever set `scanning` has the list.
ABSL_CONST_INIT const HazardNode* retained = nullptr;
ABSL_CONST_INIT std::atomic<bool> scanning{false};
// (M5) Something has changed that no scan may have seen. A thread that finds
// another one scanning leaves its work to that one: nobody waits.
ABSL_CONST_INIT std::atomic<bool> pending{false};
// How many threads are about to fork: no new scan starts meanwhile.
ABSL_CONST_INIT std::atomic<int> forking{0};

ABSL_CONST_INIT std::atomic<bool> force_symmetric{false};
ABSL_CONST_INIT std::atomic<bool> skip_heavy_barrier{false};

template <typename Function>
void ForEachRecord(Function function) {
  for (HazardRecord* record = records.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    function(*record);
  }
  for (HazardRecord& record : shared_records) function(record);
}

template <typename Function>
void ForEachSlot(Function function) {
  ForEachRecord([&](HazardRecord& record) {
    for (HazardSlot& slot : record.slots) function(slot);
    function(record.transient);
  });
}

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
  if (skip_heavy_barrier.load(std::memory_order_relaxed)) return true;
  return syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0;
}

#endif

// Not a function's static variable: a child would wait for ever for a thread
// of its parent that was about to initialise that.
enum Mode { kUnknown, kAsymmetric, kSymmetric };
ABSL_CONST_INIT std::atomic<Mode> mode{kUnknown};

// (M3) Whether somebody waits for the slot to be cleared. Called by whoever has
// set `scanning`.
void SetWaitedFor(HazardSlot& slot, bool waited_for) {
  if (!HazardDomain::Asymmetric()) {
    slot.waited_for.exchange(waited_for ? 1 : 0, std::memory_order_acq_rel);
  } else if (slot.quiet.load(std::memory_order_relaxed) !=
             (waited_for ? 0u : 1u)) {
    slot.quiet.store(waited_for ? 0 : 1, std::memory_order_seq_cst);
  }
}

// ---- fork() ----

#ifndef _WIN32
// No scan is in progress while the process is copied. A scan does not wait for
// anything, so neither does this for long.
void BeforeFork() {
  forking.fetch_add(1, std::memory_order_seq_cst);
  while (scanning.exchange(true, std::memory_order_acquire)) {
    std::this_thread::yield();
  }
}

// Others may have left their work to the scan that never was: whoever next
// clears a slot looks, in either process. Not this thread, here: that would run
// destructors inside fork(), under whatever other handlers have locked.
void EndFork() {
  if (mode.load(std::memory_order_relaxed) == kUnknown) return;
  ForEachSlot([](HazardSlot& slot) { SetWaitedFor(slot, true); });
}

void AfterForkInParent() {
  EndFork();
  scanning.store(false, std::memory_order_seq_cst);
  forking.fetch_sub(1, std::memory_order_seq_cst);
}

// The child has one thread. Records of the others may be used again. What is in
// their slots stays: a lease may have been handed to the thread that lives on;
// one that was not is as lost as everything else on the stacks of the others.
void AfterForkInChild() {
  const HazardRecord* mine = nullptr;
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  mine = this_threads_record;
#endif
  ForEachRecord([&](HazardRecord& record) {
    if (&record == mine) return;
    record.transient.node.store(nullptr, std::memory_order_relaxed);
    record.owned.store(false, std::memory_order_relaxed);
  });
  // A thread may have registered the parent while it was being copied: the
  // kernel's part before that, and `mode` after it.
  if (mode.load(std::memory_order_relaxed) == kAsymmetric) {
    RegisterHeavyBarrier();
  }
  EndFork();
  forking.store(0, std::memory_order_seq_cst);
  scanning.store(false, std::memory_order_seq_cst);
}
#endif

// Before main: the first use may be in one thread while another one forks, and
// a scan never end in its child. And at the first use, if that is even earlier.
int HandleForks() {
#ifndef _WIN32
  ABSL_CONST_INIT static std::atomic<bool> handled{false};
  if (!handled.exchange(true, std::memory_order_relaxed)) {
    pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
  }
#endif
  return 0;
}
[[maybe_unused]] const int forks_are_handled = HandleForks();

// What the first of several threads found stays: reads have gone by it.
Mode SetUp() {
  HandleForks();
  const bool forced = force_symmetric.load(std::memory_order_relaxed);
  const Mode mine =
      !forced && RegisterHeavyBarrier() ? kAsymmetric : kSymmetric;
  Mode first = kUnknown;
  return mode.compare_exchange_strong(first, mine) ? mine : first;
}

// ---- Records of threads ----

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

ABSL_CONST_INIT thread_local bool this_thread_ends = false;

// Gives the record back when the thread ends. Leases that it handed out and
// that live on elsewhere keep it from being used again until they end.
struct ThreadEnd {
  ~ThreadEnd() {
    this_thread_ends = true;
    HazardRecord* const record = std::exchange(this_threads_record, &no_record);
    if (record != &no_record) {
      record->owned.store(false, std::memory_order_release);
    }
  }
};

// This thread's record, or null if it cannot have one any more.
HazardRecord* AcquireRecord() {
  if (this_threads_record != &no_record) return this_threads_record;
  if (this_thread_ends) return nullptr;
  static thread_local ThreadEnd end;
  static_cast<void>(&end);
  for (HazardRecord* record = records.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    if (record->owned.load(std::memory_order_relaxed) ||
        record->owned.exchange(true, std::memory_order_acquire)) {
      continue;
    }
    if (IsClear(*record)) return this_threads_record = record;
    record->owned.store(false, std::memory_order_release);
  }
  auto* const record = new HazardRecord;
  record->owned.store(true, std::memory_order_relaxed);
  record->next = records.load(std::memory_order_relaxed);
  while (!records.compare_exchange_weak(record->next, record,
                                        std::memory_order_release,
                                        std::memory_order_relaxed)) {
  }
  return this_threads_record = record;
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

// Announces the node in a shared slot; in a transient one if all are in use.
HazardSlot& ClaimShared(const HazardNode* node, size_t preferred,
                        bool& transient) {
  transient = false;
  for (size_t i = 0; i < kSharedRecords; ++i) {
    for (HazardSlot& slot :
         shared_records[(preferred + i) % kSharedRecords].slots) {
      if (Claim(slot, node)) return slot;
    }
  }
  transient = true;
  // Held for a few instructions each: one is free, or soon will be.
  for (size_t i = preferred;; ++i) {
    HazardSlot& slot = shared_records[i % kSharedRecords].transient;
    if (Claim(slot, node)) return slot;
  }
}

}  // namespace

// ---- Scans ----

struct HazardDomain::Scanner {
  // Whoever calls this has set `scanning`. Returns the nodes that no slot
  // holds, to be unreferenced once it has been reset.
  static const HazardNode* Scan();
  static void Unref(const HazardNode* dead) {
    while (dead != nullptr) {
      const HazardNode* const next = dead->next_;
      dead->Unref();
      dead = next;
    }
  }
  static void Append(const HazardNode* nodes, const HazardNode*& list) {
    while (nodes != nullptr) {
      const HazardNode* const next = nodes->next_;
      nodes->next_ = list;
      list = nodes;
      nodes = next;
    }
  }
  static void Push(const HazardNode* first, const HazardNode* last) {
    last->next_ = incoming.load(std::memory_order_relaxed);
    while (!incoming.compare_exchange_weak(last->next_, first,
                                           std::memory_order_release,
                                           std::memory_order_relaxed)) {
    }
  }
};

const HazardNode* HazardDomain::Scanner::Scan() {
  struct Holder {
    const void* node;
    HazardSlot* slot;
  };
  const HazardNode* fresh =
      incoming.exchange(nullptr, std::memory_order_acquire);
  if (fresh != nullptr) {
    // (M3) First say that somebody waits, then look who holds what.
    ForEachSlot([](HazardSlot& slot) { SetWaitedFor(slot, true); });
    if (Asymmetric() && !HeavyBarrier()) {
      // Nothing may be concluded about them. They stay until it works again.
      const HazardNode* last = fresh;
      while (last->next_ != nullptr) last = last->next_;
      Push(fresh, last);
    } else {
      Append(fresh, retained);
    }
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
  const HazardNode* node = std::exchange(retained, nullptr);
  while (node != nullptr) {
    const HazardNode* const next = node->next_;
    const auto [first, last] = std::equal_range(holders.begin(), holders.end(),
                                                Holder{node, nullptr}, before);
    const HazardNode*& list = first == last ? dead : retained;
    node->next_ = list;
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

void HazardDomain::Look() noexcept {
  const HazardNode* dead = nullptr;
  pending.store(true, std::memory_order_seq_cst);
  while (pending.load(std::memory_order_seq_cst) &&
         forking.load(std::memory_order_seq_cst) == 0 &&
         !scanning.exchange(true, std::memory_order_seq_cst)) {
    pending.exchange(false, std::memory_order_seq_cst);
    Scanner::Append(Scanner::Scan(), dead);
    scanning.store(false, std::memory_order_seq_cst);
  }
  Scanner::Unref(dead);
}

void HazardDomain::Retire(const HazardNode* node) noexcept {
  if (node == nullptr) return;
  Scanner::Push(node, node);
  Look();
}

// ---- The slow paths ----

bool HazardDomain::Asymmetric() {
  const Mode known = mode.load(std::memory_order_acquire);
  return (known == kUnknown ? SetUp() : known) == kAsymmetric;
}

HazardRawHold HazardDomain::RawProtect(const HazardCell& cell) noexcept {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
  return ProtectShared(cell);
#else
  HazardRecord* const record = Asymmetric() ? AcquireRecord() : nullptr;
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

HazardRawHold HazardDomain::Counted(const HazardNode* node, HazardSlot& slot) {
  const HazardHold until_it_is_counted({node, &slot});
  node->Ref();
  return {node, &counted};
}

HazardRawHold HazardDomain::ProtectShared(const HazardCell& cell) {
  const size_t preferred = PreferredSharedRecord();
  for (;;) {
    const HazardNode* const node = cell.load(std::memory_order_relaxed);
    if (node == nullptr) return {};
    bool transient = false;
    HazardSlot& slot = ClaimShared(node, preferred, transient);
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

void HazardDomain::ReleaseSlow(const HazardNode* node, HazardSlot* slot) {
  if (slot == &counted) {
    node->Unref();
    return;
  }
  // (M3) Where nobody makes a barrier for us: a read-modify-write, as in the
  // scan.
  if (!Asymmetric() &&
      slot->waited_for.fetch_or(0, std::memory_order_acq_rel) == 0) {
    return;
  }
  Look();
}

void HazardDomain::ClearAndLook(HazardSlot* slot) {
  slot->node.store(nullptr, std::memory_order_release);
  Look();
}

// ---- For tests ----

HazardDomain::Counts HazardDomain::CountForTesting() {
  Counts counts;
  ForEachSlot([&](const HazardSlot& slot) {
    if (slot.node.load(std::memory_order_acquire) != nullptr) ++counts.held;
  });
  for (const HazardRecord* record = records.load(std::memory_order_acquire);
       record != nullptr; record = record->next) {
    ++counts.records;
    if (record->owned.load(std::memory_order_acquire)) ++counts.owned;
  }
  while (scanning.exchange(true, std::memory_order_acquire)) {
    std::this_thread::yield();
  }
  for (const HazardNode* node = retained; node != nullptr; node = node->next_) {
    ++counts.retained;
  }
  scanning.store(false, std::memory_order_seq_cst);
  return counts;
}

void HazardDomain::ForceSymmetricForTesting() {
  force_symmetric.store(true, std::memory_order_relaxed);
}

void HazardDomain::SkipHeavyBarrierForTesting(bool skip) {
  skip_heavy_barrier.store(skip, std::memory_order_relaxed);
}

}  // namespace internal
}  // namespace refreshable
