// SPDX-License-Identifier: Apache-2.0

#include "refreshable/executors/internal/os_thread.h"

#include <memory>
#include <new>
#include <utility>

#include "absl/base/config.h"

namespace refreshable {
namespace executors_internal {
namespace {

void CallAndDestroy(OsThread::Body* body) noexcept {
  const std::unique_ptr<OsThread::Body> owned(body);
  std::move (*owned)();
}

#ifndef _WIN32
extern "C" void* RefreshableThreadMain(void* body) {
  CallAndDestroy(static_cast<OsThread::Body*>(body));
  return nullptr;
}
#endif

}  // namespace

bool OsThread::Start(Body body) {
  std::unique_ptr<Body> owned(new (std::nothrow) Body(std::move(body)));
  if (owned == nullptr) return false;
#ifdef _WIN32
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
#endif
    thread_ = std::thread(CallAndDestroy, owned.get());
#ifdef ABSL_HAVE_EXCEPTIONS
  } catch (...) {
    return false;
  }
#endif
#else
  if (pthread_create(&thread_, nullptr, RefreshableThreadMain, owned.get()) !=
      0) {
    return false;
  }
#endif
  static_cast<void>(owned.release());  // The new thread owns the body.
  return true;
}

#ifdef _WIN32
void OsThread::Join() { thread_.join(); }
void OsThread::Detach() { thread_.detach(); }
#else
void OsThread::Join() { pthread_join(thread_, nullptr); }
void OsThread::Detach() { pthread_detach(thread_); }
#endif

}  // namespace executors_internal
}  // namespace refreshable
