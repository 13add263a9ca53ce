// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/executor.h"

#include <atomic>
#include <utility>

#include "absl/functional/function_ref.h"
#include "refreshable/executors/clock.h"

namespace refreshable {

Executor::~Executor() { destroyed_->store(true, std::memory_order_relaxed); }

bool Executor::RunBlocking(Task task) { return Run(std::move(task)); }

bool Executor::DriveUntil(absl::FunctionRef<bool()> /*done*/,
                          BootTime /*deadline*/) {
  return false;
}

}  // namespace refreshable
