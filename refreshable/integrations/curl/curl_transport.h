// SPDX-License-Identifier: Apache-2.0
//
// CreateCurlTransport: makes a transport that sends token requests with
// libcurl.

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
  // empty, libcurl usually trusts the authorities that the system trusts.
  std::string ca_file;
  // The address of a proxy, as libcurl's CURLOPT_PROXY takes it. If unset,
  // libcurl uses the environment's https_proxy, http_proxy or all_proxy. If
  // empty, there is no proxy. Requests to the hosts in the environment's
  // no_proxy, and plain http requests to localhost, 127.* or [::1], never go
  // through a proxy.
  std::optional<std::string> proxy;
  // How long it may take to find the server's address and to connect, TLS
  // included. At least 1 ms. More than one day counts as one day.
  absl::Duration connect_timeout = absl::Seconds(10);
  // When a request ends, its connection is kept for further requests. If there
  // are then more connections than this, counting those in use, an idle
  // connection is closed. At least 0; if 0, each request makes a connection of
  // its own.
  int max_idle_connections = 8;
  // How long a connection may be idle and still be reused. At least one second.
  // Fractions of a second are ignored. More than one day counts as one day.
  absl::Duration max_idle_time = absl::Seconds(30);
  // The User-Agent header. Must contain no line break and no zero byte.
  std::string user_agent = "refreshable";
};

// Returns a transport that sends its requests with libcurl on a thread of its
// own. `Send` never blocks. The thread calls the `done` of every request, so a
// `done` that blocks delays all other requests of the same transport.
//
// This transport obeys the rules of Transport. In addition:
//   - It speaks TLS 1.2 or later, and HTTP/1.1. It sends no cookies and reads
//     no .netrc.
//   - It makes a new connection if the server has closed an idle connection or
//     has sent something unasked over it. But it does not notice unasked bytes
//     that the TLS library has read together with the previous answer.
//   - It sends no request twice. If the connection ends after libcurl has begun
//     to send the request, and no answer has come, the request fails with
//     UNAVAILABLE.
//   - A status has the mark of `NotSent` if and only if libcurl has not begun
//     to send the request.
//   - It calls `SendOptions::cancelled` about every 100 ms or more often,
//     except while a `done` blocks.
//   - If the headers of an answer are longer than 64 KiB, the request fails
//     with UNAVAILABLE.
//   - If a header of the request contains a line break or a zero byte, the
//     request fails with FAILED_PRECONDITION. So does a request to an https
//     endpoint if the proxy asks for a password (407).
//   - The message of a failure contains a description of the error and perhaps
//     the host and the port of the endpoint, and nothing else.
//
// The destructor ends outstanding requests before it returns: with CANCELLED,
// or with an outcome that has just come. If the transport is destroyed inside a
// `done`, the other requests end after this `done` has returned.
//
// In the child of a fork(), `Send` itself calls `done` with
// FAILED_PRECONDITION. The child must create a transport of its own.
//
// Errors:
//   - INVALID_ARGUMENT: an option is not valid. The message names the field.
//   - RESOURCE_EXHAUSTED: libcurl cannot be initialized, or the system refuses
//     a thread.
//
// Requires libcurl 7.80 or later, with TLS. If libcurl's version is older than
// 7.84, the program must call `curl_global_init` before it starts other
// threads.
absl::StatusOr<std::shared_ptr<Transport>> CreateCurlTransport(
    CurlTransportOptions options = {});

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_INTEGRATIONS_CURL_CURL_TRANSPORT_H_
