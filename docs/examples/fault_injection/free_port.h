// SPDX-License-Identifier: Apache-2.0
//
// FreePort: a loopback port for a server that is killed and restarted.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_

#include <utility>

#include "absl/status/statusor.h"

namespace refreshable_examples {

// A free port of 127.0.0.1 that stays reserved while this object exists. Only a
// server of the same user that sets SO_REUSEPORT can listen on the port. While
// no server listens, connections are refused.
class FreePort {
 public:
  // Reserves a port. Returns UNAVAILABLE if no port is available.
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
