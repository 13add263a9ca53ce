// SPDX-License-Identifier: Apache-2.0

#include "notes/client.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "notes/session_source.h"
#include "notes/transport.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/testing/scripted_source.h"

namespace notes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A transport that records each request and returns the next prepared answer.
class FakeTransport : public Transport {
 public:
  absl::StatusOr<Response> Send(const std::string& method,
                                const std::string& path,
                                const std::string& authorization) override {
    requests.push_back(method + " " + path + " " + authorization);
    if (answers.empty()) return absl::UnavailableError("no answer prepared");
    Response answer = answers.front();
    answers.erase(answers.begin());
    return answer;
  }

  std::vector<Response> answers;
  std::vector<std::string> requests;
};

struct Fixture {
  std::shared_ptr<FakeTransport> transport = std::make_shared<FakeTransport>();
  refreshable::ManualExecutor executor;
  std::unique_ptr<Client> client =
      Client::Create(transport,
                     std::make_shared<SessionSource>(transport, "api-key"),
                     &executor)
          .value();
};

TEST(ClientTest, LogsInOnceAndReads) {
  Fixture f;
  f.transport->answers = {{200, "k1 eu 3600"}, {200, "milk"}, {200, "eggs"}};
  EXPECT_EQ(f.client->ReadNote("a").value(), "milk");
  EXPECT_EQ(f.client->ReadNote("b").value(), "eggs");
  EXPECT_THAT(f.transport->requests, ElementsAre("POST /login ApiKey api-key",
                                                 "GET /eu/notes/a Session k1",
                                                 "GET /eu/notes/b Session k1"));
}

TEST(ClientTest, LogsInAgainWhenTheSessionIsRejected) {
  Fixture f;
  f.transport->answers = {{200, "k1 eu 3600"}, {200, "milk"}};
  EXPECT_EQ(f.client->ReadNote("a").value(), "milk");
  f.executor.AdvanceBy(absl::Minutes(1));
  f.transport->answers = {{401, ""}, {200, "k2 us 3600"}, {200, "milk"}};
  EXPECT_EQ(f.client->ReadNote("a").value(), "milk");
  EXPECT_EQ(f.transport->requests.back(), "GET /us/notes/a Session k2");
}

// [test]
TEST(ClientTest, WaitsOutAnOutageOfTheLogin) {
  Fixture f;
  f.transport->answers = {
      {502, ""}, {502, ""}, {200, "k1 eu 3600"}, {200, "milk"}};
  const absl::Time start = f.executor.clock().Now().wall;
  EXPECT_EQ(f.client->ReadNote("a").value(), "milk");
  // The client waited twice, for 2 s and for 4 s, each up to 10 % longer or
  // shorter.
  const absl::Duration waited = f.executor.clock().Now().wall - start;
  EXPECT_GE(waited, absl::Seconds(5));
  EXPECT_LE(waited, absl::Seconds(7));
}
// [/test]

TEST(ClientTest, WaitsAsLongAsTheLoginAsks) {
  Fixture f;
  f.transport->answers = {
      {503, "", {{"Retry-After", "8"}}}, {200, "k1 eu 3600"}, {200, "milk"}};
  const absl::Time start = f.executor.clock().Now().wall;
  EXPECT_EQ(f.client->ReadNote("a").value(), "milk");
  EXPECT_GE(f.executor.clock().Now().wall - start, absl::Seconds(8));
}

TEST(ClientTest, DoesNotRetryARefusedApiKey) {
  Fixture f;
  f.transport->answers = {{403, ""}};
  const absl::Status status = f.client->ReadNote("a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(status.message(), HasSubstr("HTTP status 403"));
  EXPECT_EQ(f.transport->requests.size(), 1u);
}

// A ScriptedSource provides the sessions here.
TEST(ClientTest, ServesReadsWhileTheNextSessionIsOnItsWay) {
  auto transport = std::make_shared<FakeTransport>();
  refreshable::ManualExecutor executor;
  refreshable_testing::ScriptedSource<Session> source(&executor.clock());
  std::unique_ptr<Client> client =
      Client::Create(transport, source.Share(), &executor).value();
  transport->answers = {{200, "milk"}, {200, "milk"}, {200, "milk"}};
  source.Answer(Session{"k1", "eu"}, absl::Minutes(10));
  EXPECT_EQ(client->ReadNote("a").value(), "milk");
  executor.AdvanceBy(absl::Minutes(6));  // The session is stale.
  EXPECT_EQ(client->ReadNote("a").value(), "milk");
  executor.RunUntilIdle();  // The second fetch is in progress.
  source.Release(1, Session{"k2", "us"}, absl::Minutes(10));
  EXPECT_EQ(client->ReadNote("a").value(), "milk");
  EXPECT_THAT(transport->requests, ElementsAre("GET /eu/notes/a Session k1",
                                               "GET /eu/notes/a Session k1",
                                               "GET /us/notes/a Session k2"));
}

TEST(ClientTest, RefusesANullExecutor) {
  auto transport = std::make_shared<FakeTransport>();
  EXPECT_EQ(
      Client::Create(transport, std::make_shared<SessionSource>(transport, ""),
                     nullptr)
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace notes
