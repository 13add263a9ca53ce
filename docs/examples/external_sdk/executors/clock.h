// SPDX-License-Identifier: Apache-2.0
//
// The SDK's own clock. Its path and include guard do not clash with
// refreshable's headers.

#ifndef EXECUTORS_CLOCK_H_
#define EXECUTORS_CLOCK_H_

#include <chrono>

namespace notes {

class Clock {
 public:
  std::chrono::steady_clock::duration Elapsed() const {
    return std::chrono::steady_clock::now() - start_;
  }

 private:
  const std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};

}  // namespace notes

#endif  // EXECUTORS_CLOCK_H_
