// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/soak/heap.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "absl/base/attributes.h"
#include "absl/base/config.h"

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || \
    defined(ABSL_HAVE_THREAD_SANITIZER) || defined(ABSL_HAVE_MEMORY_SANITIZER)

#include <sanitizer/allocator_interface.h>

namespace refreshable_soak {

int64_t HeapBytes() {
  return static_cast<int64_t>(__sanitizer_get_current_allocated_bytes());
}

}  // namespace refreshable_soak

#elif defined(__GLIBC__)

#include <malloc.h>

namespace refreshable_soak {
namespace {

// The sum of all counts is the number of bytes in use. Few threads share a
// count, so threads rarely wait for each other. A count may be negative,
// because a thread may free what another thread allocated.
struct alignas(64) Count {
  std::atomic<int64_t> bytes{0};
};
constexpr size_t kCounts = 64;
ABSL_CONST_INIT Count counts[kCounts];

void Add(int64_t bytes) {
  static thread_local const char of_this_thread = 0;
  const auto address = reinterpret_cast<uintptr_t>(&of_this_thread);
  counts[(address >> 12) % kCounts].bytes.fetch_add(bytes,
                                                    std::memory_order_relaxed);
}

void* Counted(void* memory) {
  if (memory == nullptr) std::abort();
  Add(static_cast<int64_t>(malloc_usable_size(memory)));
  return memory;
}

void Free(void* memory) {
  Add(-static_cast<int64_t>(malloc_usable_size(memory)));
  std::free(memory);
}

}  // namespace

int64_t HeapBytes() {
  int64_t bytes = 0;
  for (const Count& count : counts) {
    bytes += count.bytes.load(std::memory_order_relaxed);
  }
  return bytes;
}

}  // namespace refreshable_soak

// The other forms of `new` and `delete` in the standard library call the
// functions below.
void* operator new(std::size_t size) {
  return refreshable_soak::Counted(std::malloc(size));
}
void* operator new(std::size_t size, std::align_val_t align) {
  const auto unit = static_cast<std::size_t>(align);
  return refreshable_soak::Counted(
      std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { refreshable_soak::Free(memory); }
void operator delete(void* memory, std::size_t) noexcept {
  refreshable_soak::Free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  refreshable_soak::Free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  refreshable_soak::Free(memory);
}

#else

namespace refreshable_soak {

int64_t HeapBytes() { return -1; }

}  // namespace refreshable_soak

#endif
