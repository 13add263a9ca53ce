// SPDX-License-Identifier: Apache-2.0
//
// LambdaObserver: an observer that consists of one function.

#ifndef REFRESHABLE_TESTING_LAMBDA_OBSERVER_H_
#define REFRESHABLE_TESTING_LAMBDA_OBSERVER_H_

#include <functional>
#include <memory>
#include <utility>

#include "refreshable/event.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/observer.h"

namespace refreshable_testing {

// An observer that calls a function with every event:
//
//   std::vector<Event> events;
//   auto token = *Refreshable<std::string>::Create(
//       source.Share(),
//       {&executor, ExactPolicy(),
//        Observe([&](const Event& event) { events.push_back(event); })});
//
// The function must not be null. refreshable::Observer says on which threads
// the function is called and what it may do.
class LambdaObserver final : public refreshable::Observer {
 public:
  explicit LambdaObserver(
      std::function<void(const refreshable::Event&)> function)
      : function_(std::move(function)) {}

  void OnEvent(const refreshable::Event& event) override { function_(event); }

 private:
  const std::function<void(const refreshable::Event&)> function_;
};

// Returns a new LambdaObserver that calls `function`.
inline std::shared_ptr<refreshable::Observer> Observe(
    std::function<void(const refreshable::Event&)> function) {
  return std::make_shared<LambdaObserver>(std::move(function));
}

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_LAMBDA_OBSERVER_H_
