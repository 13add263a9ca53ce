// SPDX-License-Identifier: Apache-2.0

#include "refreshable/internal/fork_aware.h"

#include <cstring>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#ifndef _WIN32
#include <pthread.h>
#endif

namespace refreshable {
namespace internal {

// All that is registered, in a list. Never destroyed.
class ForkRegistry {
 public:
  static ForkRegistry& Get() {
    static ForkRegistry* const registry = new ForkRegistry;
    return *registry;
  }

  void Add(ForkAware* item) {
    absl::MutexLock lock(&mutex_);
    item->next_ = first_;
    if (first_ != nullptr) first_->previous_ = item;
    first_ = item;
  }

  void Remove(ForkAware* item) {
    absl::MutexLock lock(&mutex_);
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
    UnlockInChild(mutex_);
  }

  absl::Mutex mutex_;
  ForkAware* first_ = nullptr;
};

namespace {

// Before main, and not only at the first use: that may be in one thread while
// another one forks.
[[maybe_unused]] const ForkRegistry& made_early = ForkRegistry::Get();

}  // namespace

void UnlockInChild(absl::Mutex& mutex) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  absl::Mutex held;
  held.Lock();
  // Into one that is held, too, and that nobody waits for.
  std::memcpy(static_cast<void*>(&mutex), &held, sizeof(mutex));
  held.Unlock();
  mutex.Unlock();
}

void ForkAware::Register() { ForkRegistry::Get().Add(this); }
void ForkAware::Unregister() { ForkRegistry::Get().Remove(this); }

}  // namespace internal
}  // namespace refreshable
