// SPDX-License-Identifier: Apache-2.0
//
// Tests the sources that docs/where_tokens_come_from.md shows.

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/freshness.h"
#include "refreshable/http_error.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/sources/chain_source.h"
#include "refreshable/sources/command_source.h"
#include "refreshable/sources/file_source.h"
#include "refreshable/sources/static_source.h"
#include "refreshable/token_source.h"

namespace refreshable_examples {
namespace {

// [names]
using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Secret;
using Source = std::shared_ptr<refreshable::TokenSource<Secret>>;
// [/names]

// [static]
absl::StatusOr<Source> KeyFromEnvironment() {
  const char* key = std::getenv("NOTES_API_KEY");
  if (key == nullptr) return absl::NotFoundError("NOTES_API_KEY is not set");
  return refreshable::StaticSource<Secret>::Create(Secret(key));
}
// [/static]

// [file]
absl::StatusOr<Source> TokenFile(const std::string& path) {
  refreshable::FileSource<Secret>::Options options;
  options.path = path;
  // Reads the file every five minutes. A token is used for up to ten minutes if
  // the file cannot be read any longer.
  options.reread_after = absl::Minutes(5);
  options.lifetime = absl::Minutes(10);
  return refreshable::FileSource<Secret>::Create(options);
}
// [/file]

// [command]
absl::StatusOr<Source> LoginProgram(const std::string& program) {
  refreshable::CommandSource<Secret>::Options options;
  options.command.argv = {program, "login", "--for=notes"};
  options.command.environment = {{"NO_COLOR", "1"}};
  // The program prints "TOKEN TIME", with a time such as 2030-01-01T00:00:00Z.
  options.parse =
      [](absl::string_view output) -> absl::StatusOr<Credential<Secret>> {
    const size_t space = output.find(' ');
    absl::Time expiry;
    if (space == absl::string_view::npos ||
        !absl::ParseTime(absl::RFC3339_full, output.substr(space + 1), &expiry,
                         nullptr)) {
      return absl::InternalError("not a token and a time");
    }
    return Credential<Secret>(Secret(output.substr(0, space)),
                              Expiry::At(expiry));
  };
  return refreshable::CommandSource<Secret>::Create(std::move(options));
}
// [/command]

// [chain]
absl::StatusOr<Source> FileOrProgram(Source file, Source program) {
  refreshable::ChainSource<Secret>::Options options;
  options.members = {{"file", std::move(file)},
                     {"program", std::move(program), absl::Seconds(10)}};
  return refreshable::ChainSource<Secret>::Create(std::move(options));
}
// [/chain]

struct HttpResponse {
  int status = 0;
  std::vector<refreshable::HttpHeader> headers;
  std::string body;
};
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  virtual absl::StatusOr<HttpResponse> Post(const std::string& path,
                                            const Secret& key,
                                            absl::Duration timeout) = 0;
};

// [own]
// Returns a source that asks a login endpoint, which answers 200 with a token
// that is valid for an hour.
Source LoginEndpoint(HttpClient& http, Secret key) {
  return refreshable::BlockingSource<Secret>(
      [&http, key = std::move(key)](const refreshable::FetchContext& context)
          -> absl::StatusOr<Credential<Secret>> {
        absl::StatusOr<HttpResponse> response =
            http.Post("/login", key, context.timeout());
        if (!response.ok()) return absl::UnavailableError("no connection");
        if (response->status != 200) {
          return refreshable::HttpErrorToStatus(response->status,
                                                response->headers, absl::Now());
        }
        return Credential<Secret>(Secret::TakeFrom(response->body),
                                  Expiry::In(absl::Hours(1)));
      });
}
// [/own]

using Token = refreshable::Refreshable<Secret>;

void Write(const std::string& path, absl::string_view content) {
  std::ofstream(path) << content;
}

TEST(SourcesTest, AKey) {
  unsetenv("NOTES_API_KEY");  // NOLINT(concurrency-mt-unsafe): one thread.
  EXPECT_FALSE(KeyFromEnvironment().ok());
  setenv("NOTES_API_KEY", "key", 1);  // NOLINT(concurrency-mt-unsafe)
  refreshable::ManualExecutor executor;
  const auto token = *Token::Create(*KeyFromEnvironment(), {&executor});
  EXPECT_EQ(token->Get()->token(), Secret("key"));
}

TEST(SourcesTest, AFileIsReadEveryFiveMinutes) {
  const std::string path = testing::TempDir() + "/notes-token";
  Write(path, "t1\n");
  refreshable::ManualExecutor executor;
  refreshable::RefreshPolicy policy;
  policy.jitter = 0;
  const auto token = *Token::Create(*TokenFile(path), {&executor, policy});
  EXPECT_EQ(token->Get()->token(), Secret("t1"));
  Write(path, "t2\n");
  executor.AdvanceBy(absl::Minutes(5) - absl::Seconds(1));
  EXPECT_EQ(token->health().freshness, refreshable::Freshness::kFresh);
  executor.AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(token->Get()->token(), Secret("t1"));  // Starts a refresh.
  executor.RunUntilIdle();
  EXPECT_EQ(token->Get()->token(), Secret("t2"));
}

TEST(SourcesTest, AProgramIfThereIsNoFile) {
  const std::string program = testing::TempDir() + "/notes-login";
  Write(program,
        "#!/bin/sh\n[ \"$1\" = login ] && echo t3 2999-01-01T00:00:00Z");
  ASSERT_EQ(std::system(("chmod +x " + program).c_str()), 0);  // NOLINT
  refreshable::ManualExecutor executor;
  const auto token = *Token::Create(
      *FileOrProgram(*TokenFile("/no/such/file"), *LoginProgram(program)),
      {&executor});
  EXPECT_EQ(token->Get()->token(), Secret("t3"));
}

class FakeHttp final : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Post(const std::string&, const Secret& key,
                                    absl::Duration) override {
    if (key != Secret("key")) return HttpResponse{401, {}, "bad key"};
    return response;
  }
  absl::StatusOr<HttpResponse> response = absl::UnavailableError("down");
};

TEST(SourcesTest, AnEndpoint) {
  refreshable::ManualExecutor executor;
  FakeHttp http;
  refreshable::RefreshPolicy policy;
  policy.retry.max_retries = 0;  // One attempt for each read.
  const auto token =
      *Token::Create(LoginEndpoint(http, Secret("key")), {&executor, policy});
  const absl::Duration wait = absl::Seconds(1);
  EXPECT_TRUE(absl::IsUnavailable(token->Get(wait).status()));
  executor.AdvanceBy(absl::Seconds(10));
  http.response = HttpResponse{429, {{"Retry-After", "20"}}, ""};
  EXPECT_TRUE(absl::IsResourceExhausted(token->Get(wait).status()));
  executor.AdvanceBy(absl::Seconds(30));
  http.response = HttpResponse{200, {}, "t4"};
  EXPECT_EQ(token->Get(wait)->token(), Secret("t4"));
}

}  // namespace
}  // namespace refreshable_examples
