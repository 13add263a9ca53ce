// SPDX-License-Identifier: Apache-2.0
//
// The Shell in a process that forks.

#include <cstdint>
#include <limits>
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
  // The three times below are all in the past, so reads take the lock until an
  // input sets other times.
  cell_.SetCheckAt(absl::InfinitePast());
  cell_.SetUsableUntil(absl::InfinitePast(), BootTime::InfinitePast());
}

void Shell::ForgetParent() {
  machine_.OnFork(seeded_by_caller_ ? std::nullopt
                                    : std::optional<uint64_t>(DrawSeed()));
  // Leaks the parent's Active. The destructors of its callbacks and superseded
  // tokens are user code, which must not run here. Its Wakeups must not be
  // destroyed, because threads of the parent may have been waiting on them at
  // the fork().
  Active* const parents = active_.release();
  // If the source itself forked, its call goes on in this process too.
  if (parents != nullptr && !parents->calls.empty()) {
    active().calls = std::move(parents->calls);
  }
  if (trouble_ != nullptr) {
    trouble_->fails_until_ticks = std::numeric_limits<int64_t>::min();
  }
  timer_ = TimerId::kNone;
  armed_for_ = BootTime::InfiniteFuture();
  ++timer_serial_;
  timer_lost_ = false;
  arming_ = false;
}

}  // namespace internal
}  // namespace refreshable
