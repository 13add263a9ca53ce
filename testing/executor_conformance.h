// SPDX-License-Identifier: Apache-2.0
//
// ExecutorConformanceTest: tests your own Executor against what every Executor
// must do, clause by clause.

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
// One thread makes, uses and destroys the rig, and also drives the executor
// (`DriveUntil`) if the executor has no threads of its own. Tasks and other
// threads call only `executor()`. The rig's destructor must destroy the
// executor unless `Destroy` has done so.
class ExecutorRig {
 public:
  virtual ~ExecutorRig() = default;

  // Returns the executor, ready to run tasks. The executor must accept 20,000
  // tasks of `Run`, 20,000 tasks of `RunBlocking` and 20,000 timers that are
  // all pending at the same time.
  virtual refreshable::Executor& executor() = 0;

  // Returns how many tasks given to `RunBlocking` may block at the same time.
  // The suite lets this many tasks block. All of them must start, and they must
  // not delay timers, `Cancel` or tasks given to `Run`. The default is 0, which
  // turns these checks off. It suits an executor whose `RunBlocking` is the
  // same as `Run`, such as an event loop.
  virtual int BlockedTasks() const { return 0; }

  // Makes `Run`, `RunBlocking` and `RunAfter` refuse everything from now on,
  // and returns true. Returns false, as the default does, if the rig cannot do
  // this. The clauses about refusal then do not apply.
  virtual bool Refuse() { return false; }

  // Destroys the executor. The suite does not use it afterwards.
  virtual void Destroy() = 0;
};

using ExecutorSubject = Subject<ExecutorRig>;

// The suite. Its tests, in executor_conformance.cc, are called clauses, and
// each is named after what it demands. No clause sleeps. A timer must not fire
// early. It may be late, but not so late that `AwaitOrGiveUp` gives up.
class ExecutorConformanceTest
    : public ::testing::TestWithParam<ExecutorSubject> {
 protected:
  refreshable::Executor& executor() { return rig_->executor(); }
  refreshable::BootTime Now() { return executor().clock().Now().boot; }

  // Waits until `n` is notified: drives the executor or, if this thread cannot
  // do so, calls `AwaitOrGiveUp`. Ends the program if this thread drives the
  // executor and nothing is left that could notify `n`. `what` names the
  // awaited event, for the message.
  void Await(const absl::Notification& n, absl::string_view what);
  // Waits until the timers that were due before this call have run.
  void AwaitTimersDueNow();
  // Returns a task whose destructor calls `CallBack` and then notifies
  // `destroyed`.
  refreshable::Executor::Task Reentrant(absl::Notification* destroyed);
  // On another thread, calls every virtual method of the executor except
  // `DriveUntil`. Uses `DoOrGiveUp`, and so ends the program if the executor
  // holds a lock while it runs the code that calls `CallBack`.
  void CallBack();

  const std::unique_ptr<ExecutorRig> rig_ = GetParam().make();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_EXECUTOR_CONFORMANCE_H_
