// SPDX-License-Identifier: Apache-2.0
//
// Runs the whole script of the outage for the Refreshable client, in virtual
// time and without the network.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "docs/examples/outage/oauth_server.h"
#include "docs/examples/outage/oauth_source.h"
#include "docs/examples/outage/refreshable_client.h"
#include "docs/examples/outage/report/verdict.h"
#include "docs/examples/outage/script.h"
#include "docs/examples/outage/workload.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {
namespace {

using refreshable::BootTime;
using refreshable::FetchContext;
using refreshable::FetchDone;
using refreshable::ManualExecutor;
using refreshable::Refreshable;

// Calls the server without a network. While `hanging` is true, each call of
// `Fetch` is counted in `hung` and never answered.
class DirectSource final : public refreshable::TokenSource<std::string> {
 public:
  explicit DirectSource(OAuthServer* server) : server_(server) {}

  void Fetch(const FetchContext&, FetchDone<std::string> done) override {
    if (hanging) {
      ++hung;
      unanswered_.push_back(std::move(done));
      return;
    }
    const Answer answer =
        server_->Token(absl::StrCat("Basic ", absl::Base64Escape("me:s3cret")),
                       "client_credentials");
    refreshable::oauth2::HttpAnswer http;
    http.status = answer.status;
    http.body = refreshable::Secret(answer.body);
    done(ReadTokenAnswer(http));
  }

  bool hanging = false;
  int hung = 0;

 private:
  OAuthServer* const server_;
  std::vector<FetchDone<std::string>> unanswered_;
};

TEST(VirtualOutageTest, B8OurClientKeepsItsPromise) {
  ManualExecutor executor;
  OAuthServer server({{"me", "s3cret"}}, kTokenLife, &executor.clock());
  auto source = std::make_shared<DirectSource>(&server);
  Refreshable<std::string>::Options options;
  options.executor = &executor;
  options.policy = ScaledPolicy(kFactor);
  auto token = Refreshable<std::string>::Create(source, std::move(options));
  ASSERT_TRUE(token.ok()) << token.status();
  RefreshableClient client(token->get(), kReadTimeout);
  Scoreboard scoreboard;
  const Api api = [&](const std::string& bearer) {
    const Answer answer = server.Api(absl::StrCat("Bearer ", bearer));
    if (answer.status == 200) return ApiResult::kOk;
    return absl::StrContains(answer.body, kTokenRevoked) ? ApiResult::kRevoked
                                                         : ApiResult::kExpired;
  };

  const BootTime start = executor.clock().Now().boot;
  BootTime end = start;
  absl::Duration outage;
  absl::Duration revoking;
  int64_t failed_before = -1;
  for (const Act& act : Script()) {
    server.SetPhase(act.phase);
    source->hanging = act.phase == Phase::kHanging;
    if (InOutage(act.phase)) {
      if (failed_before < 0) failed_before = scoreboard.tally().failed;
      outage += act.length;
      if (act.phase == Phase::kRevoking) revoking += act.length;
    }
    if (act.phase == Phase::kRecovered) {
      scoreboard.SetRecovered(executor.clock().Now());
    }
    end += act.length;
    while (executor.clock().Now().boot < end) {
      MakeCall(client, api, executor.clock(), scoreboard);
      executor.AdvanceBy(kCallInterval / kThreads);
    }
  }

  const Tally tally = scoreboard.tally();
  const int64_t requests = server.outage_requests("me") + source->hung;
  const std::vector<std::string> broken = BrokenPromises(
      PromiseOf(ScaledPolicy(kFactor), outage, revoking), tally, requests);
  EXPECT_TRUE(broken.empty()) << absl::StrJoin(broken, "; ");
  EXPECT_EQ(failed_before, 0);
  EXPECT_GT(tally.failed, 0);
  EXPECT_GT(source->hung, 0);
  // In the phase kRevoking the API rejects every token. Rejected tokens stay in
  // service, so the client still sends requests with them.
  EXPECT_GE(tally.revoked, 1);
  EXPECT_EQ(tally.expired_in_transit, 0);
  EXPECT_TRUE((*token)->TryGet().ok());
}

}  // namespace
}  // namespace refreshable_examples
