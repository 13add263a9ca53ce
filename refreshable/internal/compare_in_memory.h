// SPDX-License-Identifier: Apache-2.0
//
// Atomic loads that are only compared. The plain form beside each is what it
// means. GCC takes two instructions for that, a load and a comparison, where
// x86-64 has one; a read has four of them, and that is a cycle of seven
// (docs/performance.md).

#ifndef REFRESHABLE_INTERNAL_COMPARE_IN_MEMORY_H_
#define REFRESHABLE_INTERNAL_COMPARE_IN_MEMORY_H_

#include <atomic>
#include <cstdint>

// An aligned load is atomic there, and an acquire load; what is left to do is
// to keep the compiler from moving things. In either dialect of assembly
// (-masm=intel). Not where a sanitizer must see it.
#if defined(__x86_64__) && defined(__LP64__) &&                 \
    defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define REFRESHABLE_INTERNAL_COMPARES_IN_MEMORY
#endif

namespace refreshable {
namespace internal {

inline bool IsZeroAcquire(const std::atomic<const void*>& word) {
#ifdef REFRESHABLE_INTERNAL_COMPARES_IN_MEMORY
  bool is;
  __asm__ volatile("cmp{q\t$0, %1|\t%q1, 0}" : "=@cce"(is) : "m"(word));
  std::atomic_signal_fence(std::memory_order_acquire);
  return is;
#else
  return word.load(std::memory_order_acquire) == nullptr;
#endif
}

inline bool IsZeroRelaxed(const std::atomic<uint32_t>& word) {
#ifdef REFRESHABLE_INTERNAL_COMPARES_IN_MEMORY
  bool is;
  __asm__ volatile("cmp{l\t$0, %1|\t%k1, 0}" : "=@cce"(is) : "m"(word));
  return is;
#else
  return word.load(std::memory_order_relaxed) == 0;
#endif
}

template <typename T>
bool EqualsAcquire(const std::atomic<T*>& word, T* value) {
#ifdef REFRESHABLE_INTERNAL_COMPARES_IN_MEMORY
  bool is;
  __asm__ volatile("cmp{q\t%2, %1|\t%q1, %2}"
                   : "=@cce"(is)
                   : "m"(word), "r"(value));
  std::atomic_signal_fence(std::memory_order_acquire);
  return is;
#else
  return word.load(std::memory_order_acquire) == value;
#endif
}

// Whether `value` is below what is in the word.
inline bool BelowRelaxed(int64_t value, const std::atomic<int64_t>& word) {
#ifdef REFRESHABLE_INTERNAL_COMPARES_IN_MEMORY
  bool is;
  __asm__ volatile("cmp{q\t%1, %2|\t%2, %q1}"
                   : "=@ccl"(is)
                   : "m"(word), "r"(value));
  return is;
#else
  return value < word.load(std::memory_order_relaxed);
#endif
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_COMPARE_IN_MEMORY_H_
