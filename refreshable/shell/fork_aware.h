// SPDX-License-Identifier: Apache-2.0
//
// ForkAware: the base class of an object whose lock must survive fork().

#ifndef REFRESHABLE_SHELL_FORK_AWARE_H_
#define REFRESHABLE_SHELL_FORK_AWARE_H_

#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/internal/abi.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class ForkRegistry;
struct ForkSlot;

// The base class of an object whose lock, `mutex_`, must survive fork(). The
// thread that calls fork() holds the lock during the fork. So no other thread
// is in a critical section of the object at that moment. In the child, the
// thread calls `AfterForkInChild` before it releases the lock. On a system
// without pthread_atfork, forks are not noticed.
//
// fork() writes to each lock, and the first write to a page after a fork copies
// that page. So the locks of all objects are together in a few pages, outside
// the objects.
//
// A thread must not create, register, unregister or destroy an object while it
// holds the lock of any object.
class ForkAware {
 public:
  ForkAware(const ForkAware&) = delete;
  ForkAware& operator=(const ForkAware&) = delete;

 protected:
  ForkAware();
  ~ForkAware();

  // Register must be called at the end of construction, and Unregister at the
  // start of destruction. Between these calls, the object takes part in each
  // fork().
  void Register();
  void Unregister();

  // Returns true at the first call in the child of a fork(), if the object was
  // registered at the fork. Requires: `mutex_` is held.
  bool TakeForked();

  executors_internal::ForkMutex& mutex_;  // The lock, which is in `slot()`.

 private:
  friend class ForkRegistry;

  explicit ForkAware(ForkSlot& slot);
  ForkSlot& slot();

  // Called in the child of a fork(), with the lock held. An implementation may
  // only set variables.
  virtual void AfterForkInChild() = 0;
};

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_FORK_AWARE_H_
