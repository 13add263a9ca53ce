// SPDX-License-Identifier: Apache-2.0

#ifndef NOTES_CLIENT_H_
#define NOTES_CLIENT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "notes/session_source.h"
#include "notes/transport.h"
#include "refreshable/executors/executor.h"
#include "refreshable/refreshable.h"

namespace notes {

// [client]
// The SDK's client. It is thread-safe. The executor must outlive the client.
class Client {
 public:
  // Fails with INVALID_ARGUMENT if an argument is null.
  static absl::StatusOr<std::unique_ptr<Client>> Create(
      std::shared_ptr<Transport> transport,
      std::shared_ptr<refreshable::TokenSource<Session>> source,
      refreshable::Executor* executor);

  absl::StatusOr<std::string> ReadNote(const std::string& name);

 private:
  using Sessions = refreshable::Refreshable<Session>;

  Client(std::shared_ptr<Transport> transport,
         std::unique_ptr<Sessions> sessions)
      : transport_(std::move(transport)), sessions_(std::move(sessions)) {}

  const std::shared_ptr<Transport> transport_;
  const std::unique_ptr<Sessions> sessions_;
};
// [/client]

}  // namespace notes

#endif  // NOTES_CLIENT_H_
