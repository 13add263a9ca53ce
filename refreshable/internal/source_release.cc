// SPDX-License-Identifier: Apache-2.0

#include "refreshable/internal/source_release.h"

#include <memory>
#include <utility>

#include "refreshable/executors/executor.h"
#include "refreshable/executors/os_thread.h"

namespace refreshable {
namespace internal {
namespace {

thread_local int done_depth = 0;

// On the heap, so that a thread that cannot be started does not destroy it.
void ReleaseOnNewThread(std::unique_ptr<std::shared_ptr<void>> source) {
  std::shared_ptr<void>* const owned = source.release();
  executors_internal::OsThread thread;
  if (thread.Start([owned] { delete owned; })) thread.Detach();
}

// Drops the source wherever the executor runs it, or destroys it without having
// run it.
class ReleaseTask {
 public:
  explicit ReleaseTask(std::shared_ptr<void> source)
      : source_(std::move(source)) {}
  ReleaseTask(ReleaseTask&&) noexcept = default;
  ~ReleaseTask() { Release(); }
  void operator()() && { Release(); }

 private:
  void Release() {
    if (source_ != nullptr) ReleaseSource(std::move(source_), nullptr);
  }

  std::shared_ptr<void> source_;
};

}  // namespace

InDone::InDone() { ++done_depth; }
InDone::~InDone() { --done_depth; }

void ReleaseSource(std::shared_ptr<void> source, Executor* executor) noexcept {
  if (done_depth == 0) return;
  if (executor != nullptr) {
    executor->Run(ReleaseTask(std::move(source)));
  } else {
    ReleaseOnNewThread(
        std::make_unique<std::shared_ptr<void>>(std::move(source)));
  }
}

}  // namespace internal
}  // namespace refreshable
