// SPDX-License-Identifier: Apache-2.0
//
// ForkMutex: a lock that a thread may hold during fork(), and then release in
// both processes.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_

#include <mutex>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"

namespace refreshable {
namespace executors_internal {

// A mutex for handlers of pthread_atfork(3), which lock it before the fork and
// unlock it in the parent and in the child process. absl::Mutex must not be
// used like that. In the child process, an absl::Mutex might wait for a thread
// that exists only in the parent. That is a thread which, at the moment of the
// fork, was about to queue for the mutex or, in builds without NDEBUG, was
// inside the deadlock detection of absl::Mutex.
class ABSL_LOCKABLE ForkMutex {
 public:
  ForkMutex() = default;
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE ForkMutexLock {
 public:
  explicit ForkMutexLock(ForkMutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex)
      : mutex_(mutex) {
    mutex_->Lock();
  }
  ~ForkMutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  ForkMutexLock(const ForkMutexLock&) = delete;
  ForkMutexLock& operator=(const ForkMutexLock&) = delete;

 private:
  ForkMutex* const mutex_;
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_
