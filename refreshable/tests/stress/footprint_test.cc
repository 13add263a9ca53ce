// SPDX-License-Identifier: Apache-2.0
//
// Tests how much memory an idle instance takes, because a server may have very
// many instances.

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"

namespace {

// The allocated bytes, including the bytes that the heap adds to each block.
std::atomic<int64_t> bytes_in_use{0};

int64_t BytesOf(void* memory) {
  return static_cast<int64_t>(malloc_usable_size(memory) + sizeof(size_t));
}

void* Counted(void* memory) {
  if (memory == nullptr) std::abort();
  bytes_in_use += BytesOf(memory);
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  bytes_in_use -= BytesOf(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return Counted(std::malloc(size)); }
void* operator new(size_t size, std::align_val_t alignment) {
  return Counted(std::aligned_alloc(static_cast<size_t>(alignment), size));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  Free(memory);
}

namespace refreshable {
namespace {

using Strings = Refreshable<std::string>;

// The most bytes that an instance may take, without its token's std::string.
#ifdef __GLIBCXX__
constexpr int64_t kMost = 896;
#else  // Instances are larger with other standard libraries.
constexpr int64_t kMost = 2048;
#endif
// The bytes of an instance's lock, which is in a page that exists before
// BytesEach counts.
constexpr int64_t kLock = 4096 / 63;

// Returns a token that is so short that its std::string allocates nothing.
Credential<std::string> Token() {
  return Credential<std::string>("token", Expiry::In(absl::Hours(1)));
}

std::shared_ptr<TokenSource<std::string>> Source(int failures) {
  return BlockingSource<std::string>(
      [failures]() mutable -> absl::StatusOr<Credential<std::string>> {
        if (failures-- > 0) return absl::UnavailableError("down");
        return Token();
      });
}

// Returns the bytes that an instance made by `make` takes, without its token's
// std::string. The instance's lock and its part of the executor's tables are
// included.
template <typename E, typename Make>
int64_t BytesEach(Make make) {
  constexpr int kInstances = 100;
  std::vector<std::unique_ptr<Strings>> instances;
  instances.reserve(kInstances);
  const auto create = [&](Executor* executor) {
    for (int i = 0; i < kInstances; ++i) instances.push_back(make(executor));
  };
  {
    E executor;
    create(&executor);  // Allocates what all instances share.
    instances.clear();
  }
  E executor;
  const int64_t before = bytes_in_use;
  create(&executor);
  const int64_t bytes = bytes_in_use - before;
  instances.clear();
  return bytes / kInstances + kLock - static_cast<int64_t>(sizeof(std::string));
}

std::unique_ptr<Strings> Installed(Executor* executor) {
  auto token = *Strings::Create(Source(0), {executor});
  EXPECT_TRUE(token->Install(Token()).ok());
  return token;
}

std::unique_ptr<Strings> Refreshed(Executor* executor, int failures) {
  auto token = *Strings::Create(Source(failures), {executor});
  EXPECT_TRUE(token->Get().ok());
  return token;
}

TEST(FootprintTest, AnIdleInstanceOnAManualExecutor) {
  EXPECT_LE(BytesEach<ManualExecutor>(Installed), kMost);
}

TEST(FootprintTest, AnIdleInstanceOnAThreadExecutor) {
  EXPECT_LE(BytesEach<ThreadExecutor>(Installed), kMost);
}

// A ManualExecutor keeps the entries of cancelled timers for a while. The
// entries take up to this many bytes per instance.
constexpr int64_t kCancelled = 48;

TEST(FootprintTest, AnInstanceThatHasRefreshedIsAsSmall) {
  EXPECT_LE(BytesEach<ManualExecutor>(
                [](Executor* executor) { return Refreshed(executor, 0); }),
            kMost + kCancelled);
}

// The statistics and the last failure remain after a token has come. They take
// up to `kTrouble` bytes.
TEST(FootprintTest, AnInstanceThatHasFailedIsAsSmallAfterwards) {
  constexpr int64_t kTrouble = 128;
  EXPECT_LE(BytesEach<ManualExecutor>(
                [](Executor* executor) { return Refreshed(executor, 2); }),
            kMost + kCancelled + kTrouble);
}

TEST(FootprintTest, NothingRemainsOfAnInstance) {
  ManualExecutor executor;
  const auto make_and_destroy = [&] {
    for (int i = 0; i < 100; ++i) {
      auto token = *Strings::Create(Source(1), {&executor});
      EXPECT_TRUE(token->Get().ok());
    }
    executor.RunUntilIdle();
    return bytes_in_use.load();
  };
  const int64_t before = make_and_destroy();
  EXPECT_EQ(make_and_destroy(), before);
}

}  // namespace
}  // namespace refreshable
