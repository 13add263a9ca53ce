// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/source_release.h"

#include <memory>
#include <utility>

#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/os_thread.h"

namespace refreshable {
namespace internal {
namespace {

thread_local int done_depth = 0;

// If the thread cannot be started, the source is leaked, because its destructor
// must not run on the calling thread. The new thread's lambda has only a raw
// pointer, so destroying the lambda does not drop the source.
void ReleaseOnNewThread(std::unique_ptr<std::shared_ptr<void>> source) {
  std::shared_ptr<void>* const owned = source.release();
  executors_internal::OsThread thread;
  if (thread.Start([owned] { delete owned; })) thread.Detach();
}

// Drops the source when the task runs or is destroyed. Inside a call of
// `FetchDone`, a new thread drops the source.
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
    executor->RunBlocking(ReleaseTask(std::move(source)));
  } else {
    ReleaseOnNewThread(
        std::make_unique<std::shared_ptr<void>>(std::move(source)));
  }
}

}  // namespace internal
}  // namespace refreshable
