// SPDX-License-Identifier: Apache-2.0
//
// The Shell in a process that forks.

#include <new>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "refreshable/executors/steady_cond_var.h"
#include "refreshable/internal/fork_aware.h"
#include "refreshable/internal/shell.h"
#include "refreshable/internal/shell_parts.h"

namespace refreshable {
namespace internal {

void Shell::BeforeFork() { mutex_.Lock(); }

void Shell::AfterForkInParent() { mutex_.Unlock(); }

void Shell::AfterForkInChild() {
  for (auto& [id, cancelled] : calls_) {
    cancelled->store(true, std::memory_order_relaxed);
  }
  // An attempt that this thread is in is the parent's: a read of the child need
  // not wait for it, and may wait.
  in_attempt_.clear();
  for (ThreadIds* threads : {&in_timer_, &in_executor_}) {
    KeepThisThread(*threads);
  }
  // Events that this thread is in the middle of telling it goes on to tell.
  if (teller_ != std::this_thread::get_id()) teller_ = std::thread::id();
  // The parent's timer will not say when to ask again.
  SetCheckAt(absl::InfinitePast());
  forked_ = true;
  // Threads that are not here may be queued in it: it starts anew. Now, as the
  // fork may be in the middle of what goes on to signal it.
  new (&changed_) executors_internal::SteadyCondVar;
  mutex_.Unlock();
}

void Shell::ForgetParent() {
  forked_ = false;
  machine_.OnFork();
  // A read that this thread is in the middle of is its own: it asks again, or
  // ends as it was about to. The other threads are not there.
  for (auto& [id, waiter] : waiters_) {
    if (waiter->async == nullptr) waiter->done = true;
  }
  // The callbacks and tokens there are the parent's to run and to destroy.
  // Never freed: their destructors are user code.
  new Waiters(std::exchange(waiters_, {}));
  new std::vector<Effects>(std::exchange(deferred_, {}));
  deadlines_.clear();
  parked_.clear();
  calls_.clear();
  timer_ = TimerId::kNone;
  armed_for_ = absl::InfiniteDuration();
  ++timer_serial_;
  timer_lost_ = false;
  arming_ = false;
  if (teller_ == std::thread::id()) events_.clear();
}

}  // namespace internal
}  // namespace refreshable
