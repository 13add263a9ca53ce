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
  // How many bytes of the body to keep. As soon as the body is longer, the
  // transport stops reading, closes the connection, and answers with
  // `HttpAnswer::body_too_long`.
  size_t max_body_bytes = kDefaultMaxBodyBytes;
  // Returns true if nobody waits for the answer any longer; the transport may
  // then close the connection. Never null; thread-safe; cheap; may be called
  // until `done` has been called. It never returns true for a request that
  // presents a refresh token, because that answer matters even then.
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
//   - Every answer with an HTTP status is an OK result. A status means that
//     there was no such answer, and its code says whether a retry may help:
//     UNAVAILABLE (no connection, no answer, a connection that broke),
//     DEADLINE_EXCEEDED (the timeout), CANCELLED, and FAILED_PRECONDITION for
//     what only a change of the configuration can mend (a certificate that is
//     not trusted). Use `NotSent` for a status if the server has certainly not
//     received the request.
//   - A status contains nothing of the request's headers and body, and nothing
//     of the answer: it ends up in logs.
//
// Threads: `Send` is called on any thread, also concurrently and inside a
// `done`, and must be thread-safe. No lock is held around it. It may block
// until the request has ended (see `BlockingTransport`), or return at once.
// `done` may be called inside `Send` or later, on any thread, and no lock may
// be held around it. It may run callbacks of the program, and may call `Send`.
// It must be called once, within the timeout or soon after it. If it is
// destroyed without having been called, the request has failed.
//
// Ownership: token sources share the transport. The transport owns `done` until
// it has called it. The last owner may let go of the transport while requests
// are outstanding; the destructor must end them, by calling `done` or
// destroying it. A token source never destroys a transport on a thread that is
// inside a `done`, so the destructor may join the transport's own threads.
// After the destructor has returned, no `done` may be called.
class Transport {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  virtual void Send(TokenRequest request, SendOptions options, Done done) = 0;
};

// Returns a transport that calls `function`, which blocks, inside `Send`: on a
// thread of the executor that runs refreshes, and possibly on several threads
// at the same time. Returns null, which `CreateSource` refuses, if `function`
// is empty.
std::shared_ptr<Transport> BlockingTransport(
    std::function<absl::StatusOr<HttpAnswer>(const TokenRequest&,
                                             const SendOptions&)>
        function);

// Marks a status of a transport: the server has certainly not received the
// request, because there was no connection (no address, refused, no TLS). This
// matters for a refresh token, which a server may accept only once: without the
// mark, the token counts as possibly replaced. Requires: !status.ok().
absl::Status NotSent(absl::Status status);

// Returns whether `status` has that mark.
bool WasNotSent(const absl::Status& status);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_TRANSPORT_H_
