// SPDX-License-Identifier: Apache-2.0
//
// AsioExecutor: an Executor over event loops of standalone Asio that the
// program runs anyway. A model to copy.

#ifndef REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_
#define REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_

#include <memory>

#include "absl/time/time.h"
#include "asio/any_io_executor.hpp"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"

namespace refreshable_examples {

// Posts what is given to `RunBlocking`, what is given to `Run`, and timers to
// an execution context each:
//
//   asio::io_context loop;          // The program's. Some thread runs it.
//   asio::thread_pool blocking(4);  // For sources: so many may hang.
//   asio::thread_pool callbacks(1);
//   AsioExecutor executor(blocking.get_executor(), callbacks.get_executor(),
//                         loop.get_executor());
//
// Three of them, because a source that waits for its server must not hold up
// callbacks, and neither of them timers. So:
//
// - Nothing may block every thread that runs `timers`, a callback least of all.
//   Contexts may be the same one only where what they are given never blocks:
//   the source is asynchronous, or callbacks are short.
// - All contexts outlive the executor, and threads run them for as long as it
//   is used (asio::make_work_guard: without it `run()` returns when there is
//   nothing to do). A pending timer keeps `run()` from returning.
// - The executor does not survive fork().
//
// Time is the machine's since-boot clock. Asio's timers do not count the time
// that the machine is suspended; what falls due meanwhile runs at most a second
// after it resumes. Timers run one after another, equal due times in the order
// of insertion, whatever number of threads runs `timers`.
//
// An exception that escapes a task leaves the `run()` of its context, as of any
// handler there. Thread-safe.
class AsioExecutor final : public refreshable::Executor {
 public:
  AsioExecutor(asio::any_io_executor blocking, asio::any_io_executor tasks,
               asio::any_io_executor timers);
  // As `Stop`.
  ~AsioExecutor() override;

  AsioExecutor(const AsioExecutor&) = delete;
  AsioExecutor& operator=(const AsioExecutor&) = delete;

  // Refuses from now on, destroys what is pending without running it, in the
  // calling thread, and waits for the tasks that are running: not to be called
  // from one of them.
  void Stop();

  // Executor. Refuses only after `Stop`.
  bool Run(Task task) override;
  bool RunBlocking(Task task) override;
  refreshable::TimerId RunAfter(absl::Duration delay, Task task) override;
  bool Cancel(refreshable::TimerId id) override;
  bool InExecutorThread() const override;
  const refreshable::Clock& clock() const override {
    return refreshable::SystemClock::Get();
  }

 private:
  // What the handlers share that the contexts still hold when the executor is
  // gone.
  class Core;

  const std::shared_ptr<Core> core_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_ASIO_EXECUTOR_ASIO_EXECUTOR_H_
