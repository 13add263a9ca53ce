// SPDX-License-Identifier: Apache-2.0
//
// Tests the first example of the README.

#include <string>
#include <vector>

#include "gtest/gtest.h"

// [first]
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"

using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Lease;
using refreshable::Refreshable;

// You write this: it asks the token endpoint, metadata server or vault, and may
// block.
absl::StatusOr<Credential<std::string>> AskTokenEndpoint();

// You write this: it makes one call of the API and returns the HTTP status.
int CallApi(const std::string& token);

// The client of an API. Create one object and keep it as long as the program
// calls the API, because each object fetches a token of its own.
class ApiClient {
 public:
  absl::Status Start() {
    auto token = Refreshable<std::string>::Create(
        refreshable::BlockingSource<std::string>(AskTokenEndpoint),
        {&executor_});
    if (!token.ok()) return token.status();
    token_ = *std::move(token);
    return absl::OkStatus();
  }

  // May be called by any thread.
  absl::Status Call() {
    // Returns at once while the token is usable.
    absl::StatusOr<Lease<std::string>> lease = token_->Get(absl::Seconds(5));
    if (!lease.ok()) return lease.status();
    if (CallApi(lease->token()) != 401) return absl::OkStatus();

    // This server rejected the token. Read a newer token and try once more.
    // Other calls still get the rejected token.
    Refreshable<std::string>::ReadOptions options;
    options.timeout = absl::Seconds(5);
    options.rejected = lease->generation();
    lease = token_->Get(options);
    if (!lease.ok()) return lease.status();
    CallApi(lease->token());
    return absl::OkStatus();
  }

 private:
  refreshable::ThreadExecutor executor_;  // Must outlive the token.
  std::unique_ptr<Refreshable<std::string>> token_;
};
// [/first]

std::vector<std::string> sent;

absl::StatusOr<Credential<std::string>> AskTokenEndpoint() {
  return Credential<std::string>("opaque-token", Expiry::In(absl::Hours(1)));
}

int CallApi(const std::string& token) {
  sent.push_back(token);
  return 401;
}

TEST(FirstReadTest, ARejectedTokenStaysInServiceForOtherCalls) {
  ApiClient client;
  ASSERT_TRUE(client.Start().ok());
  // No second token may be fetched within a second of the start of the first
  // attempt. So the second read of each `Call` fails.
  EXPECT_TRUE(absl::IsUnauthenticated(client.Call()));
  EXPECT_TRUE(absl::IsUnauthenticated(client.Call()));
  EXPECT_EQ(sent, std::vector<std::string>(2, "opaque-token"));
}
