// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets share.

#ifndef REFRESHABLE_FUZZ_FUZZING_H_
#define REFRESHABLE_FUZZ_FUZZING_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace refreshable {

// Turns the bytes of one input into choices. If no byte is left, `Below`
// returns 0, and `OneOf` returns its first value.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool AtEnd() const { return rest_.empty(); }
  // Returns a number from 0 to n - 1; requires 0 < n <= 256.
  int Below(int n) {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    return byte % n;
  }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int>(values.size()))];
  }
  // Returns the text before the next line feed, and skips the line feed. If no
  // line feed is left, returns the rest.
  absl::string_view Line() {
    const size_t end = rest_.find('\n');
    const absl::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
    return line;
  }
  absl::string_view Rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

inline void Require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what.c_str());
  std::abort();
}

}  // namespace refreshable

#endif  // REFRESHABLE_FUZZ_FUZZING_H_
