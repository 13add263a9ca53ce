// SPDX-License-Identifier: Apache-2.0
//
// What shell.cc and shell_reads.cc share.

#ifndef REFRESHABLE_INTERNAL_SHELL_PARTS_H_
#define REFRESHABLE_INTERNAL_SHELL_PARTS_H_

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/internal/shell.h"

namespace refreshable {
namespace internal {

// A moment since boot on the wall clock, as of now; the past counts as now.
inline absl::Time ToWall(const Instant& now, absl::Duration since_boot) {
  return now.wall + std::max(absl::ZeroDuration(), since_boot - now.since_boot);
}

inline absl::Status Destroyed() {
  return absl::CancelledError("the Refreshable was destroyed");
}

inline absl::Status DeadlineExceeded() {
  return absl::DeadlineExceededError(
      "the read's timeout passed while the token was being refreshed");
}

// What one event leaves to be done outside the lock, in CarryOut's order.
struct Shell::Effects {
  AttemptId submit = AttemptId::kNone;
  absl::AnyInvocable<void()> hook;
  std::vector<uint64_t> wake;
  std::vector<Garbage> garbage;
};

// Marks the calling thread as being inside a method of the executor. Close
// waits for other threads that are, so that nothing touches the executor later.
class Shell::ExecutorCall {
 public:
  explicit ExecutorCall(Shell* shell) : shell_(shell) {
    absl::MutexLock lock(&shell_->mutex_);
    admitted_ = !shell_->closed_;
    if (admitted_) {
      shell_->in_executor_.push_back(std::this_thread::get_id());
    }
  }
  ExecutorCall(const ExecutorCall&) = delete;
  ExecutorCall& operator=(const ExecutorCall&) = delete;
  ~ExecutorCall() {
    if (!admitted_) return;
    absl::MutexLock lock(&shell_->mutex_);
    auto& threads = shell_->in_executor_;
    threads.erase(
        std::find(threads.begin(), threads.end(), std::this_thread::get_id()));
    if (shell_->closed_) shell_->changed_.SignalAll();
  }
  // False: the Refreshable is closed, the executor must not be touched.
  bool admitted() const { return admitted_; }

 private:
  Shell* const shell_;
  bool admitted_;
};

// One event: `section` runs under the lock, with the present moment and the
// effects to fill. False if the Refreshable is closed.
template <typename Section>
bool Shell::OnEvent(Section section) {
  Effects effects;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    if (forked_) ForgetParent();
    section(Now(), effects);
  }
  CarryOut(effects);
  return true;
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_SHELL_PARTS_H_
