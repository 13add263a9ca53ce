// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/thread_executor.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/fatal.h"
#include "refreshable/executors/internal/has_memory.h"
#include "refreshable/executors/internal/thread_pool.h"

namespace refreshable {
namespace {

using executors_internal::HasMemory;
using executors_internal::Require;
using executors_internal::ThreadPool;

constexpr char kNoThreads[] =
    "ThreadExecutor: the system refuses the first threads";

absl::Status Validate(const ThreadExecutor::Options& options) {
  const auto refuse = [](const char* field, const auto& value,
                         const auto&... bound) {
    return absl::InvalidArgumentError(
        absl::StrCat("ThreadExecutor::Options::", field, " is ", value,
                     "; it must ", bound...));
  };
  const auto is_count = [](int n) {
    return n >= 1 && n <= ThreadExecutor::kMaxThreads;
  };
  if (!is_count(options.blocking_threads)) {
    return refuse("blocking_threads", options.blocking_threads, "be from 1 to ",
                  ThreadExecutor::kMaxThreads);
  }
  if (!is_count(options.workers)) {
    return refuse("workers", options.workers, "be from 1 to ",
                  ThreadExecutor::kMaxThreads);
  }
  if (options.idle_timeout < absl::ZeroDuration()) {
    return refuse("idle_timeout", absl::FormatDuration(options.idle_timeout),
                  "not be negative");
  }
  if (options.shutdown_grace < absl::ZeroDuration()) {
    return refuse("shutdown_grace",
                  absl::FormatDuration(options.shutdown_grace),
                  "not be negative");
  }
  if (options.max_queued < 1) {
    return refuse("max_queued", 0, "be at least 1");
  }
  if (options.max_timers < 1) {
    return refuse("max_timers", 0, "be at least 1");
  }
  return absl::OkStatus();
}

ThreadPool::Options ToPool(const ThreadExecutor::Options& options) {
  return {options.blocking_threads, options.workers, options.idle_timeout,
          options.max_queued, options.max_timers};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ThreadExecutor>> ThreadExecutor::Create(
    const Options& options) {
  return Create(options, SystemClock::Get());
}

absl::StatusOr<std::unique_ptr<ThreadExecutor>> ThreadExecutor::Create(
    const Options& options, const Clock& clock) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  const auto pool = std::make_shared<ThreadPool>(ToPool(options), clock);
  if (!pool->Start()) {
    return absl::ResourceExhaustedError(kNoThreads);
  }
  return absl::WrapUnique(new ThreadExecutor(options, clock, pool));
}

ThreadExecutor::ThreadExecutor(const Options& options, const Clock& clock,
                               const std::shared_ptr<ThreadPool>& pool)
    : options_(options), clock_(&clock), pool_(pool.get()) {}

ThreadExecutor::ThreadExecutor() : ThreadExecutor(Options()) {}

ThreadExecutor::ThreadExecutor(const Options& options)
    : options_(options), clock_(&SystemClock::Get()), pool_(nullptr) {
  const absl::Status status = Validate(options_);
  Require(status.ok(), std::string(status.message()).c_str());
  const auto pool = std::make_shared<ThreadPool>(ToPool(options_), *clock_);
  Require(pool->Start(), kNoThreads);
  pool_ = pool.get();
}

ThreadExecutor::~ThreadExecutor() {
  const int left = Shutdown(options_.shutdown_grace);
  if (left > 0) {
    std::fprintf(stderr,
                 "ThreadExecutor: destroyed while %d task%s still ran; left "
                 "running to the end of the process\n",
                 left, left == 1 ? "" : "s");
  }
  ThreadPool* const pool = LastPool();
  std::shared_ptr<ThreadPool> last;
  // A task that is left running may still call this executor. When `pool_` is
  // null, `LastPool` accepts such a call only if the task's pool has been
  // released. So the pool is released first.
  if (pool->OfThisProcess()) last = pool->Release();
  pool_ = nullptr;
}

int ThreadExecutor::Shutdown(absl::Duration timeout) {
  ThreadPool* pool = LastPool();
  if (pool == nullptr) return 0;
  Require(!pool->OwnsThisThread(),
          "ThreadExecutor shut down or destroyed inside one of its own tasks");
  shut_down_ = true;
  // `pool_` is read after `shut_down_` is set, because another thread may be
  // creating the pool of a fork()'s child now. Either this thread reads the
  // child's pool from `pool_`, or the other thread sees `shut_down_` and shuts
  // the child's pool down.
  pool = pool_;
  // In a child that has never used the executor, `pool` is still the parent's.
  // A thread that exists only in the parent may have held the lock of that pool
  // during the fork(). So in the child, that pool's `Shutdown` could wait
  // forever.
  return pool->OfThisProcess() ? pool->Shutdown(timeout) : 0;
}

bool ThreadExecutor::Run(Task task) {
  Require(task != nullptr, "ThreadExecutor::Run of a null task");
  ThreadPool* const pool = ThisProcessPool();
  return pool != nullptr && pool->Run(std::move(task));
}

bool ThreadExecutor::RunBlocking(Task task) {
  Require(task != nullptr, "ThreadExecutor::RunBlocking of a null task");
  ThreadPool* const pool = ThisProcessPool();
  return pool != nullptr && pool->RunBlocking(std::move(task));
}

TimerId ThreadExecutor::RunAfter(absl::Duration delay, Task task) {
  Require(task != nullptr, "ThreadExecutor::RunAfter of a null task");
  ThreadPool* const pool = ThisProcessPool();
  if (pool == nullptr) return TimerId::kNone;
  // The executor, not the pool, counts the ids, so that the child of a fork()
  // does not reuse ids from before the fork.
  const uint64_t id =
      last_timer_id_.fetch_add(1, std::memory_order_relaxed) + 1;
  return pool->RunAfter(id, delay, std::move(task)) ? static_cast<TimerId>(id)
                                                    : TimerId::kNone;
}

bool ThreadExecutor::Cancel(TimerId id) {
  ThreadPool* const pool = LastPool();
  // In the child of a fork(), the parent's timers are never destroyed. `true`
  // would mean that the timer's task has been destroyed.
  if (pool == nullptr || !pool->OfThisProcess()) return false;
  return pool->Cancel(static_cast<uint64_t>(id));
}

bool ThreadExecutor::InExecutorThread() const {
  ThreadPool* const pool = LastPool();
  return pool == nullptr || pool->InRunTask();
}

ThreadPool* ThreadExecutor::LastPool() const {
  ThreadPool* const pool = pool_.load(std::memory_order_acquire);
  Require(pool != nullptr || ThreadPool::InTaskLeftRunning(),
          "ThreadExecutor used after its destruction");
  return pool;
}

ThreadPool* ThreadExecutor::ThisProcessPool() {
  ThreadPool* pool = LastPool();
  if (pool == nullptr || pool->OfThisProcess()) return pool;
  if (shut_down_.load(std::memory_order_relaxed)) return nullptr;
  std::shared_ptr<ThreadPool> fresh;
  const bool made = HasMemory(
      [&] { fresh = std::make_shared<ThreadPool>(ToPool(options_), *clock_); });
  // If there is no memory or no thread, the next call tries again.
  if (!made || !fresh->Start()) return nullptr;
  if (pool_.compare_exchange_strong(pool, fresh.get())) {
    if (shut_down_) fresh->Shutdown(absl::ZeroDuration());
    return fresh.get();
  }
  // Another thread has already put the child's pool into `pool_`.
  fresh->Shutdown(absl::InfiniteDuration());
  fresh->Release();
  return pool;
}

}  // namespace refreshable
