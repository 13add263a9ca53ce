// SPDX-License-Identifier: Apache-2.0
//
// Generation: the number of one published token.

#ifndef REFRESHABLE_GENERATION_H_
#define REFRESHABLE_GENERATION_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// A Refreshable's first token has the number 1, and each later token has a
// greater number. A default-constructed Generation is 0, which no token has. A
// value type, as thread-safe as an integer.
class Generation {
 public:
  constexpr Generation() = default;
  constexpr explicit Generation(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }
  constexpr Generation Next() const { return Generation(value_ + 1); }

  friend constexpr bool operator==(Generation a, Generation b) {
    return a.value_ == b.value_;
  }
  friend constexpr bool operator!=(Generation a, Generation b) {
    return a.value_ != b.value_;
  }
  friend constexpr bool operator<(Generation a, Generation b) {
    return a.value_ < b.value_;
  }
  friend constexpr bool operator>(Generation a, Generation b) { return b < a; }
  friend constexpr bool operator<=(Generation a, Generation b) {
    return !(b < a);
  }
  friend constexpr bool operator>=(Generation a, Generation b) {
    return !(a < b);
  }
  template <typename H>
  friend H AbslHashValue(H h, Generation g) {
    return H::combine(std::move(h), g.value_);
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, Generation g) {
    sink.Append(std::to_string(g.value_));
  }
  friend std::ostream& operator<<(std::ostream& os, Generation g) {
    return os << g.value_;
  }

 private:
  uint64_t value_ = 0;
};

}  // namespace refreshable

#endif  // REFRESHABLE_GENERATION_H_
