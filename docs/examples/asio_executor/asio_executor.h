// SPDX-License-Identifier: Apache-2.0
//
// AsioExecutor: an Executor on event loops of standalone Asio. This code is
// meant to be copied.

#ifndef REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_
#define REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_

#include <memory>

#include "absl/time/time.h"
#include "asio/any_io_executor.hpp"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable_examples {

// An Executor that posts to three execution contexts: one for tasks given to
// `RunBlocking`, one for tasks given to `Run`, and one for timers:
//
//   asio::io_context loop;          // The program's loop. Some thread runs it.
//   asio::thread_pool blocking(4);  // Four sources may hang at a time.
//   asio::thread_pool callbacks(1);
//   AsioExecutor executor(blocking.get_executor(), callbacks.get_executor(),
//                         loop.get_executor());
//
// A source that waits for its server must not delay callbacks or timers. A
// callback must not delay timers. So one context may serve two of these
// purposes only if none of its tasks ever blocks. At least one thread that runs
// the context for timers must never be blocked.
//
// All contexts must outlive the executor, and threads must run them as long as
// the executor is used. (Use asio::make_work_guard, because `run()` returns
// when there is nothing to do.)
//
// Time is the BootTime of SystemClock. A timer that becomes due while the
// computer is suspended may run up to a second after the computer resumes.
// Timers run one after another, even if several threads run their context.
// Timers that are due at the same time run in the order of insertion.
//
// An exception that escapes a task leaves the `run()` of its context. The
// executor is thread-safe. It does not survive fork().
class AsioExecutor final : public refreshable::Executor {
 public:
  AsioExecutor(asio::any_io_executor blocking, asio::any_io_executor tasks,
               asio::any_io_executor timers);
  // Calls `Stop`.
  ~AsioExecutor() override;

  AsioExecutor(const AsioExecutor&) = delete;
  AsioExecutor& operator=(const AsioExecutor&) = delete;

  // Refuses everything from now on, destroys pending tasks on the calling
  // thread without running them, and waits for running tasks. Must not be
  // called inside a task of this executor.
  void Stop();

  // Tasks and timers are refused after `Stop`. They are also refused if there
  // is no memory. If Asio has no memory to wait for the next timer, the program
  // ends.
  bool Run(Task task) override;
  bool RunBlocking(Task task) override;
  refreshable::TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(refreshable::TimerId id) override;
  bool InExecutorThread() const override;
  const refreshable::Clock& clock() const override {
    return refreshable::SystemClock::Get();
  }

 private:
  // Posted handlers share ownership of the Core, because a context may keep a
  // handler after the executor is destroyed.
  class Core;

  const std::shared_ptr<Core> core_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_
