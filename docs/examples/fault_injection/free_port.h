// SPDX-License-Identifier: Apache-2.0
//
// FreePort: a loopback port for a server that is killed and restarted.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_FREE_PORT_H_

#include <utility>

#include "absl/status/statusor.h"

namespace refreshable_examples {

// A port of 127.0.0.1 that is reserved while this object exists. A server can
// listen on the port only if it sets SO_REUSEPORT and runs as the same user as
// this process. If no server listens, connections are refused.
class FreePort {
 public:
  // Reserves a free port. Returns UNAVAILABLE if there is none.
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
