// SPDX-License-Identifier: Apache-2.0
//
// Tests that provoke the two races on which the hazard domain depends.
//
// (M2) A read announces a node and then checks the cell once more. A publisher
// replaces the node and then checks who has announced it. Bad outcome: each
// misses what the other has written, and the node is freed while it is held.
//
// (M3) A publisher marks the slots and then checks which nodes they announce. A
// release clears its slot and then checks for the mark. If it sees the mark, it
// looks for nodes to free. Bad outcome: each misses what the other has written,
// and a node that nobody holds is not freed.
//
// A bad outcome can happen only while the announcement (M2) or the clearing
// (M3) is still in the store buffer of the reader's core. The reader therefore
// fills that buffer with stores that miss the cache.
//
// There are two tests for each race. The first expects no bad outcome. The
// second leaves out the heavy barrier, to show that the first could fail. If
// the second finds no bad outcome, it prints that the first proves nothing
// here.
//
// The tests are short. To run longer ones:
//
//   ./bazelw test --config=deep --test_output=all
//       --test_arg=--rounds=5000000 //refreshable/hazard:hazard_litmus_test

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_domain.h"

namespace refreshable {
namespace internal {
namespace {

// The maximum number of rounds per test. A round is one publication (M3) or ten
// publications (M2).
#ifdef REFRESHABLE_NO_THREAD_LOCAL
int64_t rounds = 2000;  // A round is slow: it reads all shared slots.
#else
int64_t rounds = 40000;
#endif

constexpr size_t kNodes = 64;
constexpr size_t kLine = 64;  // The size of a cache line.
constexpr size_t kBufferBytes = size_t{64} << 20;

// What the reader and the publisher of one test share.
struct Litmus {
  // Freeing a node only resets `*alive`. So no freed memory is read even if the
  // bad outcome occurs.
  struct Node final : HazardNode {
    explicit Node(std::atomic<bool>* a) : alive(a) { alive->store(true); }
    void OnUnreferenced() override { alive->store(false); }
    std::atomic<bool>* const alive;
  };

  size_t IndexOf(const HazardNode* node) const {
    return static_cast<const Node*>(node) - Pool();
  }
  Node* Pool() const {
    return reinterpret_cast<Node*>(const_cast<unsigned char*>(storage));
  }
  Node* Make(size_t i) { return new (Pool() + i) Node(&alive[i]); }

  alignas(Node) unsigned char storage[kNodes * sizeof(Node)];
  std::atomic<bool> alive[kNodes] = {};
  HazardCell cell{nullptr};
  std::atomic<bool> stop{false};
  std::atomic<int64_t> bad{0};
};

// `Make` fills the store buffer with stores to random lines of `buffer_`, which
// usually miss the cache. If `evict` is set, `Make` first evicts each line,
// because the cache may have room for all of `buffer_`. Whether the eviction
// makes the stores slower depends on the processor. So callers set `evict` in
// every second call.
class SlowStores {
 public:
  void Make(int stores, [[maybe_unused]] bool evict) {
    for (int i = 0; i < stores; ++i) {
      at_ = at_ * 6364136223846793005u + 1442695040888963407u;
      auto* const line = &buffer_[(at_ >> 33) % (kBufferBytes / kLine) * kLine];
#ifdef __x86_64__
      if (evict) __builtin_ia32_clflush(line);
#endif
      *const_cast<volatile unsigned char*>(line) = 1;
    }
  }

 private:
  std::vector<unsigned char> buffer_ = std::vector<unsigned char>(kBufferBytes);
  uint64_t at_ = 1;
};

// Counts in `litmus.bad` how many nodes were freed while this thread held them.
void Read(Litmus& litmus) {
  SlowStores slow_stores;
  for (int turn = 0; !litmus.stop.load(std::memory_order_relaxed); ++turn) {
    slow_stores.Make(24, /*evict=*/turn % 2 == 0);
    HazardHolder hold(
        HazardDomain::TryProtect(&HazardDomain::Current(), litmus.cell));
    if (hold.node() == nullptr) {
      hold = HazardDomain::Current().Protect(litmus.cell);
    }
    const size_t index = litmus.IndexOf(hold.node());
    // Half of the turns watch for a long time, the others for about as long as
    // a publisher needs to free a node.
    for (int i = 0; i < (turn % 4 < 2 ? 100000 : 1000); ++i) {
      if (!litmus.alive[index].load(std::memory_order_relaxed)) {
        litmus.bad.fetch_add(1);
        break;
      }
    }
  }
}

// Returns how many nodes the reader saw freed while it held them. Stops at the
// first.
int64_t CountBad() {
  auto litmus = std::make_unique<Litmus>();
  litmus->cell = litmus->Make(0);
  std::thread reader([&] { Read(*litmus); });
  size_t next = 0;
  for (int64_t i = 0; i < 10 * rounds && litmus->bad.load() == 0; ++i) {
    do {
      next = (next + 1) % kNodes;
    } while (litmus->alive[next].load());
    HazardDomain::Current().Retire(litmus->cell.exchange(litmus->Make(next)));
  }
  litmus->stop = true;
  reader.join();
  HazardDomain::Current().Retire(litmus->cell.exchange(nullptr));
  return litmus->bad.load();
}

TEST(HazardLitmusTest, R12NoNodeIsFreedWhileItIsHeld) {
  EXPECT_EQ(CountBad(), 0);
}

// The publisher begins each round, and the reader then holds and releases a
// node. For each of these three steps, the last round in which it was made. The
// two threads use this to wait for each other.
struct Progress {
  std::atomic<int64_t> begun{0};
  std::atomic<int64_t> held{0};
  std::atomic<int64_t> released{0};
};

void Await(const std::atomic<int64_t>& step, int64_t round) {
  while (step.load(std::memory_order_acquire) != round) {
    std::this_thread::yield();
  }
}

void HoldAndRelease(Litmus& litmus, Progress& progress) {
  SlowStores slow_stores;
  for (int64_t round = 1; round <= rounds; ++round) {
    Await(progress.begun, round);
    if (litmus.stop.load(std::memory_order_relaxed)) return;
    HazardHolder hold = HazardDomain::Current().Protect(litmus.cell);
    progress.held.store(round, std::memory_order_release);
    slow_stores.Make(60, /*evict=*/round % 2 == 0);
    hold = HazardHolder();
    progress.released.store(round, std::memory_order_release);
  }
}

// Replaces the node at about the moment at which the reader releases it.
// Returns the number of nodes that were replaced and released but not freed.
int64_t CountLeft() {
  auto litmus = std::make_unique<Litmus>();
  Progress progress;
  litmus->cell = litmus->Make(0);
  std::thread reader([&] { HoldAndRelease(*litmus, progress); });
  int64_t left = 0;
  for (int64_t round = 1; round <= rounds && left == 0; ++round) {
    progress.begun.store(round, std::memory_order_release);
    Await(progress.held, round);
    // The delay varies, so that in some rounds the replacement coincides with
    // the release.
    const int64_t delay = round % (round % 4 < 2 ? 2039 : 61);
    for (std::atomic<int> i{0}; i < delay; ++i) {
    }
    const size_t old = litmus->IndexOf(litmus->cell.load());
    HazardDomain::Current().Retire(
        litmus->cell.exchange(litmus->Make(1 - old)));
    Await(progress.released, round);
    if (litmus->alive[old].load()) ++left;
  }
  litmus->stop = true;
  progress.begun.store(progress.begun.load() + 1);
  reader.join();
  HazardDomain::Current().Retire(litmus->cell.exchange(nullptr));
  return left;
}

TEST(HazardLitmusTest, R12TheLastReleaseIsNotMissed) {
  EXPECT_EQ(CountLeft(), 0);
}

// Calls `count` without the heavy barrier. This function is left out with
// AddressSanitizer or ThreadSanitizer: the code is then so slow that the steps
// of reader and publisher do not overlap.
#if !defined(ABSL_HAVE_ADDRESS_SANITIZER) && \
    !defined(ABSL_HAVE_THREAD_SANITIZER)
void LookForAMissingBarrier(int64_t (*count)()) {
  if (!HazardDomain::Current().Asymmetric()) {
    std::cout << "There is no membarrier(2) here, hence no barrier to leave "
                 "out.\n";
    return;
  }
  HazardDomain::Current().ReplaceHeavyBarrierForTesting([] {});
  const int64_t seen = count();
  HazardDomain::Current().ReplaceHeavyBarrierForTesting(nullptr);
  if (seen == 0) {
    std::cout << "NO EVIDENCE: this processor did not show the missing barrier "
                 "in "
              << rounds
              << " rounds. That the test with the barrier passes says nothing "
                 "here.\n";
  }
}

// Without thread_local, a read claims a shared slot. The claim is itself a
// barrier, so no bad outcome can be provoked.
#ifndef REFRESHABLE_NO_THREAD_LOCAL
TEST(HazardLitmusTest, TheLitmusLooksForAMissingBarrier) {
  LookForAMissingBarrier(CountBad);
}
#endif

TEST(HazardLitmusTest, TheOtherLitmusLooksForAMissingBarrier) {
  LookForAMissingBarrier(CountLeft);
}
#endif

}  // namespace

bool ReadArguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--rounds=") ||
        !absl::SimpleAtoi(argument, &rounds) || rounds <= 0) {
      std::cerr << "bad argument: " << argv[i] << std::endl;
      return false;
    }
  }
  return true;
}

}  // namespace internal
}  // namespace refreshable

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!refreshable::internal::ReadArguments(argc, argv)) return 1;
  return RUN_ALL_TESTS();
}
