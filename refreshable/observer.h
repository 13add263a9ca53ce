// SPDX-License-Identifier: Apache-2.0
//
// Observer: is told what happens to a Refreshable.

#ifndef REFRESHABLE_OBSERVER_H_
#define REFRESHABLE_OBSERVER_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include "refreshable/event.h"

namespace refreshable {

// To be implemented by the user, for metrics and logs.
//
// `OnEvent` is called for each event, one at a time and in the order in which
// they happened, with no lock held, on a thread that brought one about: while
// it is busy with one event those of other threads queue up, their calls
// return, and it tells them too. It should be quick, and may read the
// Refreshable; but the thread may be in a timer of the executor, or in the
// attempt that the event tells of, where a `Get` that would have to wait fails
// with FAILED_PRECONDITION. Another Refreshable must not be waited for there
// either: use TryGet. What it throws is ignored. It is not called any more once
// the Refreshable's destructor has returned, but for a call that was already
// running on another thread.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnEvent(const Event& event) = 0;
};

}  // namespace refreshable

#endif  // REFRESHABLE_OBSERVER_H_
