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
#include "absl/time/time.h"
#include "refreshable/executors/fork_mutex.h"
#include "refreshable/internal/shell.h"
#include "refreshable/refresh_error.h"

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
  return MakeReadTimeout(
      "the read's timeout passed while the token was being refreshed");
}

// What one event leaves to be done outside the lock, in CarryOut's order.
struct Shell::Effects {
  AttemptId submit = AttemptId::kNone;
  absl::AnyInvocable<void()> hook;
  std::vector<uint64_t> wake;
  std::vector<uint64_t> deliver;  // The executor would not.
  std::vector<Garbage> garbage;
  bool timer_lost = false;  // Just now: it is not tried again at once.
};

inline void AddThisThread(std::vector<std::thread::id>& threads) {
  threads.push_back(std::this_thread::get_id());
}

inline bool HasThisThread(const std::vector<std::thread::id>& threads) {
  return std::find(threads.begin(), threads.end(),
                   std::this_thread::get_id()) != threads.end();
}

// Removes one entry: a thread that enters again has several.
inline void RemoveThisThread(std::vector<std::thread::id>& threads) {
  const auto it =
      std::find(threads.begin(), threads.end(), std::this_thread::get_id());
  if (it != threads.end()) threads.erase(it);
}

// One event: `section` runs under the lock, with the present moment and the
// effects to fill. False if the Refreshable is closed. Inside a method of the
// executor (which destroys the task that it refuses) no user code may run:
// Close waits for that method to return. The effects follow then.
template <typename Section>
bool Shell::OnEvent(Section section) noexcept {
  Effects effects;
  {
    ForkMutexLock lock(&mutex_);
    if (closed_) return false;
    if (forked_) ForgetParent();
    section(Now(), effects);
    if (HasThisThread(in_executor_)) {
      deferred_.push_back(std::move(effects));
      return true;
    }
  }
  CarryOut(effects);
  return true;
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_SHELL_PARTS_H_
