// SPDX-License-Identifier: Apache-2.0
//
// The reads that wait for a refresh.

#ifndef REFRESHABLE_SHELL_WAITERS_H_
#define REFRESHABLE_SHELL_WAITERS_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>  // NOLINT(build/c++11)
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>  // NOLINT(build/c++11)
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/machine/refresh_machine.h"

namespace refreshable {
namespace internal {

class Shell;
template <>
struct RefCount<Shell> {
  static void Ref(Shell* shell);
  static void Unref(Shell* shell);
};

// Lets one thread sleep until another thread wakes it. Has a lock of its own,
// so that the woken thread does not queue for the Shell's lock.
class Wakeup {
 public:
  Wakeup() = default;
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // Ends the present or the next `Wait`.
  void Wake() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }

  // Sleeps until `Wake` is called or `timeout` has passed. Time while the
  // computer is suspended might not count. May return early. Called by one
  // thread at a time.
  void Wait(absl::Duration timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto woken = [this] { return woken_; };
    if (timeout == absl::InfiniteDuration()) {
      changed_.wait(lock, woken);
    } else {
      // `wait_for` adds the present time to the timeout. The limit of 24 hours
      // prevents an overflow.
      changed_.wait_for(
          lock, absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24))),
          woken);
    }
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// A read that waits. The Shell's lock guards the members that change, unless a
// comment says otherwise.
struct PendingRead {
  ReadRequest request;
  // Whether this read no longer waits for the refresh, and `outcome` is set. If
  // `outcome` is OK, the token has still to be loaded.
  bool settled = false;
  absl::Status outcome;
};

struct BlockedRead : PendingRead {
  uint64_t id = 0;
  // Whether the read's thread is inside a task of the executor, and whether it
  // can drive the executor. Only that thread sets these, before it waits.
  bool in_executor_thread = false;
  bool drivable = false;
  // Whether the thread is waiting for `wakeup`, or is about to wait.
  bool waiting = false;
  // Whether the read has ended and was removed from `Active::blocked`. If so,
  // the thread may read `outcome` without the lock.
  std::atomic<bool> done{false};
  Wakeup wakeup;
};

// An asynchronous read, with the user's code that takes its outcome. Always
// owned by shared_ptr. Must not be destroyed under a lock, because it may own
// objects of the user. May be used for another read after `Deliver`.
class AsyncRead : private PendingRead {
 public:
  AsyncRead(const AsyncRead&) = delete;
  AsyncRead& operator=(const AsyncRead&) = delete;
  virtual ~AsyncRead() = default;

 protected:
  AsyncRead() = default;

 private:
  friend class Shell;
  friend class AsyncReads;

  // Gives the outcome to the user's code. Called under no lock, at most once
  // for each read.
  virtual void Deliver(absl::StatusOr<HazardHolder> outcome) = 0;
  // Called instead of `Deliver` if the read is cancelled, under no lock.
  // Destroys the user's callback.
  virtual void Discard() {}

  uint64_t id_ = 0;
  std::shared_ptr<AsyncRead> next_;  // The next read in a list of AsyncReads.
  // Whether the executor was given a DeliverTask for the settled read.
  bool dispatched_ = false;
  // The thread inside ReadAsync for this read, or the default value. That
  // thread must not run the read's callback.
  std::thread::id own_call_;
  // Keeps the Shell alive while the executor has the read's DeliverTask. Only
  // that task uses this pointer. It is null while the read waits: the Shell
  // owns the read then, and the two would keep each other alive.
  RefPtr<Shell> shell_;
};

// A table of asynchronous reads by id. Not thread-safe.
class AsyncReads {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Whether no memory is allocated.
  bool unused() const { return lists_.empty(); }

  // Requires: no read in the table has the id of `read`.
  void Add(std::shared_ptr<AsyncRead> read) {
    if (size_ == lists_.size()) Grow();
    ++size_;
    Link(std::move(read));
  }

  // Returns null if there is no read with this id.
  std::shared_ptr<AsyncRead> Find(uint64_t id) const {
    if (empty()) return nullptr;
    const std::shared_ptr<AsyncRead>* at = &lists_[Index(id)];
    while (*at != nullptr && (*at)->id_ != id) at = &(*at)->next_;
    return *at;
  }

  // Removes and returns the read; null if there is none.
  std::shared_ptr<AsyncRead> Take(uint64_t id) {
    if (empty()) return nullptr;
    std::shared_ptr<AsyncRead>* at = &lists_[Index(id)];
    while (*at != nullptr && (*at)->id_ != id) at = &(*at)->next_;
    if (*at == nullptr) return nullptr;
    std::shared_ptr<AsyncRead> read = std::move(*at);
    *at = std::move(read->next_);
    if (--size_ == 0 && lists_.size() > kKept) lists_ = {};
    return read;
  }

  // Returns all reads in the order of their ids.
  std::vector<std::shared_ptr<AsyncRead>> All() const {
    std::vector<std::shared_ptr<AsyncRead>> all;
    all.reserve(size_);
    for (const auto& list : lists_) {
      for (auto read = list; read != nullptr; read = read->next_) {
        all.push_back(read);
      }
    }
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a->id_ < b->id_; });
    return all;
  }

 private:
  // A table with more lists than this frees them when it becomes empty.
  static constexpr size_t kKept = 64;

  // Most ids are consecutive, so their low bits spread the reads evenly.
  size_t Index(uint64_t id) const {
    return static_cast<size_t>(id) & (lists_.size() - 1);
  }

  void Link(std::shared_ptr<AsyncRead> read) {
    std::shared_ptr<AsyncRead>& list = lists_[Index(read->id_)];
    read->next_ = std::move(list);
    list = std::move(read);
  }

  void Grow() {
    std::vector<std::shared_ptr<AsyncRead>> old(
        std::max<size_t>(4, 2 * lists_.size()));
    old.swap(lists_);
    for (std::shared_ptr<AsyncRead>& list : old) {
      while (list != nullptr) {
        std::shared_ptr<AsyncRead> read = std::move(list);
        list = std::move(read->next_);
        Link(std::move(read));
      }
    }
  }

  // A hash table of linked lists. Their number is a power of two, or 0.
  std::vector<std::shared_ptr<AsyncRead>> lists_;
  size_t size_ = 0;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_WAITERS_H_
