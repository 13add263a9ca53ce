// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses R1 and R2. A Refreshable, its snapshot and its token lie
// in pages that are made read-only. A read that wrote to this memory would end
// the program. The tests also check that reads allocate nothing.

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"

namespace {

// The arena is the memory for everything that becomes read-only. A thread
// allocates from the arena while the thread's `use_arena` is true.
constexpr size_t kArenaBytes = size_t{16} << 20;
unsigned char* arena = nullptr;
size_t arena_used = 0;
thread_local bool use_arena = false;
thread_local int64_t allocations = 0;

void* Allocate(size_t size, size_t alignment) {
  ++allocations;
  if (use_arena) {
    arena_used = (arena_used + alignment - 1) / alignment * alignment;
    void* const result = arena + arena_used;
    arena_used += size;
    if (arena_used > kArenaBytes) std::abort();
    return result;
  }
  void* result = nullptr;
  if (posix_memalign(&result, alignment, size) != 0) std::abort();
  return result;
}

void Free(void* p) {
  if (arena != nullptr && p >= arena && p < arena + kArenaBytes) return;
  std::free(p);
}

}  // namespace

void* operator new(size_t size) {
  return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* p) noexcept { Free(p); }
void operator delete(void* p, size_t) noexcept { Free(p); }
void operator delete(void* p, std::align_val_t) noexcept { Free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { Free(p); }

namespace refreshable {
namespace {

// An executor that has the operating system's clock and runs nothing.
class IdleExecutor final : public Executor {
 public:
  bool Run(Task task) override { return Keep(std::move(task)); }
  TimerId RunAfter(absl::Duration, Task task) override {
    Keep(std::move(task));
    return TimerId{1};
  }
  bool Cancel(TimerId) override { return true; }
  bool InExecutorThread() const override { return false; }
  const Clock& clock() const override { return SystemClock::Get(); }

 private:
  bool Keep(Task task) {
    tasks_.push_back(std::move(task));
    return true;
  }
  std::vector<Task> tasks_;
};

struct Node final : internal::HazardNode {};

// Returns whether the inlined part of a read succeeds on this thread. The
// thread must have read before, and must hold no lease. Without membarrier(2)
// or thread-local variables, returns true.
bool ReadsMakeNoCall() {
#ifndef REFRESHABLE_NO_THREAD_LOCAL
  internal::HazardDomain& domain = internal::HazardDomain::Current();
  if (domain.Asymmetric()) {
    static const internal::HazardCell cell{new Node};
    if (!internal::HazardDomain::AtHand(&domain)) return false;
    return internal::HazardHolder(
               internal::HazardDomain::TryProtect(&domain, cell))
               .node() != nullptr;
  }
#endif
  return true;
}

class ReadOnlyMemoryTest : public testing::Test {
 protected:
  // The memory of this test begins on a new page, because the pages of earlier
  // tests must stay writable.
  ReadOnlyMemoryTest() {
    if (arena == nullptr) {
      arena = static_cast<unsigned char*>(
          mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    arena_used = (arena_used + page - 1) / page * page;
    first_ = arena_used;
  }

  // Builds an executor and a Refreshable in the arena.
  template <typename E>
  void Build(RefreshPolicy policy) {
    use_arena = true;
    auto executor = std::make_unique<E>();
    auto refreshable = Refreshable<std::string>::Create(
        BlockingSource<std::string>(
            []() -> absl::StatusOr<Credential<std::string>> {
              return absl::UnavailableError("not asked in this test");
            }),
        {executor.get(), policy});
    ASSERT_TRUE(refreshable.ok());
    executor_ = std::move(executor);
    refreshable_ = *std::move(refreshable);
    ASSERT_TRUE(refreshable_
                    ->Install(Credential<std::string>(
                        std::string(1024, 'x'), Expiry::In(absl::Hours(1))))
                    .ok());
    use_arena = false;
  }

  void Protect(int protection) {
    ASSERT_EQ(mprotect(arena + first_, kArenaBytes - first_, protection), 0);
  }

  void ReadFromFourThreads() {
    // Without membarrier(2) a read takes longer.
    const int reads =
        internal::HazardDomain::Current().Asymmetric() ? 200000 : 2000;
    std::atomic<int> started{0};
    std::atomic<int> holding{0};
    std::atomic<bool> counted{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        // This first read may cause a scan of the hazard domain on any thread,
        // and a scan may allocate. So allocations count only after all first
        // reads.
        const bool first = refreshable_->Get().ok();
        ++started;
        while (started < 4) std::this_thread::yield();
        const int64_t before = allocations;
        int good = 0;
        int tried = 0;
        for (int i = 0; i < reads; ++i) {
          const auto lease = refreshable_->Get();
          good += lease.ok() && lease->token()[i % 1024] == 'x';
        }
        for (int i = 0; i < reads / 10; ++i)
          tried += refreshable_->TryGet().ok();
        EXPECT_EQ(allocations, before);
        EXPECT_TRUE(first);
        EXPECT_EQ(good, reads);
        EXPECT_EQ(tried, reads / 10);
        EXPECT_TRUE(ReadsMakeNoCall());
        const auto lease = refreshable_->Get();
        ++holding;
        while (!counted) std::this_thread::yield();
      });
    }
    while (holding < 4) std::this_thread::yield();
#ifndef REFRESHABLE_NO_THREAD_LOCAL
    if (internal::HazardDomain::Current().Asymmetric()) {
      EXPECT_GE(internal::HazardDomain::Current().CountForTesting().owned, 4);
    }
#endif
    counted = true;
    for (std::thread& thread : threads) thread.join();
  }

  void End() {
    refreshable_.reset();
    executor_.reset();
  }

  size_t first_ = 0;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Refreshable<std::string>> refreshable_;
};

TEST_F(ReadOnlyMemoryTest, R1AFreshReadWritesToNothingShared) {
  Build<IdleExecutor>(RefreshPolicy());
  Protect(PROT_READ);
  ReadFromFourThreads();
  Protect(PROT_READ | PROT_WRITE);
  End();
}

TEST_F(ReadOnlyMemoryTest, R1AFreshReadInVirtualTimeWritesToNothingShared) {
  Build<ManualExecutor>(RefreshPolicy());
  Protect(PROT_READ);
  ReadFromFourThreads();
  Protect(PROT_READ | PROT_WRITE);
  End();
}

// The first stale read starts a refresh, so that the other reads start none.
TEST_F(ReadOnlyMemoryTest, R2AStaleReadWritesToNothingShared) {
  Build<ManualExecutor>(RefreshPolicy());
  static_cast<ManualExecutor&>(*executor_).Suspend(absl::Minutes(50));
  use_arena = true;
  const bool served = refreshable_->Get().ok();
  use_arena = false;
  ASSERT_TRUE(served);
  EXPECT_EQ(refreshable_->health().freshness, Freshness::kStale);
  EXPECT_TRUE(refreshable_->health().refreshing);
  Protect(PROT_READ);
  ReadFromFourThreads();
  Protect(PROT_READ | PROT_WRITE);
  End();
}

// Shows that a write to the read-only pages ends the program: `Reset` writes to
// them.
TEST_F(ReadOnlyMemoryTest, ACallThatDoesWriteIsAFault) {
  Build<IdleExecutor>(RefreshPolicy());
  EXPECT_DEATH(
      {
        // The pages are protected only here, because the fork() of the death
        // test writes to them.
        Protect(PROT_READ);
        refreshable_->Reset();
      },
      "");
  End();
}

}  // namespace
}  // namespace refreshable
