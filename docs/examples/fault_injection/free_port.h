// SPDX-License-Identifier: Apache-2.0
//
// FreePort: a loopback port for a server that is killed and restarted.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_

#include <utility>

#include "absl/status/statusor.h"

namespace refreshable_examples {

// A port of 127.0.0.1 that is reserved while this object exists. A server that
// listens on the port must set SO_REUSEPORT and run as the user of this
// process. If no server listens, connections are refused.
class FreePort {
 public:
  // Returns UNAVAILABLE if no port is free.
  static absl::StatusOr<FreePort> Get();
  ~FreePort();

  FreePort(FreePort&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), number_(other.number_) {}
  FreePort& operator=(FreePort&&) = delete;

  int number() const { return number_; }

 private:
  FreePort(int socket, int number) : socket_(socket), number_(number) {}

  int socket_;
  int number_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_
