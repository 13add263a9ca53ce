// SPDX-License-Identifier: Apache-2.0

#include "refreshable/internal/fork_aware.h"

#include "absl/base/thread_annotations.h"
#include "refreshable/executors/fork_mutex.h"

#ifndef _WIN32
#include <pthread.h>
#endif

namespace refreshable {
namespace internal {

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;

// All that is registered, in a list. Never destroyed.
class ForkRegistry {
 public:
  static ForkRegistry& Get() {
    static ForkRegistry* const registry = new ForkRegistry;
    return *registry;
  }

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

namespace {

// Before main, and not only at the first use: that may be in one thread while
// another one forks.
[[maybe_unused]] const ForkRegistry& made_early = ForkRegistry::Get();

}  // namespace

void ForkAware::Register() { ForkRegistry::Get().Add(this); }
void ForkAware::Unregister() { ForkRegistry::Get().Remove(this); }

}  // namespace internal
}  // namespace refreshable
