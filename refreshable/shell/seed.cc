// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/seed.h"

#ifndef _WIN32
#include <pthread.h>
#endif

#include <atomic>
#include <cstdint>
#include <exception>
#include <random>

#include "absl/base/attributes.h"
#include "absl/base/config.h"
#include "absl/time/clock.h"

namespace refreshable {
namespace internal {
namespace {

// The state of a SplitMix64 generator. Several threads may seed it at the same
// time.
ABSL_CONST_INIT std::atomic<uint64_t> state{0};
ABSL_CONST_INIT std::atomic<bool> seeded{false};

// Makes the child of a fork() seed the generator again. A static initializer
// calls this function. If only DrawSeed called it, another thread's fork()
// during the first DrawSeed could go unnoticed. DrawSeed calls it too, because
// another static initializer may draw a seed earlier.
int NoticeForks() {
#ifndef _WIN32
  ABSL_CONST_INIT static std::atomic<bool> registered{false};
  if (!registered.exchange(true, std::memory_order_relaxed)) {
    pthread_atfork(nullptr, nullptr,
                   [] { seeded.store(false, std::memory_order_relaxed); });
  }
#endif
  return 0;
}
[[maybe_unused]] const int forks_are_noticed = NoticeForks();

uint64_t Entropy() {
  uint64_t drawn = static_cast<uint64_t>(absl::GetCurrentTimeNanos());
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    std::random_device device;
    drawn ^= (uint64_t{device()} << 32) | device();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // `drawn` stays the time alone. std::random_device throws, for example, if
    // no file descriptor is free.
  }
#else
  std::random_device device;
  drawn ^= (uint64_t{device()} << 32) | device();
#endif
  return drawn;
}

}  // namespace

uint64_t DrawSeed() {
  if (!seeded.load(std::memory_order_acquire)) {
    NoticeForks();
    state.fetch_add(Entropy(), std::memory_order_relaxed);
    seeded.store(true, std::memory_order_release);
  }
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15u;
  uint64_t z = state.fetch_add(kStep, std::memory_order_relaxed) + kStep;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace internal
}  // namespace refreshable
