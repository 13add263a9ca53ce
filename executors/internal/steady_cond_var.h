// SPDX-License-Identifier: Apache-2.0
//
// SteadyCondVar: a condition variable that waits by the steady clock.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_STEADY_COND_VAR_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_STEADY_COND_VAR_H_

#include <condition_variable>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace refreshable {
namespace executors_internal {

// Like absl::CondVar, but timed waits use the steady clock. In older Abseil, a
// step back of the wall clock makes a timed wait longer.
class SteadyCondVar {
 public:
  SteadyCondVar() = default;
  SteadyCondVar(const SteadyCondVar&) = delete;
  SteadyCondVar& operator=(const SteadyCondVar&) = delete;

  // Waits for a signal. May return early. `Mutex` must have the methods Lock
  // and Unlock.
  template <typename Mutex>
  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Lockable<Mutex> lock{mutex};
    changed_.wait(lock);
  }
  // Waits for a signal, but no longer than `timeout`, which must be finite. May
  // return early. The clock may stand still while the computer is suspended.
  template <typename Mutex>
  void WaitWithTimeout(Mutex* mutex, absl::Duration timeout)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Lockable<Mutex> lock{mutex};
    changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout));
  }
  void Signal() { changed_.notify_one(); }
  void SignalAll() { changed_.notify_all(); }

 private:
  // Adapts `Mutex` to std::condition_variable_any.
  template <typename Mutex>
  struct Lockable {
    void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex->Lock(); }
    void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex->Unlock(); }

    Mutex* mutex;
  };

  std::condition_variable_any changed_;
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_STEADY_COND_VAR_H_
