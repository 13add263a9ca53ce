// SPDX-License-Identifier: Apache-2.0
//
// A test of what a thread does if there is no memory for its slots.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/hazard/hazard_test_util.h"

namespace {

std::atomic<bool> refuse{false};
std::atomic<int> refused{0};

}  // namespace

// In this program, only slots need over-aligned memory.
void* operator new(size_t size, std::align_val_t alignment,
                   const std::nothrow_t&) noexcept {
  if (refuse) {
    ++refused;
    return nullptr;
  }
  return std::aligned_alloc(static_cast<size_t>(alignment), size);
}
void* operator new[](size_t size, std::align_val_t alignment,
                     const std::nothrow_t& nothrow) noexcept {
  return operator new(size, alignment, nothrow);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}

namespace refreshable {
namespace internal {
namespace {

using HazardNoMemoryTest = HazardDomainTest;

// There are fewer than 600 shared slots.
std::vector<HazardHolder> Take600(const HazardCell& cell) {
  std::vector<HazardHolder> holds;
  for (int i = 0; i < 600; ++i) holds.push_back(Hold(cell));
  return holds;
}

TEST_F(HazardNoMemoryTest, E8ReadsWorkWithoutMemoryForSlots) {
  Replace(cell_, new TestNode(&live_));
  std::thread([&] {
    refuse = true;
    // The thread has no slots of its own and gets none.
    std::vector<HazardHolder> holds = Take600(cell_);
    holds.clear();
    refuse = false;
    Hold(cell_);
    refuse = true;
    // Now the thread has three slots of its own, unless the domain is in
    // symmetric mode. The thread gets no more.
    holds = Take600(cell_);
    refuse = false;
    std::vector<HazardHolder> more = Take600(cell_);
    refuse = true;
    holds.clear();
    holds = Take600(cell_);
    Replace(cell_, nullptr);
    for (const HazardHolder& hold : holds) ASSERT_TRUE(Alive(hold));
    holds.clear();
    EXPECT_EQ(live_.load(), 1);
    more.clear();
    EXPECT_EQ(live_.load(), 0);
    refuse = false;
  }).join();
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  if (HazardDomain::Current().Asymmetric()) {
    EXPECT_GT(refused, 0);
  }
#endif
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
