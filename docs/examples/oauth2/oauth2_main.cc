// SPDX-License-Identifier: Apache-2.0
//
// Gets tokens with NotesTokens from a real OAuth 2.0 server, which this program
// installs and starts. If the server cannot be installed, the exit status is
// 75.

#include <iostream>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "notes_tokens.h"
#include "real_server.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/lease.h"

int main() {
  const absl::Status installed = RealServer::Install();
  if (!installed.ok()) {
    std::cout << "NOT RUN: " << installed.message() << std::endl;
    return 75;
  }
  RealServer server;
  std::cout << "the server: oidc-provider behind nginx, " << server.token_url()
            << std::endl;

  refreshable::ThreadExecutor executor;
  refreshable::oauth2::CurlTransportOptions curl;
  curl.ca_file = server.ca_file();
  curl.proxy = "";
  auto tokens =
      NotesTokens(server.token_url(), "notes",
                  refreshable::Secret("right-secret"), executor, curl);
  if (!tokens.ok()) {
    std::cout << tokens.status() << std::endl;
    return 1;
  }
  for (int call = 1; call <= 3; ++call) {
    const auto lease = (*tokens)->Get(absl::Seconds(30));
    if (!lease.ok()) {
      std::cout << lease.status() << std::endl;
      return 1;
    }
    std::cout << "call " << call << ": generation " << lease->generation()
              << ", the API answers " << server.CallApi(lease->token().reveal())
              << std::endl;
  }
  std::cout << "tokens issued: " << server.Count("token 200") << std::endl;

  // The server gets a new key, so the API answers 401 to the old token. Another
  // attempt is permitted after `RefreshPolicy::min_interval` (1 s).
  const absl::Time restarted = absl::Now();
  server.StopProvider();
  server.ForgetKey();
  server.StartProvider();
  WaitUntil("the minimum interval",
            [&] { return absl::Now() > restarted + absl::Seconds(1.5); });
  auto lease = (*tokens)->Get(absl::Seconds(30));
  if (!lease.ok()) return 1;
  std::cout << "after a change of the server's key: the API answers "
            << server.CallApi(lease->token().reveal()) << std::endl;
  refreshable::Refreshable<refreshable::Secret>::ReadOptions after_401;
  after_401.timeout = absl::Seconds(30);
  after_401.rejected = lease->generation();
  lease = (*tokens)->Get(after_401);
  if (!lease.ok()) {
    std::cout << lease.status() << std::endl;
    return 1;
  }
  const int status = server.CallApi(lease->token().reveal());
  std::cout << "with a later token: generation " << lease->generation()
            << ", the API answers " << status << std::endl;
  return status == 200 ? 0 : 1;
}
