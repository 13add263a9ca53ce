// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/keep_token.h"

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "docs/examples/outage/http_server.h"
#include "docs/examples/outage/oauth_server.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/secret.h"

namespace refreshable_examples {
namespace {

class KeepTokenTest : public testing::Test {
 protected:
  void SetUp() override {
    auto http = HttpServer::Start(&server_, /*threads=*/4);
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    options_.oauth = {*ParseUrl(http_->token_url()), "me",
                      refreshable::Secret("s3cret"), ""};
    options_.api_url = *ParseUrl(http_->api_url());
    auto csv = CsvFile::Open(testing::TempDir() + "/keep_token.csv");
    ASSERT_TRUE(csv.ok()) << csv.status();
    csv_ = *std::move(csv);
  }

  absl::Status Run() {
    return KeepToken(options_, *csv_, [] { return true; });
  }

  OAuthServer server_{
      {{"me", "s3cret"}}, absl::Hours(1), &refreshable::SystemClock::Get()};
  std::unique_ptr<HttpServer> http_;
  KeepTokenOptions options_;
  std::unique_ptr<CsvFile> csv_;
};

TEST_F(KeepTokenTest, GetsATokenAndStops) {
  EXPECT_TRUE(Run().ok());
  EXPECT_EQ(server_.token_requests("me"), 1);
}

TEST_F(KeepTokenTest, AWrongSecretIsOneClearLine) {
  options_.oauth.client_secret = refreshable::Secret("tr4deS3cret");
  const absl::Status status = Run();
  EXPECT_EQ(status.message(),
            absl::StrCat("no token from ", options_.oauth.token_url.origin,
                         ": HTTP status 401, error invalid_client (wrong "
                         "client id or secret?)"));
}

TEST_F(KeepTokenTest, AnUnreachableServerIsOneClearLine) {
  http_.reset();
  const absl::Status status = Run();
  EXPECT_EQ(status.message(),
            absl::StrCat("no token from ", options_.oauth.token_url.origin,
                         ": cannot connect"));
}

TEST_F(KeepTokenTest, AnUnreachableApiIsOneClearLine) {
  OAuthServer nothing({}, absl::Hours(1), &refreshable::SystemClock::Get());
  auto gone = HttpServer::Start(&nothing, /*threads=*/1);
  ASSERT_TRUE(gone.ok());
  options_.api_url = *ParseUrl((*gone)->api_url());
  gone->reset();
  EXPECT_EQ(Run().message(),
            absl::StrCat("cannot reach the API at ", options_.api_url->origin));
}

TEST(SecretFileTest, IsReadWithoutItsLineFeed) {
  const std::string path = testing::TempDir() + "/secret";
  std::ofstream(path) << " s3cret \r\n";
  EXPECT_EQ(ReadSecretFile(path)->reveal(), " s3cret ");
  std::ofstream(path, std::ios::trunc) << "\n";
  EXPECT_EQ(ReadSecretFile(path).status().message(),
            absl::StrCat("the secret's file ", path, " is empty"));
  EXPECT_EQ(ReadSecretFile("/no/such/file").status().message(),
            "cannot read the secret's file /no/such/file: No such file or "
            "directory");
  EXPECT_EQ(ReadSecretFile(testing::TempDir()).status().message(),
            absl::StrCat("cannot read the secret's file ", testing::TempDir(),
                         ": Is a directory"));
  std::ofstream(path, std::ios::trunc) << std::string(100'000, 'x');
  EXPECT_FALSE(ReadSecretFile(path).ok());
}

TEST(DescribeTest, EventsAreSentences) {
  refreshable::Event event;
  event.kind = refreshable::EventKind::kAttemptFailed;
  event.failures = 2;
  event.status = absl::UnavailableError("502");
  EXPECT_EQ(Describe(event), "got none, failure 2 in a row: 502");
  event.kind = refreshable::EventKind::kBackoff;
  event.delay = absl::Seconds(4);
  EXPECT_EQ(Describe(event), "asks again in 4s");
}

}  // namespace
}  // namespace refreshable_examples
