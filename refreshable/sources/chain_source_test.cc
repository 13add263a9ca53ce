// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/chain_source.h"

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/http_error.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/sources/sources_test_util.h"
#include "refreshable/sources/static_source.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/matchers.h"
#include "refreshable/testing/scripted_source.h"
#include "refreshable/testing/token_source_conformance.h"

namespace refreshable {
namespace {

using ::refreshable_testing::AwaitOrGiveUp;
using ::refreshable_testing::ExactPolicy;
using ::refreshable_testing::HoldsToken;
using ::refreshable_testing::ScriptedSource;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Chain = ChainSource<std::string>;
using Source = std::shared_ptr<TokenSource<std::string>>;
using Result = absl::StatusOr<Credential<std::string>>;

Result Token(absl::string_view token) {
  return Credential<std::string>(std::string(token),
                                 Expiry::In(absl::Hours(1)));
}

TEST(ChainSourceTest, RefusesBadOptions) {
  const Source good = *StaticSource<std::string>::Create("key");
  const auto refusal = [](std::vector<Chain::Member> members) {
    return std::string(Chain::Create({std::move(members)}).status().message());
  };
  EXPECT_EQ(refusal({{"a", good}, {"b", good}}), "");
  EXPECT_EQ(refusal({}), "ChainSource: there is no member");
  EXPECT_EQ(refusal({{"a", good}, {"", good}}),
            "ChainSource: member 1 has no name");
  EXPECT_EQ(refusal({{"a", nullptr}}), "ChainSource: the source of a is null");
  EXPECT_EQ(refusal({{"a", good, absl::ZeroDuration()}}),
            "ChainSource: the timeout of a must be positive, but is 0");
  EXPECT_EQ(refusal({{"a", good}, {"b", good}, {"a", good}}),
            "ChainSource: two members are named a");
}

class ScriptedChainTest : public testing::Test {
 protected:
  // Returns a pointer to the answer, which may come later.
  std::shared_ptr<Result> Call(const AskOptions& options = {}) {
    auto answer = std::make_shared<Result>(absl::InternalError("none yet"));
    chain_->Fetch(options.context(),
                  FetchDone<std::string>(
                      [answer](Result&& r) { *answer = std::move(r); }));
    return answer;
  }
  std::vector<size_t> Calls() const {
    return {a_.call_count(), b_.call_count(), c_.call_count()};
  }

  ManualExecutor executor_;
  ScriptedSource<std::string> a_{&executor_};
  ScriptedSource<std::string> b_{&executor_};
  ScriptedSource<std::string> c_{&executor_};
  Source chain_ = *Chain::Create({{{"a", a_.Share()},
                                   {"b", b_.Share(), absl::Seconds(7)},
                                   {"c", c_.Share()}},
                                  &executor_.clock()});
};

TEST_F(ScriptedChainTest, TheFirstWithATokenIsRememberedUntilItFails) {
  a_.Always(absl::NotFoundError("no variable"));
  b_.Answer(Token("b1"));
  EXPECT_EQ((*Call())->token, "b1");
  EXPECT_THAT(Calls(), ElementsAre(1, 1, 0));
  b_.Answer(Token("b2"));
  EXPECT_EQ((*Call())->token, "b2");
  EXPECT_THAT(Calls(), ElementsAre(1, 2, 0));
  // The remembered member, b, fails, so the others are asked from the start of
  // the chain.
  b_.Answer(absl::UnavailableError("gone"));
  c_.Answer(Token("c1"));
  EXPECT_EQ((*Call())->token, "c1");
  EXPECT_THAT(Calls(), ElementsAre(2, 3, 1));
  c_.Answer(absl::UnavailableError("gone too"));
  b_.Answer(absl::UnavailableError("still gone"));
  EXPECT_EQ(Call()->status().message(),
            "no member of the chain has a token; c: UNAVAILABLE: gone too; "
            "a: NOT_FOUND: no variable; b: UNAVAILABLE: still gone");
  EXPECT_THAT(Calls(), ElementsAre(3, 4, 2));
  // No member is remembered now.
  b_.Answer(Token("b3"));
  EXPECT_EQ((*Call())->token, "b3");
  EXPECT_THAT(Calls(), ElementsAre(4, 5, 2));
}

TEST_F(ScriptedChainTest, TheMostHopefulFailureGivesTheCode) {
  const auto code = [&](const absl::Status& a, const absl::Status& b,
                        const absl::Status& c) {
    a_.Answer(a);
    b_.Answer(b);
    c_.Answer(c);
    return Call()->status();
  };
  const absl::Status permanent = absl::NotFoundError("p");
  const absl::Status throttled = absl::ResourceExhaustedError("t");
  const absl::Status http500 = HttpErrorToStatus(500, {}, absl::UnixEpoch());
  EXPECT_TRUE(absl::IsUnavailable(
      code(permanent, throttled, absl::UnavailableError("u"))));
  EXPECT_TRUE(absl::IsAborted(
      code(absl::AbortedError("a"), throttled, absl::UnavailableError("u"))));
  EXPECT_TRUE(absl::IsResourceExhausted(code(permanent, http500, throttled)));
  EXPECT_EQ(GetHttpStatus(code(permanent, http500, permanent)), 500);
  EXPECT_TRUE(absl::IsNotFound(
      code(permanent, absl::UnauthenticatedError("u"), permanent)));
}

TEST_F(ScriptedChainTest, TheLongestRetryAfterIsPassedOn) {
  absl::Status busy = absl::ResourceExhaustedError("busy");
  SetRetryAfter(absl::Seconds(30), busy);
  absl::Status down = absl::UnavailableError("down");
  a_.Always(busy);
  b_.Always(down);
  c_.Always(absl::NotFoundError("p"));
  EXPECT_EQ(GetRetryAfter(Call()->status()), absl::Seconds(30));
  SetRetryAfter(absl::Seconds(50), down);
  b_.Always(down);
  EXPECT_EQ(GetRetryAfter(Call()->status()), absl::Seconds(50));
  a_.Always(absl::NotFoundError("p"));
  b_.Always(absl::UnavailableError("down"));
  EXPECT_EQ(GetRetryAfter(Call()->status()), std::nullopt);
}

TEST_F(ScriptedChainTest, MembersAreToldWhatTheChainWasTold) {
  AskOptions options;
  options.rejected = Generation(7);
  options.timeout = absl::Seconds(30);
  const auto answer = Call(options);
  executor_.AdvanceBy(absl::Seconds(10));
  a_.Release(0, absl::UnavailableError("a"));
  executor_.AdvanceBy(absl::Seconds(5));
  b_.Release(0, absl::UnavailableError("b"));
  const FetchContext a = a_.calls()[0].context;
  const FetchContext b = b_.calls()[0].context;
  const FetchContext c = c_.calls()[0].context;
  EXPECT_EQ(a.timeout(), absl::Seconds(30));
  EXPECT_EQ(b.timeout(), absl::Seconds(7));  // The `Member::timeout` of b.
  EXPECT_EQ(c.timeout(), absl::Seconds(15));
  EXPECT_EQ(c.rejected(), Generation(7));
  EXPECT_FALSE(c.cancelled());
  *options.cancelled = true;
  EXPECT_TRUE(c.cancelled());
  c_.Release(0, Token("late"));
  EXPECT_EQ((*answer)->token, "late");
}

TEST_F(ScriptedChainTest, NoMemberIsAskedWithoutTime) {
  AskOptions options;
  options.timeout = absl::Seconds(30);
  const auto answer = Call(options);
  executor_.AdvanceBy(absl::Seconds(30));
  a_.Release(0, absl::NotFoundError("slow"));
  EXPECT_THAT(Calls(), ElementsAre(1, 0, 0));
  EXPECT_EQ(answer->status(),
            absl::DeadlineExceededError(
                "no member of the chain has a token; a: NOT_FOUND: slow; "
                "b: DEADLINE_EXCEEDED: not asked, as no time was left; "
                "c: DEADLINE_EXCEEDED: not asked, as no time was left"));
}

TEST_F(ScriptedChainTest, ACancelledCallAsksNoOtherMemberAndForgetsNone) {
  a_.Answer(absl::NotFoundError("no"));
  b_.Answer(Token("b1"));
  EXPECT_EQ((*Call())->token, "b1");
  AskOptions options;
  const auto answer = Call(options);
  *options.cancelled = true;
  b_.Release(1, absl::CancelledError("as asked"));
  EXPECT_TRUE(absl::IsCancelled(answer->status()));
  EXPECT_THAT(Calls(), ElementsAre(1, 2, 0));
  b_.Answer(Token("b2"));
  EXPECT_EQ((*Call())->token, "b2");
  EXPECT_THAT(Calls(), ElementsAre(1, 3, 0));
}

TEST_F(ScriptedChainTest, AnExpiredTokenIsAFailure) {
  const absl::Time now = executor_.clock().Now().wall;
  a_.Answer(Credential<std::string>("old", Expiry::At(now)));
  b_.Answer(Credential<std::string>("old", Expiry::In(absl::ZeroDuration())));
  c_.Answer(
      Credential<std::string>("c1", Expiry::At(now + absl::Nanoseconds(1))));
  EXPECT_EQ((*Call())->token, "c1");
}

TEST_F(ScriptedChainTest, AMemberThatThrowsOrDropsHasFailed) {
  b_.Answer(Token("b1"));
  const auto answer = Call();
  a_.Drop(0);
  EXPECT_EQ((*answer)->token, "b1");
#ifdef ABSL_HAVE_EXCEPTIONS
  b_.AnswerWith([](const FetchContext&) -> Result {
    throw std::runtime_error("planted-1c");
  });
  a_.Answer(absl::NotFoundError("no"));
  c_.Answer(absl::NotFoundError("no"));
  EXPECT_THAT(Call()->status().message(),
              HasSubstr("b: UNKNOWN: the token source threw"));
#endif
}

TEST_F(ScriptedChainTest, CallsDoNotDisturbEachOther) {
  const auto abandoned = Call();  // Member a does not answer yet.
  a_.Answer(absl::NotFoundError("no"));
  b_.Answer(Token("b1"));
  EXPECT_EQ((*Call())->token, "b1");
  // The chain remembers b, which has answered the second call. In the call
  // `abandoned`, all members fail, b too. So the chain forgets b.
  b_.Answer(absl::UnavailableError("b"));
  c_.Answer(absl::UnavailableError("c"));
  a_.Release(0, absl::UnavailableError("a"));
  EXPECT_FALSE(abandoned->ok());
  a_.Answer(Token("a1"));
  EXPECT_EQ((*Call())->token, "a1");
}

TEST(ChainSourceTest, AnUntriedKeyIsGivenAfterAnotherMembersWasRejected) {
  ManualExecutor executor;
  ScriptedSource<std::string> first(&executor);
  auto token = *Refreshable<std::string>::Create(
      *Chain::Create({{{"first", first.Share()},
                       {"key", *StaticSource<std::string>::Create("key")}}}),
      {&executor, ExactPolicy()});
  first.Answer("t1", absl::Hours(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor.AdvanceBy(absl::Seconds(1));
  first.Answer(absl::NotFoundError("gone"));
  Refreshable<std::string>::ReadOptions options;
  options.rejected = Generation(1);
  EXPECT_THAT(token->Get(options), HoldsToken("key"));
}

// 50,000 members would overflow the stack if the chain asked each next member
// by a nested call.
TEST(ChainSourceTest, ManyMembersFailInOneCall) {
  std::vector<Chain::Member> members;
  const Source failing = BlockingSource<std::string>(
      []() -> Result { return absl::NotFoundError(""); });
  for (int i = 0; i < 50000; ++i) {
    members.push_back({absl::StrCat(i), failing});
  }
  members.push_back({"last", *StaticSource<std::string>::Create("key")});
  EXPECT_EQ(Ask(**Chain::Create({std::move(members)}))->token, "key");
}

// A source that answers each call on a new thread, once `go` is notified. The
// destructor joins the threads and then notifies `destroyed`. `go` and
// `destroyed` may be null.
class ThreadedSource final : public TokenSource<std::string> {
 public:
  explicit ThreadedSource(Result result, absl::Notification* go = nullptr,
                          absl::Notification* destroyed = nullptr)
      : result_(std::move(result)), go_(go), destroyed_(destroyed) {}
  ~ThreadedSource() override {
    for (std::thread& thread : threads_) thread.join();
    if (destroyed_ != nullptr) destroyed_->Notify();
  }

  void Fetch(const FetchContext&, FetchDone<std::string> done) override {
    absl::MutexLock lock(&mutex_);
    threads_.emplace_back(
        [result = result_, go = go_, done = std::move(done)]() mutable {
          if (go != nullptr)
            AwaitOrGiveUp(*go, "the test to let the source answer");
          done(std::move(result));
        });
  }

 private:
  const Result result_;
  absl::Notification* const go_;
  absl::Notification* const destroyed_;
  absl::Mutex mutex_;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

TEST(ChainSourceTest, MembersAnswerOnThreadsOfTheirOwn) {
  std::vector<Chain::Member> members;
  for (int i = 0; i < 20; ++i) {
    members.push_back(
        {absl::StrCat("late", i),
         std::make_shared<ThreadedSource>(absl::NotFoundError("no"))});
    members.push_back(
        {absl::StrCat("now", i), BlockingSource<std::string>([]() -> Result {
           return absl::NotFoundError("no");
         })});
  }
  members.push_back({"last", std::make_shared<ThreadedSource>(Token("t"))});
  const Source chain = *Chain::Create({std::move(members)});
  for (int i = 0; i < 20; ++i) {
    absl::Notification answered;
    Result answer = absl::InternalError("none yet");
    chain->Fetch(AskOptions().context(),
                 FetchDone<std::string>([&](Result&& r) {
                   answer = std::move(r);
                   answered.Notify();
                 }));
    AwaitOrGiveUp(answered, "the chain to answer");
    EXPECT_EQ(answer->token, "t");
  }
}

// The chain is destroyed while the first member's thread asks the second
// member. The first member's destructor joins that thread, so the destructor
// must run on another thread.
TEST(ChainSourceTest, AMemberIsNotDestroyedOnTheThreadThatAnswers) {
  absl::Notification go;
  absl::Notification destroyed;
  absl::Notification entered;
  absl::Notification leave;
  Source chain = *Chain::Create(
      {{{"late", std::make_shared<ThreadedSource>(absl::NotFoundError("no"),
                                                  &go, &destroyed)},
        {"slow", BlockingSource<std::string>([&]() -> Result {
           entered.Notify();
           AwaitOrGiveUp(leave, "the test to destroy the chain");
           return absl::NotFoundError("no");
         })}}});
  chain->Fetch(AskOptions().context(),
               FetchDone<std::string>([](const Result&) {}));
  go.Notify();
  AwaitOrGiveUp(entered, "the second member to be asked");
  chain = nullptr;
  leave.Notify();
  AwaitOrGiveUp(destroyed, "the first member to be destroyed");
}

// A call that waits for a member does not keep the chain alive.
TEST(ChainSourceTest, MayBeDestroyedBeforeAMemberAnswers) {
  ScriptedSource<std::string> first;
  ScriptedSource<std::string> second;
  Source chain =
      *Chain::Create({{{"1", first.Share()}, {"2", second.Share()}}});
  bool answered = false;
  chain->Fetch(AskOptions().context(), FetchDone<std::string>([&](Result&& r) {
                 answered = true;
                 EXPECT_FALSE(r.ok());
               }));
  chain = nullptr;
  first.Release(0, absl::NotFoundError("no"));
  EXPECT_TRUE(answered);
  EXPECT_EQ(second.call_count(), 0);
}

// A chain whose first member always fails. The second member answers on a new
// thread if `later` is true, otherwise inside `Fetch`.
class ChainRig final : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  explicit ChainRig(bool later) : later_(later) {}
  ~ChainRig() override { Heal(); }

  Source Make() override {
    const Source empty = BlockingSource<std::string>(
        []() -> Result { return absl::NotFoundError("no file"); });
    Source answering = BlockingSource<std::string>([this] { return Answer(); });
    if (later_) answering = std::make_shared<Later>(answering);
    return *Chain::Create({{{"empty", empty}, {"answering", answering}}});
  }
  bool Fail() override {
    absl::MutexLock lock(&mutex_);
    return failing_ = true;
  }
  bool Stall() override {
    absl::MutexLock lock(&mutex_);
    return stalling_ = true;
  }
  void AwaitStalled(int calls) override {
    absl::MutexLock lock(&mutex_);
    while (stalled_ < calls) changed_.Wait(&mutex_);
  }
  void Heal() override {
    absl::MutexLock lock(&mutex_);
    failing_ = stalling_ = false;
    changed_.SignalAll();
  }
  std::optional<absl::Duration> Lifetime() override { return absl::Hours(1); }

 private:
  // Calls `source` on a new thread for each call.
  class Later final : public TokenSource<std::string> {
   public:
    explicit Later(Source source) : source_(std::move(source)) {}
    ~Later() override {
      for (std::thread& thread : threads_) thread.join();
    }
    void Fetch(const FetchContext& context,
               FetchDone<std::string> done) override {
      absl::MutexLock lock(&mutex_);
      threads_.emplace_back(
          [source = source_, context, done = std::move(done)]() mutable {
            source->Fetch(context, std::move(done));
          });
    }

   private:
    const Source source_;
    absl::Mutex mutex_;
    std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  };

  Result Answer() {
    absl::MutexLock lock(&mutex_);
    if (stalling_) ++stalled_;
    changed_.SignalAll();
    while (stalling_) changed_.Wait(&mutex_);
    if (failing_) return absl::UnavailableError("HTTP status 502");
    return Token(absl::StrCat("token", ++last_));
  }

  const bool later_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  bool failing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stalling_ ABSL_GUARDED_BY(mutex_) = false;
  int stalled_ ABSL_GUARDED_BY(mutex_) = 0;
  int last_ ABSL_GUARDED_BY(mutex_) = 0;
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(
    Chain, TokenSourceConformanceTest,
    testing::Values(
        TokenSourceSubject{"ChainSource",
                           [] { return std::make_unique<ChainRig>(false); }},
        TokenSourceSubject{"ChainSourceThatAnswersLater",
                           [] { return std::make_unique<ChainRig>(true); }}),
    refreshable_testing::SubjectName());

}  // namespace
}  // namespace refreshable
