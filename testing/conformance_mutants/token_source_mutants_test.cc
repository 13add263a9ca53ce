// SPDX-License-Identifier: Apache-2.0
//
// Checks that each clause of TokenSourceConformanceTest finds a source that
// breaks it.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/generation.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/conformance_mutants/mutant_runner_test_util.h"
#include "refreshable/testing/token_server_test_util.h"
#include "refreshable/testing/token_source_conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {
namespace {

using ::refreshable::Credential;
using ::refreshable::Expiry;
using ::refreshable::FetchContext;
using ::refreshable::FetchDone;
using ::refreshable::Generation;
using ::refreshable::RefreshReason;
using ::refreshable::TokenSource;

using Result = absl::StatusOr<Credential<std::string>>;

enum class Fault {
  kNone,
  kDropsAll,
  kNeverAnswers,
  kAnswersExpired,
  kAnswersExpiredDate,
  kOneAtATime,
  kNoTimeoutIsNoTime,
  kSecondsAreMilliseconds,
  kCountsFromTheAnswer,
  kWholeLifetimeFromCache,
  kCacheIgnoresRejection,
  kCacheLooksAtTheReasonOnly,
  kFailsWithAToken,
  kFailsForEver,
  kShowsSecret,
  kShowsSecretInPayload,
  kShowsLastToken,
  kLockAroundRequest,
  kIgnoresCancellation,
  kIgnoresTimeout,
  kAnswersUnderLock,
  kUsesItselfOnceDestroyed,
  kLosesItsCallsWhenDestroyed,
};

// A source with a fault. If `async` is true, it answers each call on a new
// thread.
class FaultySource final : public TokenSource<std::string> {
 public:
  FaultySource(Fault fault, bool async, FakeTokenServer* mint)
      : fault_(fault), async_(async), mint_(mint) {}

  ~FaultySource() override {
    *destroyed_ = true;
    for (std::thread& thread : threads_) {
      if (fault_ == Fault::kUsesItselfOnceDestroyed ||
          fault_ == Fault::kLosesItsCallsWhenDestroyed) {
        thread.detach();
      } else {
        thread.join();
      }
    }
  }

  void Fetch(const FetchContext& context,
             FetchDone<std::string> done) override {
    if (!async_) return Answer(context, std::move(done));
    // The lambda below waits for this lock. So its thread is in `threads_`
    // before the lambda answers.
    absl::MutexLock lock(&mu_);
    if (fault_ == Fault::kUsesItselfOnceDestroyed ||
        fault_ == Fault::kLosesItsCallsWhenDestroyed) {
      threads_.emplace_back(&FaultySource::AnswerDetached, fault_, mint_,
                            destroyed_, context, std::move(done));
      return;
    }
    threads_.emplace_back([this, context, done = std::move(done)]() mutable {
      { absl::MutexLock wait(&mu_); }
      Answer(context, std::move(done));
    });
  }

 private:
  static void AnswerDetached(Fault fault, FakeTokenServer* mint,
                             std::shared_ptr<std::atomic<bool>> destroyed,
                             FetchContext context,
                             FetchDone<std::string> done) {
    absl::StatusOr<std::string> token = mint->Issue(GiveUpWhen(context));
    if (*destroyed && fault == Fault::kLosesItsCallsWhenDestroyed) {
      new FetchDone<std::string>(std::move(done));
      return;
    }
    // A real use of the destroyed source would end the program only by chance.
    if (*destroyed) std::abort();
    if (!token.ok()) return done(token.status());
    done(Credential<std::string>(*token, Expiry::In(kMintLifetime)));
  }

  void Answer(const FetchContext& context, FetchDone<std::string> done) {
    switch (fault_) {
      case Fault::kDropsAll:
        return;
      case Fault::kNeverAnswers:
        new FetchDone<std::string>(std::move(done));
        return;
      case Fault::kOneAtATime: {
        absl::MutexLock lock(&mu_);
        ++inside_;
        // Waits up to a second for another call to come in.
        mu_.AwaitWithTimeout(
            absl::Condition(
                +[](int* inside) { return *inside > 1; }, &inside_),
            absl::Seconds(1));
        if (inside_ > 1) return done(absl::AbortedError("busy"));
        break;
      }
      case Fault::kAnswersUnderLock: {
        absl::MutexLock lock(&mu_);
        return done(Ask(context));
      }
      case Fault::kLockAroundRequest: {
        Result result = absl::UnknownError("");
        {
          absl::MutexLock lock(&mu_);
          result = Ask(context);
        }
        return done(std::move(result));
      }
      default:
        break;
    }
    done(Cached(context));
  }

  // Asks the server. Some faults may make it return an earlier token or an
  // earlier failure instead.
  Result Cached(const FetchContext& context) {
    const bool rejected = fault_ == Fault::kCacheLooksAtTheReasonOnly
                              ? context.reason() == RefreshReason::kRejected
                              : context.rejected() != Generation();
    switch (fault_) {
      case Fault::kWholeLifetimeFromCache:
      case Fault::kCacheLooksAtTheReasonOnly:
        if (rejected) break;
        [[fallthrough]];
      case Fault::kCacheIgnoresRejection: {
        absl::MutexLock lock(&mu_);
        if (cache_.has_value()) return *cache_;
        break;
      }
      case Fault::kFailsForEver: {
        absl::MutexLock lock(&mu_);
        if (!failure_.ok()) return failure_;
        break;
      }
      default:
        break;
    }
    Result result = Ask(context);
    absl::MutexLock lock(&mu_);
    if (result.ok()) {
      cache_ = *result;
    } else {
      failure_ = result.status();
    }
    return result;
  }

  Result Ask(const FetchContext& context) {
    if (fault_ == Fault::kNoTimeoutIsNoTime &&
        context.timeout() == absl::InfiniteDuration()) {
      return absl::DeadlineExceededError("no time left");
    }
    const GiveUpWhen when(context);
    const absl::StatusOr<std::string> token = mint_->Issue([&] {
      if (fault_ == Fault::kIgnoresCancellation) return false;
      return fault_ == Fault::kIgnoresTimeout ? context.cancelled() : when();
    });
    if (!token.ok()) return Failure(token.status());
    Expiry expiry = Expiry::In(kMintLifetime);
    const absl::Time now = mint_->clock().Now().wall;
    if (fault_ == Fault::kAnswersExpired) {
      expiry = Expiry::In(absl::ZeroDuration());
    } else if (fault_ == Fault::kAnswersExpiredDate) {
      expiry = Expiry::At(now);
    } else if (fault_ == Fault::kSecondsAreMilliseconds) {
      expiry = Expiry::In(kMintLifetime * 1000);
    } else if (fault_ == Fault::kCountsFromTheAnswer) {
      expiry = Expiry::At(now + kMintLifetime);
    }
    return Credential<std::string>(*token, expiry);
  }

  Result Failure(absl::Status status) {
    if (fault_ == Fault::kFailsWithAToken) {
      return Credential<std::string>("", Expiry::In(kMintLifetime));
    }
    if (fault_ == Fault::kShowsSecret) {
      return absl::UnavailableError(
          absl::StrCat("refused to whom shows ", kMintSecret));
    }
    if (fault_ == Fault::kShowsSecretInPayload) {
      status.SetPayload("example.com/request", absl::Cord(kMintSecret));
    }
    if (fault_ == Fault::kShowsLastToken) {
      absl::MutexLock lock(&mu_);
      return absl::UnavailableError(
          absl::StrCat("after ", cache_.has_value() ? cache_->token : ""));
    }
    return status;
  }

  const Fault fault_;
  const bool async_;
  FakeTokenServer* const mint_;
  const std::shared_ptr<std::atomic<bool>> destroyed_ =
      std::make_shared<std::atomic<bool>>(false);
  absl::Mutex mu_;
  int inside_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<Credential<std::string>> cache_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;  // `Fetch` adds to it under `mu_`.
};

class FaultyRig final : public MintRig {
 public:
  FaultyRig(Fault fault, bool async, bool virtual_time)
      : MintRig(virtual_time), fault_(fault), async_(async) {}

  std::shared_ptr<TokenSource<std::string>> Make() override {
    return std::make_shared<FaultySource>(fault_, async_, &mint_);
  }

 private:
  const Fault fault_;
  const bool async_;
};

struct Row {
  Fault fault;
  const char* name;
  std::vector<const char*> clauses;  // The clauses that must find the fault.
  bool async = false;
  bool virtual_time = false;
};

const std::vector<Row>& Rows() {
  static const auto* const rows = new std::vector<Row>{
      {Fault::kDropsAll,
       "DropsAll",
       {"AnswersWithACredentialThatHasNotExpired"}},
      {Fault::kNeverAnswers,
       "NeverAnswers",
       {"AnswersWithACredentialThatHasNotExpired"}},
      {Fault::kAnswersExpired,
       "AnswersExpired",
       {"AnswersWithACredentialThatHasNotExpired"}},
      {Fault::kAnswersExpiredDate,
       "AnswersExpiredDate",
       {"AnswersWithACredentialThatHasNotExpired"}},
      {Fault::kOneAtATime, "OneAtATime", {"AnswersEachOfManyCallsAtOnce"}},
      {Fault::kNoTimeoutIsNoTime,
       "NoTimeoutIsNoTime",
       {"AnswersWithoutATimeout"}},
      {Fault::kSecondsAreMilliseconds,
       "SecondsAreMilliseconds",
       {"LifetimeCountsFromTheStartOfTheCall"}},
      {Fault::kCountsFromTheAnswer,
       "CountsFromTheAnswer",
       {"LifetimeCountsFromTheStartOfTheCall"},
       /*async=*/false,
       /*virtual_time=*/true},
      {Fault::kWholeLifetimeFromCache,
       "WholeLifetimeFromCache",
       {"ARepeatedTokenExpiresNoLater"}},
      {Fault::kCacheIgnoresRejection,
       "CacheIgnoresRejection",
       {"ARejectedTokenIsNotGivenAgain"}},
      {Fault::kCacheLooksAtTheReasonOnly,
       "CacheLooksAtTheReasonOnly",
       {"ARejectedTokenIsNotGivenAgain"}},
      {Fault::kFailsWithAToken, "FailsWithAToken", {"AFailureIsAStatus"}},
      {Fault::kFailsForEver, "FailsForEver", {"AFailureIsNotForEver"}},
      {Fault::kShowsSecret, "ShowsSecret", {"StatusesHoldNoSecret"}},
      {Fault::kShowsSecretInPayload,
       "ShowsSecretInPayload",
       {"StatusesHoldNoSecret"}},
      {Fault::kShowsLastToken, "ShowsLastToken", {"StatusesHoldNoSecret"}},
      {Fault::kLockAroundRequest,
       "LockAroundRequest",
       {"MayBeEnteredWhileACallIsInside"}},
      {Fault::kIgnoresCancellation,
       "IgnoresCancellation",
       {"ACancelledCallEndsIfItSaysSo"}},
      {Fault::kIgnoresTimeout,
       "IgnoresTimeout",
       {"ACallEndsAtItsTimeoutIfItSaysSo"}},
      {Fault::kAnswersUnderLock,
       "AnswersUnderLock",
       {"AnswersOutsideItsLocks"}},
      {Fault::kUsesItselfOnceDestroyed,
       "UsesItselfOnceDestroyed",
       {"MayBeDestroyedBeforeItAnswers"},
       /*async=*/true},
      {Fault::kLosesItsCallsWhenDestroyed,
       "LosesItsCallsWhenDestroyed",
       {"MayBeDestroyedBeforeItAnswers"},
       /*async=*/true},
      {Fault::kNone, "Sound", {}},
      {Fault::kNone, "SoundAsync", {}, /*async=*/true},
      {Fault::kNone, "SoundInVirtualTime", {}, false, /*virtual_time=*/true},
  };
  return *rows;
}

std::vector<TokenSourceSubject> Subjects() {
  std::vector<TokenSourceSubject> subjects;
  for (const Row& row : Rows()) {
    subjects.push_back({row.name, [&row] {
                          return std::make_unique<FaultyRig>(
                              row.fault, row.async, row.virtual_time);
                        }});
  }
  return subjects;
}

INSTANTIATE_TEST_SUITE_P(Faults, TokenSourceConformanceTest,
                         ::testing::ValuesIn(Subjects()), SubjectName());

TEST(TokenSourceSelfTest, T3EachClauseFindsASourceThatBreaksIt) {
  std::vector<Breach> breaches;
  for (const Row& row : Rows()) {
    for (const char* clause : row.clauses) {
      breaches.push_back({row.name, clause});
    }
  }
  ExpectBreachesAreFound("TokenSourceConformanceTest", breaches,
                         {"Sound", "SoundAsync", "SoundInVirtualTime"});
}

}  // namespace
}  // namespace refreshable_testing

int main(int argc, char** argv) {
  return refreshable_testing::SelfTestMain(argc, argv);
}
