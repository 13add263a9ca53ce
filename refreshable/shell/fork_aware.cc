// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/fork_aware.h"

#include "absl/base/thread_annotations.h"
#include "refreshable/executors/internal/fork_mutex.h"

#ifndef _WIN32
#include <pthread.h>
#endif

namespace refreshable {
namespace internal {
REFRESHABLE_ABI_NAMESPACE_BEGIN

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;

// The list of all registered objects. Never destroyed.
class ForkRegistry {
 public:
  // Returns the registry of this copy of the library. A registry and the
  // handlers that use it always belong to the same copy.
  static ForkRegistry& Get();

  void Add(ForkAware* item) {
    ForkMutexLock lock(&mutex_);
    item->next_ = first_;
    if (first_ != nullptr) first_->previous_ = item;
    first_ = item;
  }

  void Remove(ForkAware* item) {
    ForkMutexLock lock(&mutex_);
    if (item->previous_ != nullptr) item->previous_->next_ = item->next_;
    if (item->next_ != nullptr) item->next_->previous_ = item->previous_;
    if (first_ == item) first_ = item->next_;
  }

 private:
  ForkRegistry() {
#ifndef _WIN32
    pthread_atfork([] { Get().Before(); }, [] { Get().InParent(); },
                   [] { Get().InChild(); });
#endif
  }

  void Before() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Lock();
    for (ForkAware* i = first_; i != nullptr; i = i->next_) i->BeforeFork();
  }

  void InParent() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (ForkAware* i = first_; i != nullptr; i = i->next_) {
      i->AfterForkInParent();
    }
    mutex_.Unlock();
  }

  void InChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (ForkAware* i = first_; i != nullptr; i = i->next_) {
      i->AfterForkInChild();
    }
    mutex_.Unlock();
  }

  ForkMutex mutex_;
  ForkAware* first_ = nullptr;
};

// Not inline, because a static variable of an inline function is shared by the
// whole process.
ForkRegistry& ForkRegistry::Get() {
  static ForkRegistry* const registry = new ForkRegistry;
  return *registry;
}

namespace {

// Created before main, because the first use may be on one thread while another
// one forks.
[[maybe_unused]] const ForkRegistry& made_early = ForkRegistry::Get();

}  // namespace

void ForkAware::Register() {
  registry_ = &ForkRegistry::Get();
  registry_->Add(this);
}
void ForkAware::Unregister() { registry_->Remove(this); }

REFRESHABLE_ABI_NAMESPACE_END

}  // namespace internal
}  // namespace refreshable
