// SPDX-License-Identifier: Apache-2.0
//
// Client: the common interface of the three clients of the outage example.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_CLIENT_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace refreshable_examples {

struct Bearer {
  std::shared_ptr<const std::string> token;
  absl::Time expires_at;
  // Increases with each new token of a client.
  uint64_t generation = 0;
};

struct ClientState {
  std::string name;  // "fresh", "locked out", ...
  uint64_t generation = 0;
};

// Sends one request with the token. Returns whether the API rejected the token
// with a 401.
using Send = absl::FunctionRef<bool(const Bearer&)>;

// Calls an API, and gets the tokens for the calls. Thread-safe.
class Client {
 public:
  virtual ~Client() = default;

  // Returns a token for one request, or the reason why there is none. May
  // block.
  virtual absl::StatusOr<Bearer> Token() = 0;

  // Sends a request with a token. If the API rejects the token, may repeat the
  // request once with another token. Returns an error only if nothing was sent.
  // May block.
  virtual absl::Status Call(Send send) = 0;

  virtual ClientState state() const = 0;
};

// A client whose subclass decides whether to repeat a rejected request.
class ReplayingClient : public Client {
 public:
  absl::Status Call(Send send) final {
    const absl::StatusOr<Bearer> bearer = Token();
    if (!bearer.ok()) return bearer.status();
    if (!send(*bearer) || !OnRejected(*bearer)) return absl::OkStatus();
    const absl::StatusOr<Bearer> other = Token();
    if (other.ok() && send(*other)) OnRejected(*other);
    return absl::OkStatus();
  }

 private:
  // `Call` calls this function after each 401, with the rejected token. Returns
  // whether to repeat the request with the token that `Token` returns next. The
  // result is ignored after the second request of a call. May block.
  virtual bool OnRejected(const Bearer& rejected) = 0;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_CLIENT_H_
