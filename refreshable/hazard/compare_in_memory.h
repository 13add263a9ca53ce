// SPDX-License-Identifier: Apache-2.0
//
// Functions that compare an atomic variable with a value. GCC compiles such a
// comparison to a load and a compare. With GCC on x86-64 the functions
// therefore use inline assembly, which needs only one instruction.
// docs/performance.md says what that saves. The `#else` branches say in C++
// what the assembly does.

#ifndef REFRESHABLE_HAZARD_COMPARE_IN_MEMORY_H_
#define REFRESHABLE_HAZARD_COMPARE_IN_MEMORY_H_

#include <atomic>
#include <cstdint>

// Defined if the functions below use assembly. AddressSanitizer and
// ThreadSanitizer must see the load, so their builds use no assembly.
//
// An aligned load on x86-64 is atomic and has acquire order. So the fences only
// keep the compiler from moving later accesses before the load. Each assembly
// string is valid in AT&T's dialect and in Intel's (-masm=intel).
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

#endif  // REFRESHABLE_HAZARD_COMPARE_IN_MEMORY_H_
