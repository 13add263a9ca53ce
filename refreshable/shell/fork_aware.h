// SPDX-License-Identifier: Apache-2.0
//
// ForkAware: the base of an object whose lock must survive fork().

#ifndef REFRESHABLE_SHELL_FORK_AWARE_H_
#define REFRESHABLE_SHELL_FORK_AWARE_H_

#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/internal/abi.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class ForkRegistry;
struct ForkSlot;

// The base of an object whose lock, `mutex_`, must survive fork(). The lock is
// held during each fork() of the process, so that no other thread is in a
// critical section of the object at the fork. `AfterForkInChild` is then called
// in the child. Forks are noticed by pthread_atfork; on a system without it,
// they are not noticed.
//
// The locks of all objects are together in a few pages. fork() writes to each
// lock, and the first write to a page after a fork copies that page. If each
// object contained its lock, a page would be copied for each object. In the
// parent, fork() touches the locks only, and not the objects.
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
  // start of destruction. From the first call to the second, the lock is held
  // during each fork(), and AfterForkInChild is called in the child.
  void Register();
  void Unregister();

  // The first call in the child of a fork() returns true if the object was
  // registered at the fork. Every other call returns false. Requires: `mutex_`
  // is held.
  bool TakeForked();

  executors_internal::ForkMutex& mutex_;  // The lock, in a ForkSlot.

 private:
  friend class ForkRegistry;

  explicit ForkAware(ForkSlot& slot);
  ForkSlot& slot();

  // Called in the child of a fork() while the lock is held. No other thread
  // exists there. May only set variables.
  virtual void AfterForkInChild() = 0;
};

REFRESHABLE_ABI_NAMESPACE_END
}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_FORK_AWARE_H_
