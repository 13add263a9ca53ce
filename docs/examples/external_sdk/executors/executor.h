// SPDX-License-Identifier: Apache-2.0
//
// The SDK's own executor. refreshable's header executors/executor.h does not
// clash with this one: it is included as refreshable/executors/executor.h.

#ifndef EXECUTORS_EXECUTOR_H_
#define EXECUTORS_EXECUTOR_H_

#include <functional>
#include <utility>

#include "executors/clock.h"

namespace notes {

class Executor {
 public:
  void Run(std::function<void()> task) {
    ++tasks_run_;
    std::move(task)();
  }
  int tasks_run() const { return tasks_run_; }
  const Clock& clock() const { return clock_; }

 private:
  int tasks_run_ = 0;
  Clock clock_;
};

}  // namespace notes

#endif  // EXECUTORS_EXECUTOR_H_
