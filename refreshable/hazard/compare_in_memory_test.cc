// SPDX-License-Identifier: Apache-2.0

#include "refreshable/hazard/compare_in_memory.h"

#include <atomic>
#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace refreshable {
namespace internal {
namespace {

TEST(CompareInMemoryTest, NullAndNotNull) {
  const auto pointer = [](uintptr_t bits) {
    return reinterpret_cast<const void*>(bits);
  };
  std::atomic<const void*> word{nullptr};
  EXPECT_TRUE(IsZeroAcquire(word));
  // All bits must be compared.
  word = pointer(1);
  EXPECT_FALSE(IsZeroAcquire(word));
  word = pointer(uintptr_t{1} << (8 * sizeof(void*) - 1));
  EXPECT_FALSE(IsZeroAcquire(word));
}

TEST(CompareInMemoryTest, ZeroAndNotZeroAndNotTheNeighbour) {
  struct {
    std::atomic<uint32_t> word{0};
    std::atomic<uint32_t> neighbour{1};
  } both;
  EXPECT_TRUE(IsZeroRelaxed(both.word));
  both.word = uint32_t{1} << 31;
  both.neighbour = 0;
  EXPECT_FALSE(IsZeroRelaxed(both.word));
}

TEST(CompareInMemoryTest, SamePointerOrNot) {
  const int values[2] = {};
  std::atomic<const int*> word{&values[0]};
  EXPECT_TRUE(EqualsAcquire(word, &values[0]));
  EXPECT_FALSE(EqualsAcquire(word, &values[1]));
  EXPECT_FALSE(EqualsAcquire<const int>(word, nullptr));
}

TEST(CompareInMemoryTest, BelowIsSignedAndStrict) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  constexpr int64_t kValues[] = {kLeast, -1, 0, 1, int64_t{1} << 32, kMost};
  for (const int64_t a : kValues) {
    for (const int64_t b : kValues) {
      const std::atomic<int64_t> word{b};
      EXPECT_EQ(BelowRelaxed(a, word), a < b) << a << " < " << b;
    }
  }
}

// The compiler must not reuse the result of an earlier call.
TEST(CompareInMemoryTest, LooksAgain) {
  std::atomic<uint32_t> word{0};
  const bool before = IsZeroRelaxed(word);
  word.store(1, std::memory_order_relaxed);
  EXPECT_TRUE(before);
  EXPECT_FALSE(IsZeroRelaxed(word));
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
