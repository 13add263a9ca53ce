// SPDX-License-Identifier: Apache-2.0
//
// What shell.cc and shell_reads.cc share.

#ifndef REFRESHABLE_SHELL_SHELL_EFFECTS_H_
#define REFRESHABLE_SHELL_SHELL_EFFECTS_H_

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/shell.h"

namespace refreshable {
namespace internal {

// Converts a moment to wall time, by the difference between the clocks at
// `now`. A moment in the past becomes `now`.
inline absl::Time ToWall(const Instant& now, BootTime t) {
  return now.wall + std::max(absl::ZeroDuration(), t - now.boot);
}

inline absl::Status Destroyed() {
  return absl::CancelledError("the Refreshable was destroyed");
}

inline absl::Status DeadlineExceeded() {
  return MakeReadTimeout(
      "the read's timeout passed while the token was being refreshed");
}

// What one event leaves to be done outside the lock, in the order in which
// CarryOut does it.
struct Shell::Effects {
  AttemptId submit = AttemptId::kNone;
  absl::AnyInvocable<void()> hook;
  std::vector<uint64_t> wake;
  std::vector<uint64_t> deliver;  // Reads whose callback the executor refused.
  std::vector<Garbage> garbage;
  bool timer_lost = false;  // The timer was just lost; do not retry at once.
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

// Handles one event: calls `section` under the lock, with the present moment
// and the effects to fill. Returns false if the Refreshable is closed. If this
// thread is inside a method of the executor (which destroys a task that it
// refuses), the effects are deferred until that method has returned: Close
// waits for it, so no user code may run inside it.
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

#endif  // REFRESHABLE_SHELL_SHELL_EFFECTS_H_
