// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the hazard domain share.

#ifndef REFRESHABLE_HAZARD_HAZARD_TEST_UTIL_H_
#define REFRESHABLE_HAZARD_HAZARD_TEST_UTIL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_domain.h"

namespace refreshable {
namespace internal {

#ifdef REFRESHABLE_TEST_SYMMETRIC
inline const bool kForced = [] {
  HazardDomain::Current().ForceSymmetricForTesting();
  return true;
}();
#endif

inline constexpr uint64_t kAlive = 0x5eadbeef5eadbeef;

// A node whose `mark` is kAlive until the node is destroyed. `*counter` counts
// the living nodes. The destructor calls `hook`.
struct TestNode final : HazardNode {
  explicit TestNode(std::atomic<int>* counter,
                    std::function<void()> hook = nullptr)
      : live(counter), at_end(std::move(hook)) {
    ++*live;
  }
  ~TestNode() override {
    if (at_end) at_end();
    mark = 0;
    --*live;
  }
  std::atomic<int>* const live;
  const std::function<void()> at_end;
  volatile uint64_t mark = kAlive;
};

inline bool Alive(const HazardHolder& hold) {
  return static_cast<const TestNode*>(hold.node())->mark == kAlive;
}

inline void Replace(HazardCell& cell, const HazardNode* node) {
  HazardDomain::Current().Retire(cell.exchange(node));
}

// Takes the hold in the same way as a read of a token does. Requires that the
// cell never contains null.
inline HazardHolder Hold(const HazardCell& cell) {
  HazardHolder hold(HazardDomain::TryProtect(&HazardDomain::Current(), cell));
  if (hold.node() != nullptr) return hold;
  return HazardHolder(
      HazardDomain::ProtectElsewhere(&HazardDomain::Current(), cell));
}

// Checks after each test that no node is held and that none is waiting to be
// freed.
class HazardDomainTest : public testing::Test {
 protected:
  ~HazardDomainTest() override {
    Replace(cell_, nullptr);
    EXPECT_EQ(live_.load(), 0);
    const HazardDomain::Counts counts =
        HazardDomain::Current().CountForTesting();
    EXPECT_EQ(counts.held, 0);
    EXPECT_EQ(counts.retained, 0);
  }

  std::atomic<int> live_{0};
  HazardCell cell_{nullptr};
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_HAZARD_HAZARD_TEST_UTIL_H_
