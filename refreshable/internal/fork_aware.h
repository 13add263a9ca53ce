// SPDX-License-Identifier: Apache-2.0
//
// ForkAware: something whose lock must survive fork().

#ifndef REFRESHABLE_INTERNAL_FORK_AWARE_H_
#define REFRESHABLE_INTERNAL_FORK_AWARE_H_

#include "refreshable/internal/abi.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class ForkRegistry;

// While it exists, each fork() of the process is bracketed by calls of these
// methods on the forking thread (pthread_atfork; nothing where there is none).
// They must do no more than lock, unlock (a ForkMutex), allocate, and put plain
// state right.
//
// A thread must not create or destroy one while it holds the lock that
// BeforeFork takes.
class ForkAware {
 public:
  ForkAware(const ForkAware&) = delete;
  ForkAware& operator=(const ForkAware&) = delete;

 protected:
  ForkAware() = default;
  ~ForkAware() = default;

  // To be called at the end of construction and the start of destruction.
  void Register();
  void Unregister();

 private:
  friend class ForkRegistry;

  // Takes the lock, so that no other thread is inside.
  virtual void BeforeFork() = 0;
  virtual void AfterForkInParent() = 0;
  // No other thread exists any more; some may have been waiting for the lock.
  virtual void AfterForkInChild() = 0;

  // The registry that this object is registered with. Each copy of the library
  // in the process may have its own, and Unregister may run in a copy other
  // than the one that ran Register.
  ForkRegistry* registry_ = nullptr;
  ForkAware* next_ = nullptr;
  ForkAware* previous_ = nullptr;
};

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_FORK_AWARE_H_
