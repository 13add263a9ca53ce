// SPDX-License-Identifier: Apache-2.0
//
// Ready-made observers: CountingObserver and LineObserver.

#ifndef REFRESHABLE_OBSERVERS_H_
#define REFRESHABLE_OBSERVERS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "refreshable/event.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/observer.h"

namespace refreshable {

// Counts the events of each kind. If several Refreshables have the same
// CountingObserver, it adds up their events. Thread-safe.
class CountingObserver final : public Observer {
 public:
  void OnEvent(const Event& event) override;
  int64_t count(EventKind kind) const;

 private:
  std::array<std::atomic<int64_t>, kEventKinds> counts_{};
};

// Passes each event to `write` as one line without a line terminator:
//   "NAME: attempt_failed generation=3 attempt=1 failures=2 status=..."
// `write` must not be null. It must be thread-safe if the observer serves
// several Refreshables.
class LineObserver final : public Observer {
 public:
  LineObserver(std::string name, std::function<void(const std::string&)> write);
  void OnEvent(const Event& event) override;

 private:
  const std::string name_;
  const std::function<void(const std::string&)> write_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_OBSERVERS_H_
