// SPDX-License-Identifier: Apache-2.0
//
// ThreadIds and Visit: record which threads are inside some part of the code.

#ifndef REFRESHABLE_SHELL_THREAD_IDS_H_
#define REFRESHABLE_SHELL_THREAD_IDS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace refreshable {
namespace internal {

// The threads inside some part of the code. A thread that has entered it
// several times is listed several times. Adding a thread to an empty list needs
// no allocation.
class ThreadIds {
 public:
  void AddThisThread();
  // Removes one entry of this thread, if there is one.
  void RemoveThisThread();
  bool HasThisThread() const;
  bool HasAnotherThread() const;
  bool empty() const { return first_ == Id() && others_ == nullptr; }

 private:
  using Id = std::thread::id;

  // One of the entries, or the default value.
  Id first_;
  // The other entries, or null.
  std::unique_ptr<std::vector<Id>> others_;
};

// Records that a thread is inside `Executor::Run`. Has room for one thread.
// `Leave` may be called without the Shell's lock; the other methods require it.
class Visit {
 public:
  // Returns false if a thread is recorded already.
  bool Enter() {
    if (state_.load(std::memory_order_acquire) != kNone) return false;
    thread_ = std::this_thread::get_id();
    state_.store(kInside, std::memory_order_relaxed);
    return true;
  }
  // Forgets the recorded thread, which must be the calling thread. Returns true
  // if the caller must then call `Shell::LeaveExecutor`. As soon as the thread
  // is forgotten, another thread may destroy this object.
  bool Leave() {
    return state_.exchange(kNone, std::memory_order_acq_rel) == kMustCall;
  }
  // If a thread is recorded, makes its `Leave` return true.
  void RequireCall() {
    State inside = kInside;
    state_.compare_exchange_strong(inside, kMustCall,
                                   std::memory_order_acq_rel);
  }

  bool empty() const { return state_.load(std::memory_order_acquire) == kNone; }
  bool IsThisThread() const {
    return !empty() && thread_ == std::this_thread::get_id();
  }
  bool IsAnotherThread() const {
    return !empty() && thread_ != std::this_thread::get_id();
  }

 private:
  enum State : uint8_t { kNone, kInside, kMustCall };

  std::atomic<State> state_{kNone};
  std::thread::id thread_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_THREAD_IDS_H_
