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

// A server of tokens (server/server.mjs), and an API that takes them
// (server/api.mjs), two processes behind one nginx. The clients are "notes"
// (client credentials, "right-secret") and "notes-app" (refresh tokens,
// "app-secret"). Used by one thread, except for `CallApi` and the addresses. If
// a program or a file cannot be had, it ends this program.
class RealServer {
 public:
  // nginx presents one of these certificates, depending on the port.
  enum Certificate { kGood, kExpired, kOtherHost };

  // Installs the servers if they are not installed yet, which takes a while. If
  // that is impossible, returns the reason as UNAVAILABLE.
  static absl::Status Install();

  // Starts the servers. Tokens live for `lifetime`, in whole seconds. Requires:
  // `Install` has returned OK.
  explicit RealServer(absl::Duration lifetime = absl::Hours(1));
  RealServer(const RealServer&) = delete;
  RealServer& operator=(const RealServer&) = delete;
  ~RealServer();

  std::string token_url(Certificate certificate = kGood) const;
  const std::string& ca_file() const { return ca_file_; }
  // A folder for files of the caller.
  const std::string& folder() const { return folder_; }
  // Returns the refresh token that a user's login has brought to "notes-app".
  std::string login() const { return Read("login"); }

  // Calls the API with `token`. Returns the HTTP status, or 0 if there is no
  // answer. Thread-safe.
  int CallApi(absl::string_view token) const;

  // Returns how many lines of the servers' log begin with `text`: "token 200",
  // say, for the tokens that were issued.
  int Count(absl::string_view text) const;

  // oidc-provider forgets all refresh tokens when it stops, and makes a new
  // login when it starts. Access tokens remain valid. While it is stopped,
  // nginx answers 502; while it is paused, requests hang. The API is not
  // affected. `secret` is that of the client "notes".
  void StopProvider();
  void StartProvider(const std::string& secret = "right-secret");
  void PauseProvider();
  void ResumeProvider();
  // Makes the API reject all access tokens that have been issued. Requires:
  // oidc-provider is stopped. It makes a new key when it starts.
  void ForgetKey();
  // Closes all connections, also those that clients keep open.
  void RestartNginx();
  // Presents `certificate` on the port of kGood too, soon. Closes idle
  // connections.
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
  // Hold the ports; nobody listens on these sockets.
  int sockets_[4];
  int ports_[4];
  pid_t provider_ = -1;
  pid_t api_ = -1;
  pid_t nginx_ = -1;
};

// Waits until `condition` holds. Ends this program if that takes more than two
// minutes.
void WaitUntil(const char* what, const std::function<bool()>& condition);

#endif  // REFRESHABLE_DOCS_EXAMPLES_OAUTH2_REAL_SERVER_H_
