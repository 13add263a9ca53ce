// SPDX-License-Identifier: Apache-2.0

#include "notes/client.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace notes {

absl::StatusOr<std::unique_ptr<Client>> Client::Create(
    std::shared_ptr<Transport> transport,
    std::shared_ptr<refreshable::TokenSource<Session>> source,
    refreshable::Executor* executor) {
  if (transport == nullptr) {
    return absl::InvalidArgumentError("Client: transport is null");
  }
  auto sessions = Sessions::Create(std::move(source), {executor});
  if (!sessions.ok()) return sessions.status();
  return std::unique_ptr<Client>(
      new Client(std::move(transport), *std::move(sessions)));
}

// [call]
absl::StatusOr<std::string> Client::ReadNote(const std::string& name) {
  Sessions::ReadOptions options;
  options.timeout = absl::Seconds(10);
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<refreshable::Lease<Session>> session =
        sessions_->Get(options);
    if (!session.ok()) return session.status();
    absl::StatusOr<Response> response = transport_->Send(
        "GET", absl::StrCat("/", session->token().shard, "/notes/", name),
        absl::StrCat("Session ", session->token().key));
    if (!response.ok()) return response.status();
    if (response->status == 200) return response->body;
    if (response->status != 401 || attempt == 2) {
      return absl::InternalError(
          absl::StrCat("the server answered ", response->status));
    }
    options.rejected = session->generation();  // Ask for a newer session.
  }
}
// [/call]

}  // namespace notes
