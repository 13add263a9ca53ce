// SPDX-License-Identifier: Apache-2.0
//
// OsThread: a thread whose start may fail. Private.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_OS_THREAD_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_OS_THREAD_H_

#ifdef _WIN32
#include <thread>  // NOLINT(build/c++11)
#else
#include <pthread.h>
#endif

#include "absl/functional/any_invocable.h"

namespace refreshable {
namespace executors_internal {

// A thread that the system may refuse to create. After a successful `Start`,
// `Join` or `Detach` must be called once before the OsThread is destroyed or
// started again. Thread-compatible.
class OsThread {
 public:
  using Body = absl::AnyInvocable<void() &&>;

  OsThread() = default;
  OsThread(const OsThread&) = delete;
  OsThread& operator=(const OsThread&) = delete;

  // Calls `body` on a new thread and destroys it there. Returns false if the
  // system refuses the thread or the memory. In that case `body` is destroyed
  // without having been called. An exception that escapes `body` ends the
  // program.
  bool Start(Body body);
  void Join();
  void Detach();

 private:
#ifdef _WIN32
  std::thread thread_;
#else
  pthread_t thread_;
#endif
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_OS_THREAD_H_
