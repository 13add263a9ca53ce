// SPDX-License-Identifier: Apache-2.0

#include "refreshable/observers.h"

#include <utility>

#include "fmt/format.h"
#include "refreshable/format.h"

namespace refreshable {

void CountingObserver::OnEvent(const Event& event) {
  counts_[static_cast<size_t>(event.kind)].fetch_add(1,
                                                     std::memory_order_relaxed);
}

int64_t CountingObserver::count(EventKind kind) const {
  return counts_[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
}

LineObserver::LineObserver(std::string name,
                           std::function<void(const std::string&)> write)
    : name_(std::move(name)), write_(std::move(write)) {}

void LineObserver::OnEvent(const Event& event) {
  write_(fmt::format("{}: {}", name_, event));
}

}  // namespace refreshable
