// SPDX-License-Identifier: Apache-2.0
//
// ReleaseSource: destroys a token source on a suitable thread. The source's
// destructor must not run inside a call of `FetchDone`, because the destructor
// may join the thread that makes this call.

#ifndef REFRESHABLE_SHELL_SOURCE_RELEASE_H_
#define REFRESHABLE_SHELL_SOURCE_RELEASE_H_

#include <memory>

#include "refreshable/executors/executor.h"

namespace refreshable {
namespace internal {

// While an InDone exists, its thread is marked as inside a call of a
// `FetchDone`. The mark concerns all Refreshables, because one source may serve
// several, or wrap another source.
class InDone {
 public:
  InDone();
  InDone(const InDone&) = delete;
  InDone& operator=(const InDone&) = delete;
  ~InDone();
};

// Drops `source`, which may be the last reference. Drops it at once if the
// calling thread is not inside a call of `FetchDone`. Otherwise a task of
// `executor` drops it. If `executor` is null or refuses the task, a detached
// thread drops the source. The same happens if the task runs inside a call of
// `FetchDone`. If no thread can be started, the source is leaked.
void ReleaseSource(std::shared_ptr<void> source, Executor* executor) noexcept;

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SOURCE_RELEASE_H_
