// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/thread_ids.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

namespace refreshable {
namespace internal {

void ThreadIds::AddThisThread() {
  if (first_ == Id()) {
    first_ = std::this_thread::get_id();
    return;
  }
  if (others_ == nullptr) others_ = std::make_unique<std::vector<Id>>();
  others_->push_back(std::this_thread::get_id());
}

void ThreadIds::RemoveThisThread() {
  if (first_ == std::this_thread::get_id()) {
    first_ = Id();
    return;
  }
  if (others_ == nullptr) return;
  const auto it =
      std::find(others_->begin(), others_->end(), std::this_thread::get_id());
  if (it != others_->end()) others_->erase(it);
  if (others_->empty()) others_ = nullptr;
}

bool ThreadIds::HasThisThread() const {
  const Id self = std::this_thread::get_id();
  return first_ == self ||
         (others_ != nullptr &&
          std::find(others_->begin(), others_->end(), self) != others_->end());
}

bool ThreadIds::HasAnotherThread() const {
  const Id self = std::this_thread::get_id();
  return (first_ != Id() && first_ != self) ||
         (others_ != nullptr &&
          std::any_of(others_->begin(), others_->end(),
                      [self](Id id) { return id != self; }));
}

}  // namespace internal
}  // namespace refreshable
