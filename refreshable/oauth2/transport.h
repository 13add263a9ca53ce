// SPDX-License-Identifier: Apache-2.0
//
// Transport: an HTTP client that sends a TokenRequest and passes on the
// server's answer. Implement it over the HTTP client that your program already
// has.

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

// The limits of one request. Set by the token source.
struct SendOptions {
  // How long the request may take, from the call of `Send` to the last byte of
  // the answer. Positive; may be infinite.
  absl::Duration timeout = absl::InfiniteDuration();
  // The most bytes of a body that the transport may read. If the body is
  // longer, the transport stops reading, closes the connection, and sets
  // `HttpAnswer::body_too_long`.
  size_t max_body_bytes = kDefaultMaxBodyBytes;
  // Returns true if nobody waits for the answer any longer. The transport may
  // then close the connection. The function is never null, is thread-safe and
  // does not block. The transport must not call it after calling `done`. If the
  // request presents a refresh token, the function always returns false,
  // because the answer may bring a new refresh token.
  std::function<bool()> cancelled = [] { return false; };
};

// The HTTP client of one token source, or of several that share it.
//
// What a transport must do:
//   - It sends a POST with the given URL, headers and body. It may send a
//     request again only if it knows that the server has received no part of
//     the request.
//   - It verifies the server's certificate and host name (https).
//   - It does not follow redirects: a 3xx is an answer like any other.
//   - It passes every answer that has an HTTP status to `done`, even a 500.
//     Otherwise it passes an absl::Status, whose code says whether a retry may
//     help: UNAVAILABLE (no connection, no answer, a connection that broke),
//     DEADLINE_EXCEEDED (the timeout), CANCELLED, or FAILED_PRECONDITION if
//     only a change of the configuration can help (a certificate that is not
//     trusted). If the server has certainly not received the request, the
//     transport marks the status with `NotSent`.
//   - It puts nothing of the request's headers and body, or of the answer, into
//     the absl::Status. Statuses end up in logs.
//
// Threads: `Send` may be called on any thread, inside a `done`, and by several
// threads at the same time. So it must be thread-safe. It must not throw. This
// library holds no lock during the call. `Send` may block until the request has
// ended (see `BlockingTransport`), or return at once. The transport may call
// `done` inside `Send` or later, on any thread. It must hold no lock while it
// calls `done`: this may run callbacks of the program, and may call `Send`. It
// must call `done` once, within the timeout or soon after it. If a `done` is
// destroyed without having been called, its request has failed.
//
// Ownership: token sources share the transport. The transport owns each `done`
// until it calls that `done`. The last owner may let go of the transport while
// requests are outstanding. The transport's destructor must then end every
// outstanding request, by calling or destroying its `done`. The destructor may
// join the transport's own threads, but not the thread that it runs on. This
// library runs the destructor inside a `done` only if the program destroys a
// token source there. After the destructor has returned, no `done` may be
// called.
class Transport {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Sends one request, and passes the answer or the failure to `done`, inside
  // this call or later.
  virtual void Send(TokenRequest request, SendOptions options, Done done) = 0;
};

// Returns a transport whose `Send` calls `function`, which sends the request
// and blocks until the request has ended. Several threads may call `function`
// at the same time. If `function` is empty, returns null, which `CreateSource`
// refuses.
std::shared_ptr<Transport> BlockingTransport(
    std::function<absl::StatusOr<HttpAnswer>(const TokenRequest&,
                                             const SendOptions&)>
        function);

// Returns `status` with a mark that the server has certainly not received the
// request, for example because there was no connection. If a request that
// presents a refresh token fails without this mark, the answer counts as lost:
// the server may have replaced the token (see `RefreshTokens`). Requires:
// !status.ok().
absl::Status NotSent(absl::Status status);

// Returns whether `status` has the mark of `NotSent`.
bool WasNotSent(const absl::Status& status);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_TRANSPORT_H_
