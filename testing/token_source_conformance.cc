// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/token_source_conformance.h"

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/generation.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {
namespace {

using internal::AnySource;
using internal::SourceAnswer;
using ::refreshable::BootTime;
using ::refreshable::Clock;
using ::refreshable::FetchContext;
using ::refreshable::Generation;
using ::refreshable::Instant;
using ::refreshable::RefreshReason;

// The parts of a call's FetchContext that differ from clause to clause.
struct Why {
  RefreshReason reason = RefreshReason::kFirst;
  uint64_t rejected = 0;  // The number of the rejected generation, or 0.
  absl::Duration timeout = absl::Minutes(1);
};

// A call of a source on a thread of its own. As in a Refreshable, the thread
// shares ownership of the source only until `Fetch` returns.
class Call {
 public:
  explicit Call(std::shared_ptr<AnySource> source, const Why& why = Why(),
                std::function<void()> on_answer = nullptr)
      : cancelled_(std::make_shared<std::atomic<bool>>(false)) {
    const FetchContext context(why.reason, /*attempt=*/1,
                               Generation(why.rejected), why.timeout,
                               cancelled_);
    thread_ = std::thread([this, context, source = std::move(source),
                           held = std::make_shared<Held>(this),
                           on_answer = std::move(on_answer)]() mutable {
      Enter(context, *source,
            [this, held = std::move(held),
             on_answer = std::move(on_answer)](SourceAnswer answer) {
              answer_ = std::move(answer);
              if (on_answer) on_answer();
            });
      source = nullptr;
      released_.Notify();
    });
  }
  ~Call() { Await(); }

  void Cancel() { *cancelled_ = true; }

  // Waits until the call has released the source, but at most a second, because
  // the source may wait for the server.
  void AwaitReleaseForAMoment() {
    released_.WaitForNotificationWithTimeout(absl::Seconds(1));
  }

  // Waits until the call has been answered or dropped, and its thread has
  // ended.
  const SourceAnswer& Await() {
    AwaitOrGiveUp(ended_, "a call of the source to end");
    if (thread_.joinable()) {
      DoOrGiveUp("Fetch to return, or for a source to be destroyed",
                 [this] { thread_.join(); });
    }
    return answer_;
  }

 private:
  // The call's `done` function owns a Held, which is destroyed when the call
  // has been answered or dropped.
  struct Held {
    explicit Held(Call* c) : call(c) {}
    ~Held() { call->ended_.Notify(); }
    Call* const call;
  };

  static void Enter(const FetchContext& context, AnySource& source,
                    std::function<void(SourceAnswer)> done) {
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      source.Fetch(context, std::move(done));
    } catch (const std::exception&) {
      // When the exception leaves `Fetch`, the FetchDone is destroyed and
      // answers with an error. So the clause sees a failure.
    }
#else
    source.Fetch(context, std::move(done));
#endif
  }

  const std::shared_ptr<std::atomic<bool>> cancelled_;
  absl::Notification released_;
  absl::Notification ended_;
  SourceAnswer answer_;
  std::thread thread_;
};

SourceAnswer Ask(const std::shared_ptr<AnySource>& source,
                 const Why& why = Why()) {
  return Call(source, why).Await();
}

// Returns every part of a status that may get into a log.
std::string Everything(const absl::Status& status) {
  std::string text = status.ToString(absl::StatusToStringMode::kWithEverything);
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    absl::StrAppend(&text, " ", url, " ", std::string(payload));
  });
  return text;
}

// Waits a moment for `clock` to move, and returns whether it has moved. A
// virtual clock does not move by itself.
bool AwaitTick(const Clock& clock) {
  const BootTime start = clock.Now().boot;
  bool moved = false;
  for (int i = 0; i < 10000 && !moved; ++i) {
    moved = clock.Now().boot > start;
  }
  return moved;
}

}  // namespace

TEST_P(TokenSourceConformanceTest, AnswersWithACredentialThatHasNotExpired) {
  const SourceAnswer answer = Ask(source_);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  if (answer.expiry.is_relative()) {
    EXPECT_GT(answer.expiry.lifetime(), absl::ZeroDuration());
  } else {
    EXPECT_GT(answer.expiry.time(), rig_->clock().Now().wall);
  }
}

TEST_P(TokenSourceConformanceTest, AnswersEachOfManyCallsAtOnce) {
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(std::make_unique<Call>(source_));
  }
  for (const auto& call : calls) {
    EXPECT_TRUE(call->Await().status.ok()) << call->Await().status;
  }
}

TEST_P(TokenSourceConformanceTest, AnswersWithoutATimeout) {
  const SourceAnswer answer =
      Ask(source_, {RefreshReason::kFirst, 0, absl::InfiniteDuration()});
  EXPECT_TRUE(answer.status.ok()) << answer.status;
}

TEST_P(TokenSourceConformanceTest, LifetimeCountsFromTheStartOfTheCall) {
  const std::optional<absl::Duration> lifetime = rig_->Lifetime();
  if (!lifetime.has_value()) return;
  const Instant start = rig_->clock().Now();
  const bool moves_by_itself = AwaitTick(rig_->clock());
  const SourceAnswer answer = Ask(source_);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  if (answer.expiry.is_relative()) {
    EXPECT_EQ(answer.expiry.lifetime(), *lifetime);
  } else {
    // The latest moment at which the call can have started. A clock that does
    // not move by itself showed `start` then. The server may have moved the
    // clock since.
    const Instant latest = moves_by_itself ? rig_->clock().Now() : start;
    EXPECT_LE(answer.expiry.time(), latest.wall + *lifetime);
  }
}

TEST_P(TokenSourceConformanceTest, ARepeatedTokenExpiresNoLater) {
  // The source may return the same token from a cache, but with no later
  // expiry.
  const SourceAnswer first = Ask(source_);
  ASSERT_TRUE(first.status.ok()) << first.status;
  const Instant answered = rig_->clock().Now();
  AwaitTick(rig_->clock());
  const Instant start = rig_->clock().Now();
  const SourceAnswer second = Ask(source_, {RefreshReason::kStale});
  ASSERT_TRUE(second.status.ok()) << second.status;
  if (!source_->Same(first, second)) return;
  if (!first.expiry.is_relative()) {
    EXPECT_FALSE(second.expiry.is_relative());
    EXPECT_LE(second.expiry.time(), first.expiry.time());
  } else if (second.expiry.is_relative()) {
    EXPECT_LE(start.boot + second.expiry.lifetime(),
              answered.boot + first.expiry.lifetime());
  } else {
    EXPECT_LE(second.expiry.time(), answered.wall + first.expiry.lifetime());
  }
}

TEST_P(TokenSourceConformanceTest, ARejectedTokenIsNotGivenAgain) {
  if (!rig_->IssuesNewTokens()) return;
  // A3: a context that names a rejected generation says that a token was
  // rejected, whatever the context's reason is.
  SourceAnswer last = Ask(source_);
  ASSERT_TRUE(last.status.ok()) << last.status;
  for (const RefreshReason reason :
       {RefreshReason::kRejected, RefreshReason::kProbe}) {
    const SourceAnswer next = Ask(source_, {reason, 7});
    ASSERT_TRUE(next.status.ok()) << next.status;
    EXPECT_FALSE(source_->Same(last, next)) << "the reason was " << reason;
    last = next;
  }
}

TEST_P(TokenSourceConformanceTest, AFailureIsAStatus) {
  if (!rig_->Fail()) return;
  EXPECT_FALSE(Ask(source_).status.ok());
}

TEST_P(TokenSourceConformanceTest, AFailureIsNotForEver) {
  if (!rig_->Fail()) return;
  EXPECT_FALSE(Ask(source_).status.ok());
  rig_->Heal();
  const SourceAnswer answer = Ask(source_);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
}

TEST_P(TokenSourceConformanceTest, StatusesHoldNoSecret) {
  std::vector<std::string> secrets = rig_->Secrets();
  secrets.push_back(Ask(source_).bytes);
  if (!rig_->Fail()) return;
  const std::string shown =
      Everything(Ask(source_, {RefreshReason::kRejected, 7}).status);
  for (const std::string& secret : secrets) {
    // HasSubstr would print the secret if it failed.
    EXPECT_TRUE(secret.empty() || !absl::StrContains(shown, secret))
        << "a status shows a secret, or the token that was issued before";
  }
}

TEST_P(TokenSourceConformanceTest, MayBeEnteredWhileACallIsInside) {
  if (!rig_->Stall()) return;
  Call abandoned(source_);
  DoOrGiveUp("the first call to reach the server",
             [&] { rig_->AwaitStalled(1); });
  Call second(source_);
  DoOrGiveUp("a second call to reach the server, beside the first",
             [&] { rig_->AwaitStalled(2); });
  rig_->Heal();
  abandoned.Await();
  second.Await();
  const SourceAnswer answer = Ask(source_);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
}

TEST_P(TokenSourceConformanceTest, ACancelledCallEndsIfItSaysSo) {
  if (!rig_->HeedsCancellation() || !rig_->Stall()) return;
  Call call(source_);
  DoOrGiveUp("the call to reach the server", [&] { rig_->AwaitStalled(1); });
  call.Cancel();
  EXPECT_FALSE(call.Await().status.ok());
  rig_->Heal();
}

TEST_P(TokenSourceConformanceTest, ACallEndsAtItsTimeoutIfItSaysSo) {
  if (!rig_->HeedsTimeout() || !rig_->Stall()) return;
  Call call(source_, {RefreshReason::kFirst, 0, absl::Milliseconds(50)});
  EXPECT_FALSE(call.Await().status.ok());
  rig_->Heal();
}

TEST_P(TokenSourceConformanceTest, AnswersOutsideItsLocks) {
  Call(source_, Why(), [this] {
    DoOrGiveUp("a call made while another answers: is a lock held?",
               [this] { Ask(source_); });
  }).Await();
}

TEST_P(TokenSourceConformanceTest, MayBeDestroyedBeforeItAnswers) {
  const bool stalled = rig_->Stall();
  Call call(std::exchange(source_, nullptr));
  if (stalled) {
    DoOrGiveUp("the call to reach the server", [&] { rig_->AwaitStalled(1); });
    call.AwaitReleaseForAMoment();
    rig_->Heal();
  }
  call.Await();  // Any outcome is allowed, but the call must end.
}

}  // namespace refreshable_testing
