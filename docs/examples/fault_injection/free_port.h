// SPDX-License-Identifier: Apache-2.0
//
// FreePort: a loopback port for a server that is killed and restarted.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_

#include <utility>

#include "absl/status/statusor.h"

namespace refreshable_examples {

// A port of 127.0.0.1, chosen by the kernel, that no other program gets while
// this object exists. The port is bound with SO_REUSEPORT, but nothing listens
// on it. A server of the same user can listen on it if the server sets
// SO_REUSEPORT, and can do so again after a restart. While no server listens on
// it, connections are refused.
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
