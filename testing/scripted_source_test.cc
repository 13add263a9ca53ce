// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/scripted_source.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/matchers.h"

namespace refreshable_testing {
namespace {

using ::refreshable::Credential;
using ::refreshable::Expiry;
using ::refreshable::FetchContext;
using ::refreshable::FetchDone;
using ::refreshable::Generation;
using ::refreshable::ManualExecutor;
using ::refreshable::Refreshable;
using ::refreshable::RefreshReason;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Source = ScriptedSource<std::string>;

// Appends the token, or the message of the error, to `answers`. `answers` must
// outlive the source, because the source's destructor answers held calls.
void Fetch(Source& source, std::vector<std::string>& answers) {
  const FetchContext context(RefreshReason::kFirst, 1, Generation(),
                             absl::Seconds(30),
                             std::make_shared<std::atomic<bool>>(false));
  source.Share()->Fetch(
      context, FetchDone<std::string>([&answers](Source::Result result) {
        answers.push_back(result.ok() ? result->token
                                      : std::string(result.status().message()));
      }));
}

TEST(ScriptedSourceTest, T2AnswersInTheOrderOfTheScriptThenAlways) {
  std::vector<std::string> answers;
  Source source;
  source.Answer("t1", absl::Hours(1));
  source.Answer(absl::UnavailableError("502"));
  source.Always("t9", absl::Hours(1));
  for (int i = 0; i < 4; ++i) Fetch(source, answers);
  EXPECT_THAT(answers, ElementsAre("t1", "502", "t9", "t9"));
}

TEST(ScriptedSourceTest, T2HeldCallsAreReleasedInAnyOrder) {
  std::vector<std::string> answers;
  Source source;
  for (int i = 0; i < 3; ++i) Fetch(source, answers);
  EXPECT_THAT(answers, IsEmpty());
  source.Release(2, "t2", absl::Hours(1));
  source.Release(0, absl::UnavailableError("502"));
  source.Drop(1);
  EXPECT_THAT(answers,
              ElementsAre("t2", "502",
                          "the token source dropped the attempt without an "
                          "answer"));
}

TEST(ScriptedSourceTest, T2HoldComesBeforeLaterAnswers) {
  std::vector<std::string> answers;
  Source source;
  source.Hold();
  source.Always("t1", absl::Hours(1));
  Fetch(source, answers);
  Fetch(source, answers);
  source.AlwaysHold();
  Fetch(source, answers);
  EXPECT_THAT(answers, ElementsAre("t1"));
  source.Release(0, "t0", absl::Hours(1));
  source.Release(2, "t2", absl::Hours(1));
  EXPECT_THAT(answers, ElementsAre("t1", "t0", "t2"));
}

TEST(ScriptedSourceTest, T2FunctionsSeeTheContext) {
  std::vector<std::string> answers;
  Source source;
  source.AnswerWith([](const FetchContext& context) -> Source::Result {
    return Credential<std::string>(absl::FormatDuration(context.timeout()),
                                   Expiry::Never());
  });
  source.AlwaysWith([](const FetchContext&) -> Source::Result {
    return absl::AbortedError("no more");
  });
  for (int i = 0; i < 3; ++i) Fetch(source, answers);
  EXPECT_THAT(answers, ElementsAre("30s", "no more", "no more"));
}

TEST(ScriptedSourceTest, T2CallsAreRecordedWithTheirStart) {
  std::vector<std::string> answers;
  ManualExecutor executor;
  executor.AdvanceBy(absl::Seconds(7));
  Source source(&executor.clock());
  EXPECT_EQ(source.call_count(), 0u);
  Fetch(source, answers);
  executor.AdvanceBy(absl::Seconds(3));
  Fetch(source, answers);
  EXPECT_THAT(source.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::Seconds(3)));
  ASSERT_EQ(source.call_count(), 2u);
  EXPECT_EQ(source.calls()[1].start, executor.clock().Now());
  EXPECT_EQ(source.calls()[1].context.attempt(), 1);
}

TEST(ScriptedSourceTest, T2ReleasingWhatIsNotHeldFailsTheTest) {
  std::vector<std::string> answers;
  Source source;
  source.Answer("t1", absl::Hours(1));
  Fetch(source, answers);
  EXPECT_NONFATAL_FAILURE(source.Drop(0), "call 0 is not held; 1 call");
  EXPECT_NONFATAL_FAILURE(source.Release(1, "t2", absl::Hours(1)),
                          "call 1 is not held; 1 call");
  EXPECT_THAT(answers, ElementsAre("t1"));
}

TEST(ScriptedSourceTest, T2EndOfTheScriptDropsWhatIsHeldAndWhatComesLater) {
  std::vector<std::string> answers;
  auto source = std::make_unique<Source>();
  source->Hold();
  source->Always("t1", absl::Hours(1));
  Fetch(*source, answers);
  const auto shared = source->Share();
  source.reset();
  EXPECT_EQ(answers.size(), 1u);
  shared->Fetch(
      FetchContext(RefreshReason::kFirst, 1, Generation(), absl::Seconds(30),
                   std::make_shared<std::atomic<bool>>(false)),
      FetchDone<std::string>([&](Source::Result result) {
        answers.push_back(std::string(result.status().message()));
      }));
  EXPECT_THAT(answers, ElementsAre(testing::HasSubstr("dropped the attempt"),
                                   testing::HasSubstr("dropped the attempt")));
}

TEST(ScriptedSourceTest, T2ServesManyThreads) {
  Source source;
  source.Always("t1", absl::Hours(1));
  constexpr int kThreads = 4;
  std::vector<std::vector<std::string>> answers(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 100; ++n) Fetch(source, answers[i]);
    });
  }
  source.AwaitCalls(400);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(source.call_count(), 400u);
  for (const auto& each : answers) EXPECT_EQ(each.size(), 100u);
}

TEST(ScriptedSourceTest, T2MoveOnlyTokens) {
  using Token = std::unique_ptr<int>;
  ManualExecutor executor;
  ScriptedSource<Token> source;
  auto token = Refreshable<Token>::Create(source.Share(), {&executor});
  ASSERT_TRUE(token.ok());
  source.Answer(std::make_unique<int>(7), absl::Hours(1));
  const auto lease = (*token)->Get();
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(*lease->token(), 7);
}

#ifdef ABSL_HAVE_EXCEPTIONS
TEST(ScriptedSourceTest, T2FunctionsMayThrow) {
  ManualExecutor executor;
  Source source;
  auto token = Refreshable<std::string>::Create(source.Share(), {&executor});
  ASSERT_TRUE(token.ok());
  source.AnswerWith([](const FetchContext&) -> Source::Result { throw 1; });
  EXPECT_THAT((*token)->Get(), CausedBy(StartsWith("the token source threw")));
}
#endif

TEST(ScriptedSourceTest, T2AnswersWithAnExpiry) {
  ManualExecutor executor;
  Source source(&executor.clock());
  auto token = *Refreshable<std::string>::Create(source.Share(), {&executor});
  const absl::Time expiry = executor.clock().Now().wall + absl::Minutes(10);
  source.Answer("t1", Expiry::At(expiry));
  EXPECT_THAT(token->Get(), AllOf(HoldsToken("t1"), ExpiresAt(expiry)));
  source.Always("t2", Expiry::Never());
  executor.AdvanceBy(absl::Minutes(10));
  EXPECT_THAT(token->Get(),
              AllOf(HoldsToken("t2"), ExpiresAt(absl::InfiniteFuture())));
}

TEST(ScriptedSourceTest, T2AnswersComeAfterTheirTime) {
  std::vector<std::string> answers;
  ManualExecutor executor;
  Source source(&executor);
  source.AnswerAfter(absl::Seconds(3), "t1", absl::Hours(1));
  source.AnswerAfter(absl::Seconds(1), absl::UnavailableError("502"));
  source.AlwaysAfter(absl::ZeroDuration(), "t9", Expiry::Never());
  Fetch(source, answers);
  Fetch(source, answers);
  executor.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(answers, ElementsAre("502"));
  executor.AdvanceBy(absl::Seconds(2) - absl::Nanoseconds(1));
  EXPECT_THAT(answers, ElementsAre("502"));
  executor.AdvanceBy(absl::Nanoseconds(1));
  EXPECT_THAT(answers, ElementsAre("502", "t1"));
  Fetch(source, answers);
  EXPECT_EQ(answers.size(), 2u);
  executor.RunUntilIdle();
  EXPECT_THAT(answers, ElementsAre("502", "t1", "t9"));
  EXPECT_THAT(source.start_times(),
              ElementsAre(absl::ZeroDuration(), absl::ZeroDuration(),
                          absl::Seconds(3)));
}

TEST(ScriptedSourceTest, T2AReadTakesAsLongAsTheAnswer) {
  ManualExecutor executor;
  Source source(&executor);
  auto token = *Refreshable<std::string>::Create(source.Share(), {&executor});
  source.AnswerAfter(absl::Seconds(3), "t1", absl::Hours(1));
  EXPECT_THAT(token->Get(absl::Seconds(2)),
              FailsWith(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(token->Get(absl::Seconds(1)), HoldsToken("t1"));
}

TEST(ScriptedSourceTest, T2ACallThatIsToBeAnsweredLaterIsHeldUntilThen) {
  std::vector<std::string> answers;
  ManualExecutor executor;
  Source source(&executor);
  source.AlwaysAfter(absl::Seconds(3), "late", absl::Hours(1));
  Fetch(source, answers);
  Fetch(source, answers);
  source.Release(0, "t1", absl::Hours(1));
  source.Drop(1);
  executor.AdvanceBy(absl::Seconds(3));
  EXPECT_THAT(answers, ElementsAre("t1", StartsWith("the token source drop")));
  EXPECT_NONFATAL_FAILURE(source.Drop(0), "call 0 is not held");
}

TEST(ScriptedSourceTest, T2AnAnswerWhoseTimerIsRefusedIsDropped) {
  std::vector<std::string> answers;
  ManualExecutor executor;
  Source source(&executor);
  source.AlwaysAfter(absl::Seconds(3), "late", absl::Hours(1));
  executor.set_refuse_timers(true);
  Fetch(source, answers);
  EXPECT_THAT(answers, ElementsAre(StartsWith("the token source drop")));
}

TEST(ScriptedSourceTest, T2AnswersAfterATimeNeedAnExecutor) {
  Source source;
  EXPECT_NONFATAL_FAILURE(
      source.AnswerAfter(absl::Seconds(3), "t1", absl::Hours(1)),
      "takes an executor");
  EXPECT_NONFATAL_FAILURE(
      source.AlwaysAfter(absl::Seconds(3), absl::UnavailableError("502")),
      "takes an executor");
}

// This is the example of scripted_source.h.
TEST(ScriptedSourceTest, T2AStaleReadInTenLines) {
  ManualExecutor executor;
  ScriptedSource<std::string> source(&executor.clock());
  auto token = *Refreshable<std::string>::Create(source.Share(), {&executor});
  source.Answer("t1", absl::Minutes(10));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor.AdvanceBy(absl::Minutes(6));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));  // Stale: a call is queued.
  executor.RunUntilIdle();                      // The call is held as no. 1.
  source.Release(1, "t2", absl::Minutes(10));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

}  // namespace
}  // namespace refreshable_testing
