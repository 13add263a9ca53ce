// SPDX-License-Identifier: Apache-2.0
//
// Transport: sends a TokenRequest and returns the server's answer. Implement it
// over the HTTP client that your program already has.

#ifndef REFRESHABLE_OAUTH2_TRANSPORT_H_
#define REFRESHABLE_OAUTH2_TRANSPORT_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/request.h"

namespace refreshable {
namespace oauth2 {

// What a transport is told about one request. A value.
struct SendOptions {
  // How long the request may take, from the call of `Send` to the last byte of
  // the answer. Positive; may be infinite.
  absl::Duration timeout = absl::InfiniteDuration();
  // The most bytes of a body that the transport may read. If the body is
  // longer, the transport stops reading, closes the connection, and sets
  // `HttpAnswer::body_too_long` in its answer.
  size_t max_body_bytes = kDefaultMaxBodyBytes;
  // Returns true if nobody waits for the answer any longer. The transport may
  // then close the connection. Never null; thread-safe; cheap; may be called
  // until `done` has been called. For a request that presents a refresh token
  // it always returns false: the answer may bring a new refresh token, even if
  // nobody waits for it.
  std::function<bool()> cancelled = [] { return false; };
};

// Sends requests to token endpoints, for one token source or for many.
//
// What a transport must do:
//   - It sends a POST with the given URL, headers and body. It sends each
//     request once: it may send it again only if it knows that the server has
//     not received any of it.
//   - It verifies the server's certificate and host name (https).
//   - It does not follow redirects: a 3xx is an answer like any other.
//   - For every answer with an HTTP status, even 500, the result is that
//     answer. The result is an absl::Status only if there was no such answer.
//     The code of that status says whether a retry may help:
//     UNAVAILABLE (no connection, no answer, a connection that broke),
//     DEADLINE_EXCEEDED (the timeout), CANCELLED, and FAILED_PRECONDITION for
//     what only a change of the configuration can mend (a certificate that is
//     not trusted). If the server has certainly not received the request, mark
//     the status with `NotSent`.
//   - Such a status contains nothing of the request's headers and body, and
//     nothing of the answer: it ends up in logs.
//
// Threads: `Send` is called on any thread, also concurrently and inside a
// `done`, so it must be thread-safe. This library holds no lock during the
// call. `Send` may block until the request has ended (see `BlockingTransport`),
// or return at once. The transport may call `done` inside `Send` or later, on
// any thread, but must hold no lock: `done` may run callbacks of the program,
// and may call `Send`. `done` must be called once, within the timeout or soon
// after it. If it is destroyed without having been called, the request has
// failed.
//
// Ownership: token sources share the transport. The transport owns `done` until
// it has called it. The last owner may let go of the transport while requests
// are outstanding. The transport's destructor must then end each of them, by
// calling its `done` or destroying it. A token source never destroys a
// transport on a thread that is inside a `done`, so the destructor may join the
// transport's own threads. After the destructor has returned, no `done` may be
// called.
class Transport {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Sends one request, and passes its outcome to `done`, now or later.
  virtual void Send(TokenRequest request, SendOptions options, Done done) = 0;
};

// Returns a transport whose `Send` calls `function`, which blocks until the
// request has ended. Usually that is on a thread of the executor that runs
// refreshes, and possibly on several threads at the same time. If `function` is
// empty, returns null, which `CreateSource` refuses.
std::shared_ptr<Transport> BlockingTransport(
    std::function<absl::StatusOr<HttpAnswer>(const TokenRequest&,
                                             const SendOptions&)>
        function);

// Returns `status` with a mark which says that the server has certainly not
// received the request, because there was no connection (no address, refused,
// no TLS). This matters for a refresh token, which a server may accept only
// once: without the mark, the server may have replaced the token, and the
// answer counts as lost. Requires: !status.ok().
absl::Status NotSent(absl::Status status);

// Returns whether `status` has the mark of `NotSent`.
bool WasNotSent(const absl::Status& status);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_TRANSPORT_H_
