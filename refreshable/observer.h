// SPDX-License-Identifier: Apache-2.0
//
// Observer: receives the events of a Refreshable.

#ifndef REFRESHABLE_OBSERVER_H_
#define REFRESHABLE_OBSERVER_H_

#include "refreshable/event.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// Receives all events of a Refreshable, for metrics and logs. The user
// implements it.
//
// `OnEvent` is called once per event, in the order of the events. Calls for one
// Refreshable never overlap. An observer that serves several Refreshables must
// be thread-safe. No lock of this library is held during a call.
//
// `OnEvent` is usually called on the thread that caused the event. While a
// thread is inside `OnEvent`, other threads queue their events and do not wait.
// The thread inside `OnEvent` delivers the queued events too, so `OnEvent`
// should return quickly. Exceptions of `OnEvent` are ignored.
//
// `OnEvent` may read the Refreshable, best with `TryGet`, which never waits. If
// a `Get` in `OnEvent` waits, no event is delivered until that `Get` returns.
// If `OnEvent` runs inside an attempt or a timer, a `Get` that would have to
// wait fails with FAILED_PRECONDITION instead. (On a ManualExecutor, a `Get`
// inside a timer waits.) Do not wait for another Refreshable in `OnEvent`.
//
// The Refreshable's destructor drops the events that are still queued. No call
// of `OnEvent` begins after that destructor has returned, except one that
// another thread was already about to make.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnEvent(const Event& event) = 0;
};

}  // namespace refreshable

#endif  // REFRESHABLE_OBSERVER_H_
