// SPDX-License-Identifier: Apache-2.0
//
// Clause E4: the child of a fork() can read. With one thread in the parent, so
// that the child's allocator works under a sanitizer too; with more of them in
// fork_stress_test.cc.

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/fork_testing.h"
#include "refreshable/lifecycle_testing.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

using fork_testing::EndedWell;
using fork_testing::Fork;
using fork_testing::HoldsInChild;
using lifecycle_testing::Hour;

// The token's time to ask was put off until the end of a refresh that is the
// parent's alone. The child's reads asked nobody, refreshed nothing and had no
// timer until the token had expired.
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
    // And its timer ends a life that the wall clock lengthens.
    executor.StepWall(-absl::Hours(2));
    executor.AdvanceBy(absl::Minutes(10));
    return !token->Get(absl::ZeroDuration()).ok();
  }));
  held->Drop(0);
}

// What the child says of itself spoke of its parent's refresh and readers.
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

// The child's thread waited for ever for the parent's read to end: the answer
// that came there, if one came at all, was to the parent's question.
TEST(ForkTest, E4AReadWhoseOwnAttemptForksAsksAnewInTheChild) {
  for (const bool answers : {true, false}) {
    ManualExecutor executor;
    int calls = 0;
    pid_t child = -1;
    std::vector<FetchDone<std::string>> kept;
    auto token = lifecycle_testing::Make(
        &executor, lifecycle_testing::MakeSource(
                       [&](const FetchContext&, FetchDone<std::string> done) {
                         const std::string answer = absl::StrCat("t", ++calls);
                         if (calls == 1) child = Fork();
                         if (child == 0 && calls == 1 && !answers) {
                           kept.push_back(std::move(done));
                         } else {
                           done(Hour(answer));
                         }
                       }));
    const Instant began = executor.clock().Now();
    const auto lease = token->Get();
    if (child == 0) {
      const bool at_once =
          executor.clock().Now().since_boot == began.since_boot;
      _exit(lease.ok() && lease->token() == "t2" && at_once ? 0 : 1);
    }
    EXPECT_TRUE(EndedWell(child)) << "answers: " << answers;
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(lease->token(), "t1");
  }
}

// Nor did a read end in the child that an observer had made before the read
// began to wait. The fork is made at each of the read's events in turn.
TEST(ForkTest, E4AReadInWhoseObserverTheChildIsForkedEndsThere) {
  int events = 0;
  for (int fork_at = 1; fork_at <= 1 + events; ++fork_at) {
    ManualExecutor executor;
    events = 0;
    pid_t child = -1;
    lifecycle_testing::Strings::Options options;
    options.observer = lifecycle_testing::Observe([&](const Event&) {
      if (++events == fork_at) child = Fork();
    });
    auto token = lifecycle_testing::Make(
        &executor,
        lifecycle_testing::MakeSource(
            [&](const FetchContext&, FetchDone<std::string> done) {
              done(Hour("t"));
            }),
        options);
    const auto lease = token->Get();
    if (child == 0) _exit(lease.ok() && lease->token() == "t" ? 0 : 1);
    EXPECT_TRUE(lease.ok()) << lease.status();
    EXPECT_EQ(EndedWell(child), fork_at <= events) << "event " << fork_at;
  }
  EXPECT_GE(events, 2);
}

// The source's process was refused its first read: as if the call that it was
// forked in were its own, whose answer it would have to wait for.
TEST(ForkTest, E4AChildThatIsForkedInsideFetchMayReadThere) {
  ManualExecutor executor;
  int calls = 0;
  bool held = false;
  std::unique_ptr<lifecycle_testing::Strings> token;
  token = lifecycle_testing::Make(
      &executor, lifecycle_testing::MakeSource(
                     [&](const FetchContext&, FetchDone<std::string> done) {
                       if (++calls == 1) {
                         held = HoldsInChild([&] {
                           const auto lease = token->Get();
                           return lease.ok() && lease->token() == "t2";
                         });
                       }
                       done(Hour(absl::StrCat("t", calls)));
                     }));
  ASSERT_TRUE(token->Get().ok());
  EXPECT_TRUE(held);
}

// The observer was told of the child's events while it was still inside the one
// that the child was forked in. One with a lock of its own waited for itself.
TEST(ForkTest, S1TheObserverThatForksIsToldOneEventAtATimeInTheChild) {
  for (const bool forks : {false, true}) {
    ManualExecutor executor;
    int calls = 0;
    int depth = 0;
    int deepest = 0;
    bool armed = false;
    bool read = false;
    pid_t child = -1;
    std::vector<EventKind> told;
    std::unique_ptr<lifecycle_testing::Strings> token;
    lifecycle_testing::Strings::Options options;
    options.policy.young_token_age = absl::ZeroDuration();
    options.policy.min_interval = absl::ZeroDuration();
    options.observer = lifecycle_testing::Observe([&](const Event& event) {
      deepest = std::max(deepest, ++depth);
      told.push_back(event.kind);
      if (armed && event.kind == EventKind::kTokenInvalidated) {
        armed = false;
        if (forks) child = Fork();
        read = token->Get().ok();
      }
      --depth;
    });
    token = lifecycle_testing::Make(
        &executor,
        lifecycle_testing::MakeSource(
            [&](const FetchContext&, FetchDone<std::string> done) {
              done(Hour(absl::StrCat("t", ++calls)));
            }),
        options);
    const auto lease = token->Get();
    ASSERT_TRUE(lease.ok());
    armed = true;
    token->Invalidate(lease->generation());
    const bool good =
        read && deepest == 1 &&
        std::count(told.begin(), told.end(), EventKind::kTokenPublished) == 2;
    if (child == 0) _exit(good ? 0 : 1);
    EXPECT_TRUE(good);
    EXPECT_EQ(EndedWell(child), forks);
  }
}

// The source was called in the child for the attempt that the parent had been
// about to make.
TEST(ForkTest, E4AnAttemptThatForksAsItBeginsIsNotMadeInTheChild) {
  ManualExecutor executor;
  int calls = 0;
  pid_t child = -1;
  lifecycle_testing::Strings::Options options;
  options.observer = lifecycle_testing::Observe([&](const Event& event) {
    if (event.kind == EventKind::kAttemptStarted && child == -1) child = Fork();
  });
  const auto token = lifecycle_testing::Make(
      &executor,
      lifecycle_testing::MakeSource(
          [&](const FetchContext&, FetchDone<std::string> done) {
            done(Hour(absl::StrCat("t", ++calls)));
          }),
      options);
  const auto lease = token->Get();
  const bool good = lease.ok() && lease->token() == "t1" && calls == 1;
  if (child == 0) _exit(good ? 0 : 1);
  EXPECT_TRUE(good) << lease.status();
  EXPECT_TRUE(EndedWell(child));
}

// A source that goes on until it is cancelled went on for ever.
TEST(ForkTest, E4TheAttemptThatForksIsCancelledInTheChild) {
  ManualExecutor executor;
  pid_t child = -1;
  const auto token = lifecycle_testing::Make(
      &executor,
      lifecycle_testing::MakeSource(
          [&](const FetchContext& context, FetchDone<std::string> done) {
            child = Fork();
            if (child == 0) _exit(context.cancelled() ? 0 : 1);
            EXPECT_FALSE(context.cancelled());
            done(Hour("t"));
          }));
  EXPECT_TRUE(token->Get().ok());
  EXPECT_TRUE(EndedWell(child));
}

// The child's probe had to wait as if the parent's had been its own.
TEST(ForkTest, E4TheChildMayProbeThoughTheParentIsProbing) {
  ManualExecutor executor;
  int calls = 0;
  pid_t child = -1;
  lifecycle_testing::Strings::Options options;
  options.policy.retry.max_consecutive_failures = 1;
  options.policy.retry.max_retries = 0;
  const auto token = lifecycle_testing::Make(
      &executor,
      lifecycle_testing::MakeSource(
          [&](const FetchContext&, FetchDone<std::string> done) {
            const int call = ++calls;
            if (call == 1) return done(absl::UnavailableError("no"));
            if (call == 2) child = Fork();
            done(Hour(absl::StrCat("t", call)));
          }),
      options);
  ASSERT_FALSE(token->Get().ok());
  executor.AdvanceBy(absl::Hours(1));
  const auto lease = token->Get();
  if (child == 0) _exit(lease.ok() && lease->token() == "t3" ? 0 : 1);
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_TRUE(EndedWell(child));
}

}  // namespace
}  // namespace refreshable
