// SPDX-License-Identifier: Apache-2.0
//
// RealServer: oidc-provider behind nginx with TLS, on this machine.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OAUTH2_REAL_SERVER_H_
#define REFRESHABLE_DOCS_EXAMPLES_OAUTH2_REAL_SERVER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/integrations/curl/tls_server_test_util.h"

// Three processes: oidc-provider, which issues tokens, an API that takes the
// tokens, and nginx with TLS in front of both. If a process cannot be started,
// this program ends. Any thread may call `CallApi` and `token_url`. All other
// methods must be called on one thread.
//
// oidc-provider knows two clients: "notes" (client credentials, secret
// "right-secret") and "notes-app" (refresh tokens, secret "app-secret").
class RealServer {
 public:
  // nginx has a port for each kind of certificate. `Present` changes the
  // certificate on the port of kGood.
  enum Certificate { kGood, kExpired, kOtherHost };

  // Installs the servers if necessary, which takes a while. If the installation
  // is impossible, returns UNAVAILABLE with the reason.
  static absl::Status Install();

  // Tokens live for `lifetime`, cut to whole seconds. Requires: `Install` has
  // returned OK.
  explicit RealServer(absl::Duration lifetime = absl::Hours(1));
  RealServer(const RealServer&) = delete;
  RealServer& operator=(const RealServer&) = delete;
  ~RealServer();

  std::string token_url(Certificate certificate = kGood) const;
  const std::string& ca_file() const { return ca_file_; }
  // A folder for files of the caller.
  const std::string& folder() const { return folder_; }
  // Returns the refresh token that the client "notes-app" got by the last
  // simulated login.
  std::string login() const { return Read("login"); }

  // Returns the HTTP status, or 0 if there is no answer. Thread-safe.
  int CallApi(absl::string_view token) const;

  // Returns how many lines of oidc-provider's log begin with `text`. The log
  // has a line "token STATUS GRANT" for each token request.
  int Count(absl::string_view text) const;

  // While oidc-provider is stopped, nginx answers 502. While it is paused,
  // requests hang. A stop makes all refresh tokens invalid, but no access
  // tokens. A start simulates a new login, and gives the client "notes" the
  // secret `secret`.
  void StopProvider();
  void StartProvider(const std::string& secret = "right-secret");
  void PauseProvider();
  void ResumeProvider();
  // Deletes the key that signs access tokens, so the API rejects all of them.
  // oidc-provider makes a new key at its next start. Requires: oidc-provider is
  // stopped.
  void ForgetKey();
  // Closes all connections, even connections that clients keep open.
  void RestartNginx();
  // Soon after this call, nginx presents `certificate` on the port of kGood and
  // closes idle connections.
  void Present(Certificate certificate);

 private:
  std::string Read(const std::string& name) const;
  pid_t StartNode(const std::string& script, const std::string& name,
                  const std::string& secret);
  void WriteNginxConf(Certificate certificate) const;
  void StartNginx();

  const std::string lifetime_;
  std::string folder_;
  std::string ca_file_;
  // `sockets_[i]` reserves `ports_[i]`. Nobody listens on these sockets.
  int sockets_[4];
  int ports_[4];
  pid_t provider_ = -1;
  pid_t api_ = -1;
  pid_t nginx_ = -1;
};

// If `condition` does not return true within two minutes, ends this program
// with a message that contains `what`.
void WaitUntil(const char* what, const std::function<bool()>& condition);

#endif  // REFRESHABLE_DOCS_EXAMPLES_OAUTH2_REAL_SERVER_H_
