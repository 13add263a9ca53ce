// SPDX-License-Identifier: Apache-2.0
//
// The one race that everything rests on, provoked: a read announces a node and
// looks again; a publisher replaces it and looks who has announced it. If both
// can miss each other, a token is freed while it is held.
//
// The processor lets that happen only while the announcement is still in the
// store buffer of the reader's core. The reader therefore fills that buffer
// with stores that miss the cache, so that the announcement queues up behind
// them: without the publisher's heavy barrier the bad outcome is then frequent,
// and the second test sees it.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "refreshable/internal/hazard_domain.h"

namespace refreshable {
namespace internal {
namespace {

constexpr size_t kNodes = 64;
constexpr size_t kLine = 64;
constexpr size_t kBufferBytes = size_t{64} << 20;

struct Litmus {
  // Lives in a pool and is never freed: whether it should have been is kept
  // beside it, so that even the bad outcome reads no freed memory.
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

void Read(Litmus& litmus) {
  std::vector<unsigned char> buffer(kBufferBytes);
  uint64_t at = 1;
  while (!litmus.stop.load(std::memory_order_relaxed)) {
    for (int i = 0; i < 24; ++i) {
      at = at * 6364136223846793005u + 1442695040888963407u;
      auto* const line = &buffer[(at >> 33) % (kBufferBytes / kLine) * kLine];
      *const_cast<volatile unsigned char*>(line) = 1;
    }
    HazardHold hold(HazardDomain::TryProtect(
        litmus.cell, litmus.cell.load(std::memory_order_relaxed)));
    if (hold.node() == nullptr) hold = HazardDomain::Protect(litmus.cell);
    const size_t index = litmus.IndexOf(hold.node());
    for (int i = 0; i < 1000; ++i) {
      if (!litmus.alive[index].load(std::memory_order_relaxed)) {
        litmus.bad.fetch_add(1);
        break;
      }
    }
  }
}

// Publishes `rounds` times, or until the bad outcome is seen.
int64_t CountBad(int64_t rounds) {
  auto litmus = std::make_unique<Litmus>();
  litmus->cell = litmus->Make(0);
  std::thread reader([&] { Read(*litmus); });
  size_t next = 0;
  for (int64_t i = 0; i < rounds && litmus->bad.load() == 0; ++i) {
    do {
      next = (next + 1) % kNodes;
    } while (litmus->alive[next].load());
    HazardDomain::Retire(litmus->cell.exchange(litmus->Make(next)));
  }
  litmus->stop = true;
  reader.join();
  HazardDomain::Retire(litmus->cell.exchange(nullptr));
  return litmus->bad.load();
}

TEST(HazardLitmusTest, R12NoNodeIsFreedWhileItIsHeld) {
  EXPECT_EQ(CountBad(50000), 0);
}

// The test above can fail: it does so without the heavy barrier. (Where there
// is none to leave out, reads make a full barrier themselves.)
TEST(HazardLitmusTest, TheLitmusSeesAMissingBarrier) {
  if (!HazardDomain::Asymmetric()) {
    std::cout << "no membarrier(2) here: there is no barrier to leave out\n";
    return;
  }
  HazardDomain::SkipHeavyBarrierForTesting(true);
  EXPECT_GT(CountBad(20000000), 0);
  HazardDomain::SkipHeavyBarrierForTesting(false);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
