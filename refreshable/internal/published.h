// SPDX-License-Identifier: Apache-2.0
//
// Published: the cell that reads go through.

#ifndef REFRESHABLE_INTERNAL_PUBLISHED_H_
#define REFRESHABLE_INTERNAL_PUBLISHED_H_

#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/lease.h"

namespace refreshable {
namespace internal {

// Something that was superseded. Destroying it may run a token's destructor:
// not under a lock.
using Garbage = std::shared_ptr<const void>;

// Holds the snapshot that reads hand out, and the first moment of the wall
// clock at which a read must ask the machine instead. Thread-safe.
template <typename Token>
class Published {
 public:
  // Replaces the snapshot; null: there is none. Reads that start after this
  // returns do not get an earlier one. Until SetCheckAt says otherwise, reads
  // ask the machine.
  [[nodiscard]] Garbage Publish(
      std::shared_ptr<const Snapshot<Token>> snapshot) {
    absl::MutexLock lock(&mutex_);
    check_at_ = AskAlways();
    snapshot_.swap(snapshot);
    return snapshot;
  }

  // Later than the infinite past.
  void SetCheckAt(absl::Time check_at) {
    absl::MutexLock lock(&mutex_);
    check_at_ = check_at > AskAlways() ? check_at : AskAlways();
  }

  // Around fork(): the lock is held, and in the child starts anew.
  void BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Lock(); }
  void AfterForkInParent() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Unlock(); }
  void AfterForkInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Unlock();
    new (&mutex_) absl::Mutex;
  }

  // The snapshot, if there is one and `now` is before the time to ask.
  // `absl::InfinitePast()` is before any.
  std::optional<Lease<Token>> Load(absl::Time now) const {
    absl::MutexLock lock(&mutex_);
    if (snapshot_ == nullptr || now >= check_at_) return std::nullopt;
    return Lease<Token>(snapshot_);
  }

 private:
  // Before any time that a clock tells.
  static absl::Time AskAlways() {
    return absl::FromUnixSeconds(-62135596800);  // 0001-01-01T00:00:00Z
  }

  mutable absl::Mutex mutex_;
  std::shared_ptr<const Snapshot<Token>> snapshot_ ABSL_GUARDED_BY(mutex_);
  absl::Time check_at_ ABSL_GUARDED_BY(mutex_) = AskAlways();
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_PUBLISHED_H_
