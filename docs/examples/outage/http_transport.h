// SPDX-License-Identifier: Apache-2.0
//
// SendWithHttplib: sends the library's OAuth 2.0 requests with cpp-httplib.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_TRANSPORT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_TRANSPORT_H_

#include "absl/status/statusor.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/oauth2/transport.h"

namespace refreshable_examples {

// Sends one request over a new connection of cpp-httplib, and waits for the
// answer. Meant to be copied, and to be passed to
// `refreshable::oauth2::BlockingTransport`. Thread-safe.
//
// `options.timeout`, but at most 5 minutes, limits each step: connecting, each
// write, each read. The time of all steps together is checked only when a part
// of the body arrives. So the call may last longer than the timeout.
// `options.cancelled` is ignored.
//
// The program should ignore SIGPIPE, because cpp-httplib may write to a closed
// connection.
absl::StatusOr<refreshable::oauth2::HttpAnswer> SendWithHttplib(
    const refreshable::oauth2::TokenRequest& request,
    const refreshable::oauth2::SendOptions& options);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_HTTP_TRANSPORT_H_
