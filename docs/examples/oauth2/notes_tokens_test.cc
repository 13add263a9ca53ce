// SPDX-License-Identifier: Apache-2.0

#include "notes_tokens.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"

namespace {

using refreshable::Secret;

TEST(NotesTokensTest, BadInputIsNamedWithoutTheSecret) {
  refreshable::ThreadExecutor executor;
  for (const char* const url :
       {"", "example.com/token", "http://example.com/token",
        "https://user@example.com/token"}) {
    const auto tokens = NotesTokens(url, "id", Secret("s3cr3t"), executor);
    EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(tokens.status().message(), "URL"))
        << tokens.status();
    EXPECT_FALSE(absl::StrContains(tokens.status().message(), "s3cr3t"));
  }
  EXPECT_FALSE(
      NotesTokens("https://example.com/", "", Secret("s"), executor).ok());
  EXPECT_FALSE(NotesTokens("https://example.com/", "id", Secret("s"), executor,
                           {"/no/such/file"})
                   .ok());
}

TEST(NotesTokensTest, NobodyListens) {
  refreshable::ThreadExecutor executor;
  auto tokens = NotesTokens("https://localhost:1/token", "id", Secret("s3cr3t"),
                            executor);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  refreshable::Refreshable<Secret>::ReadOptions options;
  options.max_retries = 0;
  options.timeout = absl::Minutes(1);
  EXPECT_EQ((*tokens)->Get(options).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
