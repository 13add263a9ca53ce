// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the hazard domain share: nodes that say when they are used
// after their end, and a fixture that leaves the domain as it found it.

#ifndef REFRESHABLE_INTERNAL_HAZARD_DOMAIN_TESTING_H_
#define REFRESHABLE_INTERNAL_HAZARD_DOMAIN_TESTING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "gtest/gtest.h"
#include "refreshable/internal/hazard_domain.h"

namespace refreshable {
namespace internal {

#ifdef REFRESHABLE_TEST_SYMMETRIC
inline const bool kForced = [] {
  HazardDomain::Current().ForceSymmetricForTesting();
  return true;
}();
#endif

inline constexpr uint64_t kAlive = 0x5eadbeef5eadbeef;

// Counts those that live, and says what it is when it is used after its end.
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

inline bool Alive(const HazardHold& hold) {
  return static_cast<const TestNode*>(hold.node())->mark == kAlive;
}

inline void Replace(HazardCell& cell, const HazardNode* node) {
  HazardDomain::Current().Retire(cell.exchange(node));
}

// As a read does it. Requires that the cell never has null.
inline HazardHold Hold(const HazardCell& cell) {
  HazardHold hold(HazardDomain::TryProtect(&HazardDomain::Current(), cell));
  if (hold.node() == nullptr) hold = HazardDomain::Current().Protect(cell);
  return hold;
}

// Each test leaves the domain as it found it: nothing held, nothing waiting.
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

#endif  // REFRESHABLE_INTERNAL_HAZARD_DOMAIN_TESTING_H_
