// SPDX-License-Identifier: Apache-2.0
//
// Tests RefreshTokens through a token source.

#include "refreshable/oauth2/refresh_tokens.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/failure_class.h"
#include "refreshable/http_error.h"
#include "refreshable/oauth2/fake_transport_test_util.h"
#include "refreshable/oauth2/source.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace oauth2 {
namespace {

using After = RefreshTokens::AfterLostAnswer;

constexpr absl::string_view kForm = "grant_type=refresh_token&refresh_token=";

HttpAnswer Rotated(int n) {
  return Answer(200, absl::StrCat("access_token=a", n, ";refresh_token=r", n,
                                  ";expires_in=3600"));
}
absl::Status Broken() { return absl::UnavailableError("connection reset"); }

class RefreshTokensTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(RefreshTokens::Options options) {
    options.store = store_;
    options.on_store_failed = [this](const absl::Status& status) {
      store_failures_.push_back(status);
    };
    auto tokens = RefreshTokens::Create(std::move(options));
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    tokens_ = *std::move(tokens);
    transport_ = std::make_shared<FakeTransport>(&executor_);
    source_ = NewSource();
    store_->stored = "r0";
  }

  std::shared_ptr<TokenSource<std::string>> NewSource() {
    SourceOptions options = OptionsFor(transport_);
    options.grant = RefreshTokenGrant{tokens_};
    auto source = CreateSource(std::move(options));
    EXPECT_TRUE(source.ok()) << source.status();
    return *std::move(source);
  }

  // Returns the refresh token of request `index`; "none" if there is no such
  // request.
  std::string Presented(size_t index) const {
    if (index >= transport_->calls().size()) return "none";
    const std::string body = transport_->calls()[index].body();
    return absl::StartsWith(body, kForm) ? body.substr(kForm.size()) : body;
  }
  size_t sent() const { return transport_->calls().size(); }

  // Makes one attempt, and returns its status. If the attempt sends a request,
  // the transport answers `answer`.
  absl::Status Attempt(absl::StatusOr<HttpAnswer> answer) {
    const size_t index = sent();
    const auto call = Fetch(*source_);
    if (index < sent()) transport_->End(index, std::move(answer));
    EXPECT_TRUE(call->answer.has_value());
    return call->answer.has_value() ? call->answer->status() : absl::OkStatus();
  }

  ManualExecutor executor_;
  const std::shared_ptr<FakeStore> store_ = std::make_shared<FakeStore>();
  std::shared_ptr<FakeTransport> transport_;
  std::vector<absl::Status> store_failures_;
  std::shared_ptr<RefreshTokens> tokens_;
  std::shared_ptr<TokenSource<std::string>> source_;
};

TEST_F(RefreshTokensTest, ANewTokenIsStoredBeforeTheAccessTokenIsUsed) {
  std::string stored;
  const auto call =
      Fetch(*source_, absl::Seconds(30), [&] { stored = store_->stored; });
  EXPECT_EQ(Presented(0), "r0");
  transport_->End(0, Rotated(1));
  EXPECT_EQ(call->result(), "a1");
  EXPECT_EQ(stored, "r1");
  const auto next = Fetch(*source_);
  EXPECT_EQ(Presented(1), "r1");
  // The server does not replace the refresh token, so nothing is stored.
  transport_->End(1, Answer(200, "access_token=a2"));
  EXPECT_EQ(next->result(), "a2");
  EXPECT_EQ(store_->stored, "r1");
  EXPECT_EQ(store_->stores, 1);
}

TEST_F(RefreshTokensTest, ANewTokenIsStoredEvenIfTheAccessTokenIsNotAccepted) {
  const absl::Status status =
      Attempt(Answer(200, "access_token=a1;refresh_token=r1;expires_in=soon"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(store_->stored, "r1");
}

TEST_F(RefreshTokensTest, AttemptsPresentOneAfterAnother) {
  const auto first = Fetch(*source_);
  const auto second = Fetch(*source_);
  const auto third = Fetch(*source_);
  EXPECT_EQ(sent(), 1u);
  transport_->End(0, Rotated(1));
  EXPECT_EQ(first->result(), "a1");
  EXPECT_EQ(second->result(), "no answer");
  ASSERT_EQ(sent(), 2u);
  EXPECT_EQ(Presented(1), "r1");
  transport_->End(1, Broken());
  EXPECT_EQ(second->result(), "UNAVAILABLE: connection reset");
  ASSERT_EQ(sent(), 3u);
  transport_->Drop(2);
  EXPECT_EQ(third->answer->status().code(), absl::StatusCode::kInternal);
}

TEST_F(RefreshTokensTest, AttemptsThatAreNoLongerWantedNeverPresent) {
  const auto first = Fetch(*source_);
  const auto cancelled = Fetch(*source_);
  const auto late = Fetch(*source_, absl::ZeroDuration());
  EXPECT_EQ(late->answer, std::nullopt);
  *cancelled->cancelled = true;
  // A new attempt ends the waiting attempts that are no longer wanted.
  const auto last = Fetch(*source_);
  EXPECT_EQ(cancelled->answer->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(late->answer->status().code(), absl::StatusCode::kDeadlineExceeded);
  *last->cancelled = true;
  transport_->End(0, Rotated(1));
  EXPECT_EQ(last->answer->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sent(), 1u);
}

TEST_F(RefreshTokensTest, TwoSourcesOfOneLoginTakeTurns) {
  const auto other = NewSource();
  const auto first = Fetch(*source_);
  const auto second = Fetch(*other);
  EXPECT_EQ(sent(), 1u);
  // The answer to the destroyed source's request must still be used.
  source_ = nullptr;
  EXPECT_EQ(transport_->outstanding(), 1u);
  transport_->End(0, Rotated(1));
  EXPECT_EQ(Presented(1), "r1");
  transport_->End(1, Rotated(2));
  EXPECT_EQ(second->result(), "a2");
}

TEST_F(RefreshTokensTest, ASourceThatGoesLetsGoOfItsWaitingAttempts) {
  const auto first = Fetch(*source_);
  const auto second = Fetch(*source_);
  source_ = nullptr;
  EXPECT_EQ(second->answer->status().code(), absl::StatusCode::kCancelled);
  transport_->End(0, Rotated(1));
  EXPECT_EQ(store_->stored, "r1");
  EXPECT_EQ(sent(), 1u);
}

TEST_F(RefreshTokensTest, APresentationIsNotCancelledAndHasTimeToSpare) {
  const auto call = Fetch(*source_, absl::Seconds(30));
  *call->cancelled = true;
  const SendOptions& options = transport_->calls()[0].options;
  EXPECT_FALSE(options.cancelled());
  EXPECT_GT(options.timeout, absl::Seconds(59));
  EXPECT_LE(options.timeout, absl::Seconds(60));
  transport_->End(0, Rotated(1));
  EXPECT_EQ(store_->stored, "r1");
}

TEST_F(RefreshTokensTest, AfterALostAnswer) {
  const HttpAnswer cut = Answer(200, "access_token");
  const HttpAnswer down = Answer(502, "<html>");
  const absl::Status unsent = NotSent(Broken());
  const struct {
    After after;
    std::vector<absl::StatusOr<HttpAnswer>> answers;
    size_t sent;  // How many of 5 attempts send a request.
  } cases[] = {
      {After::kPresentOnceMore, {Broken(), Broken()}, 2},
      {After::kPresentOnceMore, {cut, cut}, 2},
      {After::kPresentOnceMore, {Broken(), down, down, down, down}, 5},
      {After::kPresentOnceMore, {Broken(), down, Broken()}, 3},
      {After::kPresentOnceMore, {unsent, unsent, unsent, unsent, unsent}, 5},
      {After::kPresentOnceMore,
       {Broken(), Rotated(1), Broken(), Rotated(2), Broken()},
       5},
      // An access token alone also means that the server has accepted the
      // refresh token.
      {After::kPresentOnceMore,
       {Broken(), Answer(200, "access_token=a"), Broken(),
        Answer(200, "access_token=a"), Broken()},
       5},
      {After::kNeverPresent, {Broken()}, 1},
      {After::kNeverPresent, {cut}, 1},
      {After::kNeverPresent, {unsent, down, Broken()}, 3},
      {After::kPresentUntilAnswered,
       {Broken(), cut, Broken(), Broken(), Broken()},
       5},
  };
  for (const auto& c : cases) {
    RefreshTokens::Options options;
    options.after_lost_answer = c.after;
    Start(options);
    absl::Status last;
    for (size_t i = 0; i < 5; ++i) {
      last = Attempt(i < c.answers.size() ? c.answers[i] : Broken());
    }
    EXPECT_EQ(sent(), c.sent) << &c - cases;
    EXPECT_EQ(IsLoginNeeded(last), c.sent < 5) << last;
    if (c.sent == 5) continue;
    EXPECT_EQ(last.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(last.message(),
              "the server may have replaced the refresh token, but its answer "
              "was lost: a new login is needed, and RefreshTokens::Install() "
              "with its refresh token");
    EXPECT_TRUE(tokens_->Install(Secret("new")).ok());
    EXPECT_TRUE(Attempt(Rotated(9)).ok());
    EXPECT_EQ(Presented(sent() - 1), "new");
    EXPECT_EQ(store_->stored, "r9");
  }
}

TEST_F(RefreshTokensTest, ATokenThatIsRefusedNeedsANewLogin) {
  const absl::Status status = Attempt(Answer(400, "error=invalid_grant"));
  EXPECT_TRUE(IsLoginNeeded(status)) << status;
  EXPECT_EQ(status.message(),
            "HTTP status 400, error invalid_grant; the refresh token was "
            "refused: a new login is needed, and RefreshTokens::Install() with "
            "its refresh token");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ClassifyFailure(status), FailureClass::kPermanent);
  EXPECT_EQ(GetHttpStatus(status), 400);
  EXPECT_FALSE(IsLoginNeeded(Attempt(Answer(401, "error=invalid_client"))));
  EXPECT_FALSE(IsLoginNeeded(Attempt(Answer(503, "error=invalid_grant"))));
  // The refused token is presented again, because the server may have been
  // wrong.
  EXPECT_TRUE(Attempt(Rotated(1)).ok());
}

TEST_F(RefreshTokensTest, TheStoreMayFail) {
  store_->status = absl::PermissionDeniedError("disk full");
  EXPECT_EQ(Attempt(Rotated(1)).ToString(),
            "PERMISSION_DENIED: cannot load the refresh token: disk full");
  EXPECT_EQ(sent(), 0u);
  EXPECT_EQ(store_failures_.size(), 1u);
  store_->status = absl::OkStatus();
  const auto call = Fetch(*source_);
  store_->status = absl::UnavailableError("disk full");
  transport_->End(0, Rotated(1));
  EXPECT_EQ(call->result(), "a1");
  ASSERT_EQ(store_failures_.size(), 2u);
  EXPECT_EQ(store_failures_[1], store_->status);
  // The next attempt must present the new token, although the store has the old
  // one.
  EXPECT_TRUE(Attempt(Rotated(2)).ok());
  EXPECT_EQ(Presented(1), "r1");
  EXPECT_EQ(store_->stored, "r0");
  store_->status = absl::OkStatus();
  const auto next = Fetch(*source_);
  // The token was stored before it was presented.
  EXPECT_EQ(store_->stored, "r2");
  EXPECT_EQ(Presented(2), "r2");
}

TEST_F(RefreshTokensTest, AnotherProcessMayStoreOrRemoveTheToken) {
  EXPECT_TRUE(Attempt(Rotated(1)).ok());
  EXPECT_FALSE(Attempt(Broken()).ok());
  EXPECT_FALSE(Attempt(Broken()).ok());
  EXPECT_TRUE(IsLoginNeeded(Attempt(Broken())));
  store_->stored = "r9";
  EXPECT_TRUE(Attempt(Answer(200, "access_token=a")).ok());
  EXPECT_EQ(Presented(sent() - 1), "r9");
  store_->stored = "";
  const absl::Status status = Attempt(Broken());
  EXPECT_TRUE(IsLoginNeeded(status));
  EXPECT_TRUE(absl::StartsWith(status.message(), "there is no refresh token"));
}

TEST_F(RefreshTokensTest, InstallSupersedesAPresentation) {
  const auto old = Fetch(*source_);
  ASSERT_TRUE(tokens_->Install(Secret("new")).ok());
  EXPECT_EQ(store_->stored, "new");
  // The next attempt does not wait for the answer to the old token.
  const auto next = Fetch(*source_);
  EXPECT_EQ(Presented(1), "new");
  transport_->End(0, Rotated(1));
  EXPECT_EQ(old->result(), "a1");
  EXPECT_EQ(store_->stored, "new");
  const auto third = Fetch(*source_);
  // The answer to the old token has not ended the turn of `next`.
  EXPECT_EQ(sent(), 2u);
  transport_->End(1, Rotated(5));
  EXPECT_EQ(store_->stored, "r5");
  EXPECT_EQ(Presented(2), "r5");
  EXPECT_EQ(tokens_->Install(Secret()).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RefreshTokensTest, WithoutAStore) {
  store_->stored = "elsewhere";
  tokens_ = *RefreshTokens::Create();
  source_ = NewSource();
  EXPECT_TRUE(IsLoginNeeded(Attempt(Broken())));
  EXPECT_TRUE(tokens_->Install(Secret("mine")).ok());
  EXPECT_TRUE(Attempt(Rotated(1)).ok());
  EXPECT_EQ(Presented(0), "mine");
  EXPECT_TRUE(Attempt(Rotated(2)).ok());
  EXPECT_EQ(Presented(1), "r1");
  EXPECT_EQ(store_->stored, "elsewhere");
  RefreshTokens::Options bad;
  bad.late_answer = -absl::Seconds(1);
  EXPECT_EQ(RefreshTokens::Create(bad).status().message(),
            "RefreshTokens: late_answer is negative (-1s)");
}

// A Refreshable uses the source. After it has abandoned an attempt, the next
// attempt must wait for the answer to the abandoned one. That answer may bring
// the next refresh token.
class LateAnswerTest : public RefreshTokensTest {
 protected:
  void SetUp() override {
    RefreshTokensTest::SetUp();
    Refreshable<std::string>::Options options;
    options.executor = &executor_;
    options.policy = refreshable_testing::ExactPolicy();
    auto token = Refreshable<std::string>::Create(source_, options);
    ASSERT_TRUE(token.ok()) << token.status();
    token_ = *std::move(token);
    source_ = nullptr;
  }

  std::shared_ptr<Refreshable<std::string>> token_;
};

TEST_F(LateAnswerTest, F6ALateTokenIsUsedAndTheAttemptThatWaitedNeverPresents) {
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.RunUntilIdle();
  // The first attempt is abandoned. The second waits for the answer to the
  // first.
  executor_.AdvanceBy(absl::Seconds(35));
  EXPECT_EQ(sent(), 1u);
  transport_->End(0, Rotated(1));
  EXPECT_EQ(store_->stored, "r1");
  executor_.RunUntilIdle();
  EXPECT_EQ(token_->TryGet()->token(), "a1");
  EXPECT_EQ(sent(), 1u);
}

TEST_F(LateAnswerTest, TheNextAttemptPresentsWhenTheTransportGivesUp) {
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.RunUntilIdle();
  executor_.AdvanceBy(absl::Seconds(59));
  EXPECT_EQ(sent(), 1u);
  executor_.AdvanceBy(absl::Seconds(2));
  // The attempt's timeout (30 s) and then its `late_answer` (30 s) have passed.
  EXPECT_EQ(sent(), 2u);
  EXPECT_EQ(Presented(1), "r0");  // The same token, for the second time.
  transport_->End(1, Rotated(1));
  EXPECT_EQ(token_->TryGet()->token(), "a1");
}

TEST_F(LateAnswerTest, F2ADiscardedAnswerBringsTheNextRefreshToken) {
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.RunUntilIdle();
  transport_->End(0, Rotated(1));
  executor_.RunUntilIdle();
  const auto lease = token_->TryGet();
  ASSERT_TRUE(lease.ok());
  executor_.AdvanceBy(absl::Minutes(45));  // The token is stale.
  EXPECT_EQ(token_->Get()->token(), "a1");
  executor_.RunUntilIdle();
  ASSERT_EQ(sent(), 2u);
  token_->Invalidate(lease->generation());
  executor_.RunUntilIdle();
  EXPECT_EQ(sent(), 2u);  // The next attempt waits.
  // The access token of this answer is discarded, but its refresh token must be
  // used.
  transport_->End(1, Rotated(2));
  EXPECT_EQ(store_->stored, "r2");
  EXPECT_FALSE(token_->TryGet().ok());
  ASSERT_EQ(sent(), 3u);
  EXPECT_EQ(Presented(2), "r2");
  transport_->End(2, Rotated(3));
  EXPECT_EQ(token_->TryGet()->token(), "a3");
}

TEST_F(LateAnswerTest, AnAnswerAfterTheEndOfTheRefreshableIsStored) {
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.RunUntilIdle();
  token_ = nullptr;
  transport_->End(0, Rotated(1));
  EXPECT_EQ(store_->stored, "r1");
}

TEST_F(LateAnswerTest, InstallEndsTheNeedForANewLogin) {
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.RunUntilIdle();
  transport_->End(0, Answer(400, "error=invalid_grant"));
  executor_.RunUntilIdle();
  EXPECT_TRUE(IsLoginNeeded(token_->health().last_cause));
  EXPECT_EQ(token_->Get().status().code(), absl::StatusCode::kUnauthenticated);
  ASSERT_TRUE(tokens_->Install(Secret("new")).ok());
  token_->Reset();
  token_->GetAsync(absl::InfiniteDuration(), [](auto) {});
  executor_.AdvanceBy(absl::Seconds(1));
  ASSERT_EQ(sent(), 2u);
  EXPECT_EQ(Presented(1), "new");
  transport_->End(1, Rotated(7));
  EXPECT_EQ(token_->TryGet()->token(), "a7");
}

// Tries every sequence of five of the steps below. No token may be presented
// again after the server has received it. No two requests may be outstanding at
// the same time. A new refresh token must be stored before its access token is
// used.
TEST_F(RefreshTokensTest, NoScheduleLosesOrRepeatsAToken) {
  constexpr int kSteps = 5;
  constexpr int kKinds = 5;
  int schedules = 1;
  for (int i = 0; i < kSteps; ++i) schedules *= kKinds;
  for (int schedule = 0; schedule < schedules; ++schedule) {
    Start({});
    int current = 0;  // The server accepts refresh token number `current`.
    std::vector<std::shared_ptr<FetchCall>> calls;
    std::string trace;
    for (int i = 0, rest = schedule; i < kSteps; ++i, rest /= kKinds) {
      const bool outstanding = transport_->outstanding() > 0;
      switch (rest % kKinds) {
        case 0:
          trace += " fetch";
          calls.push_back(Fetch(*source_, absl::Seconds(30), [&] {
            ASSERT_EQ(store_->stored, absl::StrCat("r", current)) << trace;
          }));
          break;
        case 1:
          trace += " cancel";
          for (const auto& call : calls) *call->cancelled = true;
          break;
        case 2:
          trace += " answer";
          if (outstanding) {
            ++current;
            transport_->End(sent() - 1, Rotated(current));
          }
          break;
        case 3:
          trace += " unsent";
          if (outstanding) transport_->End(sent() - 1, NotSent(Broken()));
          break;
        default:
          trace += " new_source";
          source_ = NewSource();
      }
      ASSERT_LE(transport_->outstanding(), 1u) << trace;
      if (transport_->outstanding() > 0) {
        ASSERT_EQ(Presented(sent() - 1), absl::StrCat("r", current)) << trace;
      }
    }
    while (transport_->outstanding() > 0) {
      ++current;
      transport_->End(sent() - 1, Rotated(current));
    }
    ASSERT_EQ(store_->stored, absl::StrCat("r", current)) << trace;
    for (const auto& call : calls) {
      ASSERT_TRUE(call->answer.has_value()) << trace;
    }
    ASSERT_LE(sent(), calls.size()) << trace;
  }
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
