// SPDX-License-Identifier: Apache-2.0
//
// OAuthServer: a token endpoint that can be made to fail, and an API that
// accepts its tokens.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SERVER_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/outage/script.h"
#include "refreshable/executors/clock.h"

namespace refreshable_examples {

// An HTTP answer. The body is JSON, except in a 502.
struct Answer {
  int status = 200;
  std::string body;
  // The header WWW-Authenticate; empty if there is none.
  std::string www_authenticate;
};

// The `error_description` in the API's answer to an expired or revoked token.
constexpr absl::string_view kTokenExpired = "The access token expired";
constexpr absl::string_view kTokenRevoked = "The access token was revoked";

// A token endpoint and an API, without a network. It chooses the answers in
// each phase of the script (script.h), and counts the requests for tokens.
// Thread-safe.
//
// An OAuthServer in another process can check a token, because the token
// contains its number and expiry. But the other server does not know which
// tokens this server has revoked. Tokens are not signed.
class OAuthServer {
 public:
  // `clients` maps the names of the clients to their secrets. The clock must
  // outlive the server.
  OAuthServer(std::map<std::string, std::string> clients,
              absl::Duration token_life, const refreshable::Clock* clock);

  // kRevoking revokes all tokens that were issued before this phase or are
  // issued during it.
  void SetPhase(Phase phase);

  void Revoke(absl::string_view token);

  // Ends the requests that hang. After this call, no request hangs.
  void Shutdown();

  // Answers a request to the token endpoint (RFC 6749, section 4.4), given the
  // Authorization header and the body's `grant_type`. A request in the phase
  // kHanging blocks until the phase changes or `Shutdown` is called, and gets
  // 503.
  Answer Token(absl::string_view authorization, absl::string_view grant_type);

  // Returns 200, or 401 with the reason.
  Answer Api(absl::string_view authorization);

  // Return the number of requests to the token endpoint with the name and
  // secret of `client`, whatever the answers were. `outage_requests` counts
  // only requests during the outage.
  int64_t token_requests(absl::string_view client) const;
  int64_t outage_requests(absl::string_view client) const;

  // Blocks until at least `requests` requests hang. For tests.
  void AwaitHanging(int requests = 1) const;

 private:
  struct Counts {
    int64_t all = 0;
    int64_t outage = 0;
  };

  // Returns the name of the client that `authorization` authenticates. Returns
  // an empty string if there is no such client.
  std::string Authenticate(absl::string_view authorization) const;
  Answer Issue(absl::string_view client) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Answering() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return phase_ != Phase::kHanging || shut_down_;
  }

  const std::map<std::string, std::string> clients_;
  const absl::Duration token_life_;
  const refreshable::Clock* const clock_;

  mutable absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kHealthy;
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  int hanging_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t last_token_ ABSL_GUARDED_BY(mu_) = 0;
  // The tokens with numbers up to `last_revoked_` and those in `revoked_` are
  // revoked.
  int64_t last_revoked_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_set<std::string> revoked_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Counts, std::less<>> counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_OAUTH_SERVER_H_
