// SPDX-License-Identifier: Apache-2.0
//
// ExecutorConformanceTest: tests your own Executor, clause by clause.

#ifndef REFRESHABLE_TESTING_EXECUTOR_CONFORMANCE_H_
#define REFRESHABLE_TESTING_EXECUTOR_CONFORMANCE_H_

#include <memory>

#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/testing/conformance.h"

namespace refreshable_testing {

// A rig makes an executor for the suite, destroys it and, if possible, makes it
// refuse tasks.
//
//   class MyRig : public refreshable_testing::ExecutorRig {
//    public:
//     refreshable::Executor& executor() override { return *executor_; }
//     void Destroy() override { executor_.reset(); }
//    ...
//   };
//
//   using refreshable_testing::ExecutorConformanceTest;
//   INSTANTIATE_TEST_SUITE_P(
//       Mine, ExecutorConformanceTest,
//       testing::Values(refreshable_testing::ExecutorSubject{
//           "MyExecutor", [] { return std::make_unique<MyRig>(); }}),
//       refreshable_testing::SubjectName());
//
// One thread makes, uses and destroys the rig. It also drives an executor that
// has no threads of its own (`DriveUntil`). Tasks and other threads call only
// `executor()`. The rig's destructor must destroy the executor unless `Destroy`
// has done so.
class ExecutorRig {
 public:
  virtual ~ExecutorRig() = default;

  // Returns the executor, which must accept 20,000 tasks of `Run`, as many of
  // `RunBlocking` and as many timers, all pending at the same time.
  virtual refreshable::Executor& executor() = 0;

  // Returns how many tasks of `RunBlocking` the suite lets block at the same
  // time. All of them must start, and must not delay timers, `Cancel` or tasks
  // of `Run`. The default, 0, turns these checks off. It suits an executor
  // whose `RunBlocking` is the same as `Run`.
  virtual int BlockedTasks() const { return 0; }

  // Makes `Run`, `RunBlocking` and `RunAfter` refuse everything from now on,
  // and returns true. Returns false, as by default, if the rig cannot do this.
  // The clauses about refusal then do not apply.
  virtual bool Refuse() { return false; }

  // Destroys the executor. The suite does not use it afterwards.
  virtual void Destroy() = 0;
};

using ExecutorSubject = Subject<ExecutorRig>;

// The suite. Each test in executor_conformance.cc is a clause, named after what
// it demands. A timer may be late, but not so late that `AwaitOrGiveUp` gives
// up.
class ExecutorConformanceTest
    : public ::testing::TestWithParam<ExecutorSubject> {
 protected:
  refreshable::Executor& executor() { return rig_->executor(); }
  refreshable::BootTime Now() { return executor().clock().Now().boot; }

  // Waits until `n` is notified: drives the executor or, if this thread cannot
  // do so, calls `AwaitOrGiveUp`. Ends the program if nothing pending can
  // notify `n`. `what` names the awaited event, for the message.
  void Await(const absl::Notification& n, absl::string_view what);
  // Waits until the timers that were due before this call have run.
  void AwaitTimersDueNow();
  // Returns a task whose destructor calls `CallBack` and then notifies
  // `destroyed`.
  refreshable::Executor::Task Reentrant(absl::Notification* destroyed);
  // Calls methods of the executor on another thread. If the executor holds a
  // lock while it runs user code, these calls do not return. This function then
  // ends the program.
  void CallBack();

  const std::unique_ptr<ExecutorRig> rig_ = GetParam().make();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_EXECUTOR_CONFORMANCE_H_
