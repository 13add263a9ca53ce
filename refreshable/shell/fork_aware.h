// SPDX-License-Identifier: Apache-2.0
//
// ForkAware: the base of an object whose lock must survive fork().

#ifndef REFRESHABLE_SHELL_FORK_AWARE_H_
#define REFRESHABLE_SHELL_FORK_AWARE_H_

#include "refreshable/internal/abi.h"

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

class ForkRegistry;

// An object that must act before and after a fork(). While it is registered,
// the methods below are called before and after each fork() of the process, on
// the forking thread (by pthread_atfork; never on a system without it). They
// may only lock and unlock a ForkMutex, allocate memory, and correct plain
// state.
//
// A thread must not register or unregister an object while it holds the lock
// that BeforeFork takes.
class ForkAware {
 public:
  ForkAware(const ForkAware&) = delete;
  ForkAware& operator=(const ForkAware&) = delete;

 protected:
  ForkAware() = default;
  ~ForkAware() = default;

  // Must be called at the end of construction and at the start of destruction.
  void Register();
  void Unregister();

 private:
  friend class ForkRegistry;

  // Takes the lock, so that no other thread is in a critical section.
  virtual void BeforeFork() = 0;
  virtual void AfterForkInParent() = 0;
  // The other threads no longer exist; some may have been waiting for the lock.
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

#endif  // REFRESHABLE_SHELL_FORK_AWARE_H_
