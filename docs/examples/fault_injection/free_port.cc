// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/free_port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/status/status.h"

namespace refreshable_examples {

absl::StatusOr<FreePort> FreePort::Get() {
  FreePort port(socket(AF_INET, SOCK_STREAM, 0), 0);
  fcntl(port.socket_, F_SETFD, FD_CLOEXEC);
  const int yes = 1;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (setsockopt(port.socket_, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) !=
          0 ||
      bind(port.socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(port.socket_, reinterpret_cast<sockaddr*>(&address), &size) !=
          0) {
    return absl::UnavailableError(std::generic_category().message(errno));
  }
  port.number_ = ntohs(address.sin_port);
  return port;
}

FreePort::~FreePort() {
  if (socket_ >= 0) close(socket_);
}

}  // namespace refreshable_examples
