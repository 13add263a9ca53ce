// SPDX-License-Identifier: Apache-2.0
//
// The Shell in a process that forks.

#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/shell/fork_aware.h"
#include "refreshable/shell/seed.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {

void Shell::AfterForkInChild() {
  // From now on each read takes the slow path, whose first Section calls
  // ForgetParent.
  cell_.SetCheckAt(absl::InfinitePast());
  cell_.SetUsableUntil(absl::InfinitePast(), BootTime::InfinitePast());
}

void Shell::ForgetParent() {
  machine_.OnFork(seeded_by_caller_ ? std::nullopt
                                    : std::optional<uint64_t>(DrawSeed()));
  for (ThreadIds* threads : {&in_attempt_, &in_timer_, &in_executor_}) {
    threads->clear();
  }
  // The parent runs and destroys its own callbacks and tokens. The copies here
  // are never freed, because their destructors are user code. Neither are the
  // wake-ups on which threads of the parent may wait.
  new AsyncReads(std::exchange(async_, {}));
  new BlockedReads(std::exchange(blocked_, {}));
  leader_ = nullptr;
  closer_ = nullptr;
  static_cast<void>(deferred_.release());
  deadlines_.clear();
  parked_.clear();
  timer_ = TimerId::kNone;
  armed_for_ = BootTime::InfiniteFuture();
  ++timer_serial_;
  timer_lost_ = false;
  arming_ = false;
  events_ = nullptr;
  teller_ = std::thread::id();
}

}  // namespace internal
}  // namespace refreshable
