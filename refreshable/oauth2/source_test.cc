// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/source.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/oauth2/fake_transport_test_util.h"
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/testing/scripted_source.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace oauth2 {
namespace {

constexpr char kGood[] = "access_token=t;expires_in=3600";

class SourceTest : public testing::Test {
 protected:
  std::shared_ptr<TokenSource<std::string>> Source(SourceOptions options) {
    auto source = CreateSource(std::move(options));
    EXPECT_TRUE(source.ok()) << source.status();
    return *std::move(source);
  }

  const std::shared_ptr<FakeTransport> transport_ =
      std::make_shared<FakeTransport>();
};

TokenSupplier Says(absl::StatusOr<Secret> token) {
  return TokenSupplier::Function(
      [token](const FetchContext&) { return token; });
}

TEST_F(SourceTest, ServesARefreshable) {
  ManualExecutor executor;
  Refreshable<std::string>::Options options;
  options.executor = &executor;
  // Unlike FakeTransport, this transport blocks.
  const auto blocking =
      BlockingTransport([](const TokenRequest& request,
                           const SendOptions&) -> absl::StatusOr<HttpAnswer> {
        EXPECT_EQ(request.body.reveal(), "grant_type=client_credentials");
        return Answer(200, kGood);
      });
  auto token =
      Refreshable<std::string>::Create(Source(OptionsFor(blocking)), options);
  ASSERT_TRUE(token.ok()) << token.status();
  const auto lease = (*token)->Get();
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->token(), "t");
}

TEST_F(SourceTest, TokensMayBeSecrets) {
  auto source = CreateSource<Secret>(OptionsFor(transport_));
  ASSERT_TRUE(source.ok()) << source.status();
  std::optional<absl::StatusOr<Credential<Secret>>> answer;
  (*source)->Fetch(
      FetchContext(RefreshReason::kFirst, 1, Generation(), absl::Seconds(1),
                   std::make_shared<std::atomic<bool>>(false)),
      FetchDone<Secret>([&](absl::StatusOr<Credential<Secret>>&& a) {
        answer = std::move(a);
      }));
  transport_->End(0, Answer(200, kGood));
  ASSERT_TRUE(answer->ok()) << answer->status();
  EXPECT_EQ((*answer)->token, Secret("t"));
  EXPECT_EQ((*answer)->expiry.lifetime(), absl::Hours(1));
}

TEST_F(SourceTest, ATransportIsToldItsLimits) {
  SourceOptions options = OptionsFor(transport_);
  options.answer.max_body_bytes = 1000;
  const auto source = Source(std::move(options));
  const auto call = Fetch(*source, absl::Seconds(10));
  const SendOptions& told = transport_->calls()[0].options;
  EXPECT_EQ(told.max_body_bytes, 1000u);
  EXPECT_LE(told.timeout, absl::Seconds(10));
  EXPECT_GT(told.timeout, absl::Seconds(9));
  EXPECT_FALSE(told.cancelled());
  *call->cancelled = true;
  EXPECT_TRUE(told.cancelled());
  const auto endless = Fetch(*source, absl::InfiniteDuration());
  EXPECT_EQ(transport_->calls()[1].options.timeout, absl::InfiniteDuration());
}

TEST_F(SourceTest, NothingIsSentTooLate) {
  const auto source = Source(OptionsFor(transport_));
  EXPECT_EQ(Fetch(*source, absl::ZeroDuration())->answer->status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(transport_->calls().empty());
}

TEST_F(SourceTest, AnswersOfATransport) {
  const auto source = Source(OptionsFor(transport_));
  const auto failed = Fetch(*source);
  transport_->End(0, absl::UnavailableError("no route"));
  EXPECT_EQ(failed->result(), "UNAVAILABLE: no route");
  const auto dropped = Fetch(*source);
  transport_->Drop(1);
  EXPECT_EQ(dropped->result(),
            "INTERNAL: the transport dropped the request without an answer");
  const auto unauthorized = Fetch(*source);
  transport_->End(2, Answer(401, "error=invalid_client"));
  EXPECT_TRUE(absl::StartsWith(
      unauthorized->result(),
      "UNAUTHENTICATED: HTTP status 401, error invalid_client"));
}

// Parsing a body of a gigabyte would take several gigabytes of memory.
TEST_F(SourceTest, ALongBodyIsNotParsed) {
  SourceOptions options = OptionsFor(transport_);
  int parsed = 0;
  options.reader = [&](absl::string_view body) {
    ++parsed;
    return ReadFields(body);
  };
  options.answer.max_body_bytes = 100;
  const auto source = Source(std::move(options));
  const auto long_body = Fetch(*source);
  transport_->End(
      0, Answer(200, absl::StrCat("access_token=", std::string(100, 't'))));
  EXPECT_EQ(long_body->result(),
            "UNAVAILABLE: HTTP status 200, but the body is longer than 100 "
            "bytes");
  const auto cut = Fetch(*source);
  HttpAnswer answer = Answer(200, kGood);
  answer.body_too_long = true;
  transport_->End(1, std::move(answer));
  EXPECT_FALSE(cut->answer->ok());
  EXPECT_EQ(parsed, 0);
}

TEST_F(SourceTest, AssertionsAreSignedForEachRequest) {
  SourceOptions options = OptionsFor(transport_);
  int signed_so_far = 0;
  options.client = AssertionAuthentication("me", Secret());
  options.client_assertion = TokenSupplier::Function(
      [&](const FetchContext& context) -> absl::StatusOr<Secret> {
        EXPECT_EQ(context.attempt(), 1);
        return Secret(absl::StrCat("jwt", ++signed_so_far));
      });
  const auto source = Source(std::move(options));
  const auto first = Fetch(*source);
  const auto second = Fetch(*source);
  EXPECT_TRUE(
      absl::EndsWith(transport_->calls()[0].body(), "&client_assertion=jwt1"));
  EXPECT_TRUE(
      absl::EndsWith(transport_->calls()[1].body(), "&client_assertion=jwt2"));
}

TEST_F(SourceTest, TheTokenToExchangeComesFromAnotherSource) {
  refreshable_testing::ScriptedSource<std::string> workload;
  TokenExchangeGrant grant;
  grant.subject_token = TokenSupplier::Source(workload.Share());
  grant.actor_token = Says(Secret("actor"));
  SourceOptions options = OptionsFor(transport_);
  options.client = AssertionAuthentication("me", Secret());
  options.client_assertion = Says(Secret("jwt"));
  options.grant = grant;
  const auto source = Source(std::move(options));
  const auto call = Fetch(*source);
  EXPECT_TRUE(transport_->calls().empty());
  workload.Release(0, "subject", absl::Hours(1));
  ASSERT_EQ(transport_->calls().size(), 1u);
  const std::string body = transport_->calls()[0].body();
  for (const char* part : {"&subject_token=subject&", "&actor_token=actor&",
                           "&client_assertion=jwt"}) {
    EXPECT_TRUE(absl::StrContains(body, part)) << body;
  }
  transport_->End(0, Answer(200, "access_token=t;token_type=N_A"));
  EXPECT_EQ(call->result(), "t");
  // A failure of `workload` is passed on, and nothing is sent.
  const auto failed = Fetch(*source);
  workload.Release(1, absl::UnavailableError("no identity"));
  EXPECT_EQ(failed->result(), "UNAVAILABLE: no identity");
  const auto dropped = Fetch(*source);
  workload.Drop(2);
  EXPECT_EQ(dropped->answer->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(transport_->calls().size(), 1u);
}

TEST_F(SourceTest, AJwtIsAGrant) {
  SourceOptions options = OptionsFor(transport_);
  options.grant = JwtBearerGrant{Says(Secret("jwt"))};
  const auto source = Source(std::move(options));
  const auto call = Fetch(*source);
  EXPECT_TRUE(absl::EndsWith(transport_->calls()[0].body(),
                             "jwt-bearer&assertion=jwt"));
  SourceOptions empty = OptionsFor(transport_);
  empty.grant = JwtBearerGrant{Says(Secret())};
  EXPECT_EQ(Fetch(*Source(std::move(empty)))->result(),
            "INVALID_ARGUMENT: OAuth 2.0: the assertion is empty");
}

TEST_F(SourceTest, AnAttemptThatFailsBeforeItPresentsLosesNothing) {
  SourceOptions options = OptionsFor(transport_);
  const auto tokens = *RefreshTokens::Create();
  ASSERT_TRUE(tokens->Install(Secret("r")).ok());
  absl::StatusOr<Secret> assertion = absl::UnavailableError("no key");
  options.client = AssertionAuthentication("me", Secret());
  options.client_assertion =
      TokenSupplier::Function([&](const FetchContext&) { return assertion; });
  options.grant = RefreshTokenGrant{tokens};
  const auto source = Source(std::move(options));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Fetch(*source)->result(), "UNAVAILABLE: no key");
  }
  assertion = Secret("jwt");
  const auto call = Fetch(*source);
  EXPECT_EQ(transport_->calls().size(), 1u);
}

TEST_F(SourceTest, OptionsThatAreNotValidAreRefused) {
  using Change = std::function<void(SourceOptions&)>;
  const struct {
    absl::string_view error;
    Change change;
  } cases[] = {
      {"the token URL is empty", [](SourceOptions& o) { o.endpoint.url = ""; }},
      {"the client id is empty",
       [](SourceOptions& o) { o.client.client_id = ""; }},
      {"client credentials need a client with a secret or an assertion",
       [](SourceOptions& o) { o.client = PublicClient("me"); }},
      {"client_assertion is set, but client is no AssertionAuthentication",
       [](SourceOptions& o) { o.client_assertion = Says(Secret("x")); }},
      {"the client assertion is empty",
       [](SourceOptions& o) {
         o.client = AssertionAuthentication("me", Secret());
       }},
      {"RefreshTokenGrant::tokens is null",
       [](SourceOptions& o) { o.grant = RefreshTokenGrant(); }},
      {"JwtBearerGrant::assertion is null",
       [](SourceOptions& o) { o.grant = JwtBearerGrant(); }},
      {"TokenExchangeGrant::subject_token is null",
       [](SourceOptions& o) { o.grant = TokenExchangeGrant(); }},
      {"JwtBearerGrant::assertion is null",
       [](SourceOptions& o) {
         o.grant = JwtBearerGrant{TokenSupplier::Function(nullptr)};
       }},
      {"JwtBearerGrant::assertion is null",
       [](SourceOptions& o) {
         o.grant = JwtBearerGrant{TokenSupplier::Source<std::string>(nullptr)};
       }},
      {"transport is null", [](SourceOptions& o) { o.transport = nullptr; }},
      {"transport is null",
       [](SourceOptions& o) { o.transport = BlockingTransport(nullptr); }},
      {"reader is null", [](SourceOptions& o) { o.reader = nullptr; }},
      {"answer.max_body_bytes is 0",
       [](SourceOptions& o) { o.answer.max_body_bytes = 0; }},
      {"answer.default_lifetime is not positive (0)",
       [](SourceOptions& o) {
         o.answer.default_lifetime = absl::ZeroDuration();
       }},
  };
  for (const auto& c : cases) {
    SourceOptions options = OptionsFor(transport_);
    c.change(options);
    const absl::Status status = CreateSource(std::move(options)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.error;
    EXPECT_EQ(status.message(), absl::StrCat("OAuth 2.0: ", c.error));
  }
}

// A transport whose own thread answers the first request; the destructor joins
// that thread. For every other request, `Send` calls `nested` and drops `done`.
class ThreadTransport final : public Transport {
 public:
  ThreadTransport(const absl::Notification* may_answer,
                  std::function<void()> nested, absl::Notification* destroyed)
      : may_answer_(may_answer),
        nested_(std::move(nested)),
        destroyed_(destroyed) {}
  ~ThreadTransport() override {
    thread_.join();
    destroyed_->Notify();
  }
  void Send(TokenRequest, SendOptions, Done done) override {
    if (sent_++ > 0) return nested_();
    thread_ = std::thread([this, done = std::move(done)]() mutable {
      may_answer_->WaitForNotification();
      done(Answer(200, kGood));
    });
  }

 private:
  const absl::Notification* const may_answer_;
  const std::function<void()> nested_;
  absl::Notification* const destroyed_;
  std::thread thread_;
  std::atomic<int> sent_{0};
};

// The transport's own thread must not destroy the transport, because the
// destructor would join that thread. Inside the `done` of the first request,
// that thread sends the second. During this `Send` the source is destroyed.
TEST_F(SourceTest, ATransportIsNotDestroyedOnItsOwnThread) {
  absl::Notification may_answer;
  absl::Notification sending;
  absl::Notification gone;
  absl::Notification destroyed;
  SourceOptions options = OptionsFor(std::make_shared<ThreadTransport>(
      &may_answer,
      [&] {
        sending.Notify();
        gone.WaitForNotification();
      },
      &destroyed));
  const auto tokens = *RefreshTokens::Create();
  ASSERT_TRUE(tokens->Install(Secret("r")).ok());
  options.grant = RefreshTokenGrant{tokens};
  auto source = Source(std::move(options));
  const auto first = Fetch(*source, absl::InfiniteDuration());
  const auto second = Fetch(*source, absl::InfiniteDuration());
  may_answer.Notify();
  sending.WaitForNotification();
  source = nullptr;
  gone.Notify();
  destroyed.WaitForNotification();
  EXPECT_EQ(first->result(), "t");
  EXPECT_EQ(second->answer->status().code(), absl::StatusCode::kInternal);
}

TEST_F(SourceTest, ASourceMayGoBeforeASupplierAnswers) {
  refreshable_testing::ScriptedSource<std::string> workload;
  TokenExchangeGrant grant;
  grant.subject_token = TokenSupplier::Source(workload.Share());
  SourceOptions options = OptionsFor(transport_);
  options.grant = grant;
  auto source = Source(std::move(options));
  const auto call = Fetch(*source);
  source = nullptr;
  workload.Release(0, "subject", absl::Hours(1));
  EXPECT_EQ(call->answer->status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(transport_->calls().empty());
}

// The server accepts each refresh token once. No token may be presented a
// second time.
TEST_F(SourceTest, ThreadsTakeTurnsWithARefreshToken) {
  absl::Mutex mu;
  int current = 0;
  int repeated = 0;
  SourceOptions options = OptionsFor(
      BlockingTransport([&](const TokenRequest& request,
                            const SendOptions&) -> absl::StatusOr<HttpAnswer> {
        absl::MutexLock lock(&mu);
        if (!absl::EndsWith(request.body.reveal(),
                            absl::StrCat("refresh_token=r", current))) {
          ++repeated;
        }
        ++current;
        return Answer(200, absl::StrCat("access_token=a", current,
                                        ";refresh_token=r", current));
      }));
  const auto tokens = *RefreshTokens::Create();
  ASSERT_TRUE(tokens->Install(Secret("r0")).ok());
  options.grant = RefreshTokenGrant{tokens};
  const auto source = Source(std::move(options));
  constexpr int kThreads = 8;
  constexpr int kCalls = 50;
  std::vector<std::shared_ptr<FetchCall>> calls[kThreads];
  std::vector<std::thread> threads;
  for (auto& mine : calls) {
    threads.emplace_back([&source, &mine] {
      for (int i = 0; i < kCalls; ++i) {
        mine.push_back(Fetch(*source, absl::InfiniteDuration()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(current, kThreads * kCalls);
  EXPECT_EQ(repeated, 0);
  for (const auto& mine : calls) {
    for (const auto& call : mine) EXPECT_TRUE(call->answer->ok());
  }
}

// During each of the first 1000 requests, the transport calls `Fetch`, which
// queues another attempt. The same thread runs that attempt after the request.
// If attempts were nested, a long queue would overflow the stack.
TEST_F(SourceTest, ALongQueueNeedsNoDeepStack) {
  std::shared_ptr<TokenSource<std::string>> source;
  std::vector<std::shared_ptr<FetchCall>> calls;
  std::vector<uintptr_t> frames;
  SourceOptions options = OptionsFor(
      BlockingTransport([&](const TokenRequest&,
                            const SendOptions&) -> absl::StatusOr<HttpAnswer> {
        frames.push_back(
            reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
        if (calls.size() < 1000) {
          calls.push_back(Fetch(*source, absl::InfiniteDuration()));
        }
        return absl::UnavailableError("down");
      }));
  RefreshTokens::Options always;
  always.after_lost_answer =
      RefreshTokens::AfterLostAnswer::kPresentUntilAnswered;
  const auto tokens = *RefreshTokens::Create(always);
  ASSERT_TRUE(tokens->Install(Secret("r")).ok());
  options.grant = RefreshTokenGrant{tokens};
  source = Source(std::move(options));
  const auto first = Fetch(*source, absl::InfiniteDuration());
  ASSERT_EQ(calls.size(), 1000u);
  for (const auto& call : calls) EXPECT_TRUE(call->answer.has_value());
  const auto [low, high] = std::minmax_element(frames.begin(), frames.end());
  EXPECT_LT(*high - *low, 64u * 1024);
}

TEST_F(SourceTest, S3NoStatusShowsASecret) {
  const std::vector<absl::StatusOr<HttpAnswer>> answers = {
      Answer(200, "<html>s3cret hunter2"),
      Answer(200, "access_token=hunter2\r\n;refresh_token=s3cret"),
      Answer(200, "access_token=hunter2;expires_in=s3cret"),
      Answer(200, "access_token=hunter2;expires_on=s3cret"),
      Answer(200, "access_token=hunter2;token_type=s3cret"),
      Answer(200, "error=s3cret hunter2"),
      Answer(401, "error=invalid_client;error_description=s3cret"),
      Answer(500, "s3cret hunter2"),
  };
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto source = Source(OptionsFor(transport_));
    const auto call = Fetch(*source);
    transport_->End(i, answers[i]);
    ASSERT_TRUE(call->answer.has_value());
    const std::string shown = testing::PrintToString(*call->answer);
    EXPECT_FALSE(call->answer->ok()) << i;
    EXPECT_FALSE(absl::StrContains(shown, "s3cret")) << shown;
    EXPECT_FALSE(absl::StrContains(shown, "hunter2")) << shown;
  }
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
