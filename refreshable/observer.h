// SPDX-License-Identifier: Apache-2.0
//
// Observer: is told what happens to a Refreshable.

#ifndef REFRESHABLE_OBSERVER_H_
#define REFRESHABLE_OBSERVER_H_

#include "refreshable/event.h"

namespace refreshable {

// To be implemented by the user, for metrics and logs.
//
// `OnEvent` is called for each event, one at a time and in the order in which
// they happened, on whatever thread made them happen, with no lock held. It may
// read the Refreshable. It should be quick: the call that brought the event
// about goes on after it. That may be a timer of the executor, or the attempt
// that the event tells of: a `Get` that would have to wait there fails with
// FAILED_PRECONDITION. What it throws is ignored. It is not called any more
// once the Refreshable's destructor has returned, but for a call that was
// already running on another thread.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnEvent(const Event& event) = 0;
};

}  // namespace refreshable

#endif  // REFRESHABLE_OBSERVER_H_
