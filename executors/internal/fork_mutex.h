// SPDX-License-Identifier: Apache-2.0
//
// ForkMutex: a lock that a thread may hold over fork(), and release on both
// sides of it.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_

#include <mutex>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"

namespace refreshable {
namespace executors_internal {

// A mutex for handlers of pthread_atfork(3), which lock it before the fork and
// unlock it in the parent and in the child. absl::Mutex must not be used like
// that. In the child it may wait for threads that were about to queue for it
// or, in builds without NDEBUG, for a thread that was in its deadlock
// detection; but those threads do not exist in the child.
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
