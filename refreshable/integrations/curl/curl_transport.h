// SPDX-License-Identifier: Apache-2.0
//
// CreateCurlTransport: sends token requests with libcurl.

#ifndef REFRESHABLE_INTEGRATIONS_CURL_CURL_TRANSPORT_H_
#define REFRESHABLE_INTEGRATIONS_CURL_CURL_TRANSPORT_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/oauth2/transport.h"

namespace refreshable {
namespace oauth2 {

struct CurlTransportOptions {
  // A file with the certificates of the authorities to trust, in PEM form. If
  // empty, libcurl decides: it usually trusts those that the system trusts.
  std::string ca_file;
  // The address of a proxy, as libcurl's CURLOPT_PROXY takes it. If unset,
  // libcurl reads the environment: https_proxy, http_proxy, all_proxy and
  // no_proxy. If empty, there is no proxy. A plain http request to this machine
  // never goes through a proxy.
  std::optional<std::string> proxy;
  // How long it may take to find the server's address and to connect to it,
  // TLS included. At least 1 ms; cut to one day.
  absl::Duration connect_timeout = absl::Seconds(10);
  // How many connections may be kept open for further requests, and for how
  // long. `max_idle_connections` is at least 0; with 0, each request makes a
  // connection of its own. libcurl counts the connections in use as well, so
  // while more requests than this are outstanding, none is kept.
  // `max_idle_time` is at least one second; cut to one day.
  int max_idle_connections = 8;
  absl::Duration max_idle_time = absl::Seconds(30);
  // The User-Agent header. Must contain no line break.
  std::string user_agent = "refreshable";
};

// Returns a transport that sends its requests with libcurl on a thread of its
// own. `Send` never blocks. The thread calls every `done`, so a `done` that
// blocks delays all other requests of the same transport.
//
// Beside what every Transport does:
//   - It speaks TLS 1.2 or later, and HTTP/1.1 because of the rule about
//     resending below. It sends no cookies and reads no .netrc.
//   - It sends nothing over a connection that was kept open if the server has
//     closed it or sent something unasked; it makes a new one. (It does not see
//     what the TLS library has read together with an answer.) If such a
//     connection ends after libcurl has begun to send, the request fails with
//     UNAVAILABLE, because the server may have processed it. (libcurl on its
//     own would send it again.)
//   - A status has the mark of `NotSent` if and only if libcurl has not begun
//     to send the request.
//   - It looks at `SendOptions::cancelled` about every 100 ms.
//   - An answer whose headers are longer than 64 KiB fails with UNAVAILABLE.
//   - The message of a failure contains libcurl's description of the error and
//     the host and the port of the endpoint, and nothing else.
//   - A header of the request that contains a line break, and a proxy that asks
//     for a password (407), are failures with FAILED_PRECONDITION.
//
// If the last owner lets go of the transport, requests that are outstanding
// fail with CANCELLED before the destructor returns. Inside a `done` the
// transport may be destroyed too; the other requests then fail after this
// `done` has returned.
//
// After fork(), the child's requests fail with FAILED_PRECONDITION: the thread
// exists in the parent only. The child must create a transport of its own.
//
// Errors:
//   - INVALID_ARGUMENT, which names the field: an option is not valid.
//   - RESOURCE_EXHAUSTED: the system refuses a thread or memory.
//
// Requires libcurl 7.80 or later, with TLS. If libcurl's version is older than
// 7.84, the program must call `curl_global_init` before it starts threads that
// use libcurl.
absl::StatusOr<std::shared_ptr<Transport>> CreateCurlTransport(
    CurlTransportOptions options = {});

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_INTEGRATIONS_CURL_CURL_TRANSPORT_H_
