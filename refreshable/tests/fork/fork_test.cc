// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E4: the child of a fork() can read. The parent has only one
// thread, because with more threads the child's allocator might fail under
// AddressSanitizer.

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/fork/fork_test_util.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using fork_testing::EndedWell;
using fork_testing::Fork;
using fork_testing::HoldsInChild;
using lifecycle_testing::Hour;
using lifecycle_testing::MakeSource;
using lifecycle_testing::Strings;
using refreshable_testing::Observe;

// Regression test: in the past, the child's reads behaved as if the parent's
// refresh also ran in the child.
TEST(ForkTest, E4ChildRefreshesTheStaleTokenThatItsParentIsRefreshing) {
  ManualExecutor executor;
  auto held = std::make_shared<lifecycle_testing::HeldSource>();
  auto token = lifecycle_testing::Make(&executor, held);
  ASSERT_TRUE(token->Install({"t1", Expiry::In(absl::Hours(1))}).ok());
  executor.AdvanceBy(absl::Minutes(50));
  ASSERT_TRUE(token->Get(absl::ZeroDuration()).ok());
  executor.RunUntilIdle();
  ASSERT_EQ(held->calls(), 1u);
  EXPECT_TRUE(HoldsInChild([&] {
    if (!token->Get(absl::ZeroDuration()).ok()) return false;
    executor.RunUntilIdle();
    if (held->calls() != 2) return false;
    // The child's timer withdraws the token although the wall clock is set
    // back.
    executor.StepWall(-absl::Hours(2));
    executor.AdvanceBy(absl::Minutes(10));
    return !token->Get(absl::ZeroDuration()).ok();
  }));
  held->Drop(0);
}

// Regression test: in the past, the child took the parent's timer for its own.
TEST(ForkTest, E4TheChildHasATimerOfItsOwn) {
  ManualExecutor executor;
  RefreshPolicy policy;
  policy.background_refresh = false;
  Strings::Options options;
  options.policy = policy;
  const auto token = lifecycle_testing::Make(
      &executor, std::make_shared<lifecycle_testing::HeldSource>(), options);
  ASSERT_TRUE(token->Install(Hour("t")).ok());
  EXPECT_TRUE(HoldsInChild([&] {
    if (!token->Get(absl::ZeroDuration()).ok()) return false;
    executor.StepWall(-absl::Hours(2));
    executor.AdvanceBy(absl::Hours(1));
    return !token->Get(absl::ZeroDuration()).ok();
  }));
}

// Regression test: in the past, health() in the child reported the parent's
// refresh and readers.
TEST(ForkTest, E4ChildSaysNothingOfTheParentsRefresh) {
  ManualExecutor executor;
  auto held = std::make_shared<lifecycle_testing::HeldSource>();
  auto token = lifecycle_testing::Make(&executor, held);
  const WaiterId id = token->GetAsync(
      absl::InfiniteDuration(), [](absl::StatusOr<Lease<std::string>>) {});
  executor.RunUntilIdle();
  ASSERT_TRUE(token->health().refreshing);
  EXPECT_TRUE(HoldsInChild([&] {
    const Health health = token->health();
    return !health.refreshing && health.waiters == 0;
  }));
  EXPECT_TRUE(HoldsInChild([&] {
    return !absl::StrContains(token->TryGet().status().message(),
                              ", being refreshed");
  }));
  EXPECT_TRUE(HoldsInChild([&] { return !token->Cancel(id); }));
  held->Drop(0);
}

TEST(ForkTest, E4EarlierFailuresStillCountInTheChild) {
  ManualExecutor executor;
  int calls = 0;
  const auto token = lifecycle_testing::Make(
      &executor, MakeSource([&](const FetchContext&, auto done) {
        if (++calls == 1) return done(absl::UnavailableError("down"));
        done(Hour("t"));
      }));
  Strings::ReadOptions once;
  once.max_retries = 0;
  ASSERT_FALSE(token->Get(once).ok());
  EXPECT_TRUE(HoldsInChild([&] {
    const Health health = token->health();
    if (health.failures != 1 || token->Get().ok() || calls != 1) return false;
    executor.AdvanceBy(absl::Seconds(2));
    return token->Get().ok() && calls == 2;
  }));
}

// Returns the result of `count` in the child of a fork(), or -1 after an error.
template <typename Function>
int64_t CountedInChild(Function count) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const bool held = HoldsInChild([&] {
    const int64_t counted = count();
    return write(ends[1], &counted, sizeof counted) == sizeof counted;
  });
  int64_t counted = -1;
  if (held) {
    EXPECT_EQ(read(ends[0], &counted, sizeof counted),
              static_cast<ssize_t>(sizeof counted));
  }
  close(ends[0]);
  close(ends[1]);
  return counted;
}

// Regression test: in the past, all children drew the same jitter, and so
// refreshed at the same time.
TEST(ForkTest, F8ChildrenDrawTheirJitterAnewUnlessTheyAreSeeded) {
  for (const bool seeded : {false, true}) {
    ManualExecutor executor;
    Strings::Options options;
    options.executor = &executor;
    if (seeded) options.jitter_seed = 1;
    const auto create = [&] {
      return *Strings::Create(MakeSource([](const FetchContext&, auto done) {
                                done(absl::UnavailableError("down"));
                              }),
                              options);
    };
    const auto wait = [&](Strings& token) {
      Strings::ReadOptions once;
      once.max_retries = 0;
      EXPECT_FALSE(token.Get(once).ok());
      return absl::ToUnixNanos(token.health().next_attempt);
    };
    const auto made_before = create();
    const auto before = [&] { return wait(*made_before); };
    EXPECT_EQ(CountedInChild(before) == CountedInChild(before), seeded);
    const auto in_child = [&] { return wait(*create()); };
    EXPECT_EQ(CountedInChild(in_child) == CountedInChild(in_child), seeded);
  }
}

// The child draws new jitter (F8), so its errors must not name the time of the
// parent's next attempt.
TEST(ForkTest, E4TheErrorsOfTheChildNameItsOwnNextAttempt) {
  ManualExecutor executor;
  Strings::Options options;
  options.executor = &executor;
  options.policy.retry.max_retries = 0;
  const auto token =
      *Strings::Create(MakeSource([](const FetchContext&, auto done) {
                         done(absl::UnavailableError("down"));
                       }),
                       options);
  for (int i = 0; i < 3; ++i) ASSERT_FALSE(token->Get().ok());
  EXPECT_TRUE(HoldsInChild([&] {
    const auto error = GetRefreshError(token->Get().status());
    return error.has_value() &&
           error->next_attempt == token->health().next_attempt;
  }));
}

// After too many failures, a refresh is a single attempt, called a probe (B7).
// Regression test: in the past, the parent's running probe delayed the child's
// probe.
TEST(ForkTest, E4TheChildMayProbeThoughTheParentIsProbing) {
  ManualExecutor executor;
  const auto held = std::make_shared<lifecycle_testing::HeldSource>();
  Strings::Options options;
  options.policy.retry.max_consecutive_failures = 1;
  options.policy.retry.max_retries = 0;
  const auto token = lifecycle_testing::Make(&executor, held, options);
  const auto read = [&] {
    token->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
    executor.RunUntilIdle();
  };
  read();
  held->Answer(0, absl::UnavailableError("down"));
  executor.AdvanceBy(absl::Hours(1));
  read();
  ASSERT_EQ(held->calls(), 2u);
  EXPECT_TRUE(HoldsInChild([&] {
    read();
    return held->calls() == 3;
  }));
  held->Drop(1);
}

// Regression test: in the past, the fork() handlers could wait forever for a
// lock that was held around user code.
TEST(ForkTest, E4AChildThatIsForkedInTheUsersCodeMayGoOnToAnotherProgram) {
  std::vector<pid_t> children;
  const auto fork_and_exec = [&] {
    const pid_t child = Fork();
    if (child == 0) {
      execl("/bin/sh", "sh", "-c", "exit 0", nullptr);
      _exit(1);
    }
    children.push_back(child);
  };
  ManualExecutor executor;
  Strings::Options options;
  options.observer = Observe([&](const Event& event) {
    if (event.kind == EventKind::kTokenPublished) fork_and_exec();
  });
  options.on_token_changed = [&](const auto&) { fork_and_exec(); };
  const auto token = lifecycle_testing::Make(
      &executor, MakeSource([&](const FetchContext&, auto done) {
        fork_and_exec();
        done(Hour("t"));
      }),
      options);
  token->GetAsync(absl::InfiniteDuration(),
                  [&](const auto&) { fork_and_exec(); });
  executor.RunUntilIdle();
  EXPECT_EQ(children.size(), 4u);
  for (const pid_t child : children) EXPECT_TRUE(EndedWell(child));
  EXPECT_TRUE(token->Get().ok());
}

}  // namespace
}  // namespace refreshable
