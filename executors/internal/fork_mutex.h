// SPDX-License-Identifier: Apache-2.0
//
// ForkMutex: a lock that a thread may hold during fork(), and then release in
// both processes.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_FORK_MUTEX_H_

#ifndef _WIN32
#include <pthread.h>
#endif

#include <mutex>  // NOLINT(build/c++11)

#include "absl/base/thread_annotations.h"

namespace refreshable {
namespace executors_internal {

// A mutex that the handlers of pthread_atfork(3) may lock before the fork, and
// unlock in the parent and in the child process. An absl::Mutex might wait
// forever in the child process for a thread that exists only in the parent.
class ABSL_LOCKABLE ForkMutex {
 public:
  ForkMutex() = default;
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

#if defined(__GLIBC__) && defined(PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP)
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { pthread_mutex_lock(&mutex_); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { pthread_mutex_unlock(&mutex_); }

 private:
  // With glibc, a thread that finds the lock taken spins for a moment before it
  // sleeps. The lock is held so briefly that spinning usually suffices.
  pthread_mutex_t mutex_ = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
#else
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
#endif
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
