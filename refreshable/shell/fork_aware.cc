// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/fork_aware.h"

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

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

// The lock of one object, in a cache line of its own.
struct alignas(64) ForkSlot {
  ForkMutex mutex;  // Must be first: ForkAware::slot() casts it to ForkSlot.
  // Null while the object is not registered.
  ForkAware* object = nullptr;
  // This differs from ForkRegistry::Get() if another copy of the library
  // created the object.
  ForkRegistry* registry = nullptr;
  union {
    // If no object has this slot: the next free slot.
    ForkSlot* next_free = nullptr;
    // If an object has this slot: what the next TakeForked returns.
    bool forked;
  };
};
static_assert(std::is_standard_layout_v<ForkSlot>);

// Owns all slots. Never destroyed.
class ForkRegistry {
 public:
  // Returns the registry of this copy of the library.
  static ForkRegistry& Get();

  ForkSlot& Take() {
    ForkMutexLock lock(&mutex_);
    if (free_ == nullptr) AddSlab();
    ForkSlot& slot = *std::exchange(free_, free_->next_free);
    slot.forked = false;
    return slot;
  }

  void Return(ForkSlot& slot) {
    ForkMutexLock lock(&mutex_);
    slot.next_free = std::exchange(free_, &slot);
  }

  void SetObject(ForkSlot& slot, ForkAware* object) {
    ForkMutexLock lock(&mutex_);
    slot.object = object;
  }

 private:
  // One page of slots. Never freed.
  struct alignas(4096) Slab {
    static constexpr size_t kSlots = 4096 / sizeof(ForkSlot) - 1;
    Slab* next = nullptr;
    ForkSlot slots[kSlots];
  };

  ForkRegistry() {
#ifndef _WIN32
    pthread_atfork([] { Get().Before(); }, [] { Get().InParent(); },
                   [] { Get().InChild(); });
#endif
  }

  void AddSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto* const slab = new Slab;
    slab->next = std::exchange(slabs_, slab);
    for (size_t i = Slab::kSlots; i-- > 0;) {
      slab->slots[i].registry = this;
      slab->slots[i].next_free = std::exchange(free_, &slab->slots[i]);
    }
  }

  template <typename Function>
  void ForEachRegistered(Function function) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (Slab* slab = slabs_; slab != nullptr; slab = slab->next) {
      for (ForkSlot& slot : slab->slots) {
        if (slot.object != nullptr) function(slot);
      }
    }
  }

  void Before() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Lock();
    ForEachRegistered([](ForkSlot& slot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      slot.mutex.Lock();
    });
  }

  void InParent() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    ForEachRegistered([](ForkSlot& slot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      slot.mutex.Unlock();
    });
    mutex_.Unlock();
  }

  void InChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    ForEachRegistered([](ForkSlot& slot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      slot.forked = true;
      slot.object->AfterForkInChild();
      slot.mutex.Unlock();
    });
    mutex_.Unlock();
  }

  ForkMutex mutex_;
  Slab* slabs_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ForkSlot* free_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// Not inline, because the copies of the library in a process may share the
// static variable of an inline function. A shared registry would lose its fork
// handlers when the copy that created it is unloaded.
ForkRegistry& ForkRegistry::Get() {
  static ForkRegistry* const registry = new ForkRegistry;
  return *registry;
}

namespace {

// Creates the registry when this code is loaded. Otherwise its first use would
// create it. If another thread called fork() at that moment, the initialization
// could stay unfinished in the child.
[[maybe_unused]] const ForkRegistry& made_early = ForkRegistry::Get();

}  // namespace

ForkAware::ForkAware() : ForkAware(ForkRegistry::Get().Take()) {}
ForkAware::ForkAware(ForkSlot& slot) : mutex_(slot.mutex) {}
ForkAware::~ForkAware() { slot().registry->Return(slot()); }

ForkSlot& ForkAware::slot() { return reinterpret_cast<ForkSlot&>(mutex_); }

void ForkAware::Register() { slot().registry->SetObject(slot(), this); }
void ForkAware::Unregister() { slot().registry->SetObject(slot(), nullptr); }

bool ForkAware::TakeForked() { return std::exchange(slot().forked, false); }

REFRESHABLE_ABI_NAMESPACE_END

}  // namespace internal
}  // namespace refreshable
