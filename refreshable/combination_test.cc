// SPDX-License-Identifier: Apache-2.0
//
// Every situation crossed with every two events that can follow, in virtual
// time. What is checked after each step is not what the implementation would
// do, but what nothing may ever do:
//
//   R3, A1   no token is handed out that has expired by either clock, or that
//            was withdrawn;
//   F1, F2   one attempt at a time, generations rise, and what a call brings
//            that was overtaken by a withdrawal or an Install is not used;
//   F4       attempts keep the minimum interval, but for the exempt ones;
//   B1-B3    no attempt starts in a backoff that was announced, or asked for by
//            the server, and not ended;
//   B5, E1   whoever waits gets one outcome, a cancelled one gets none;
//   B7       there is always a way back: a success, after Reset if it is fatal.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "executors/clock.h"
#include "executors/manual_executor.h"
#include "gtest/gtest.h"
#include "refreshable/event.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/observer.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {
namespace {

using LeaseOr = absl::StatusOr<Lease<std::string>>;

constexpr absl::Duration kLifetime = absl::Seconds(400);  // Stale at 200,
constexpr absl::Duration kStale = absl::Seconds(210);     // expired at 360.
constexpr absl::Duration kExpired = absl::Seconds(370);

// Checks each event against those before it.
class Referee final : public Observer {
 public:
  explicit Referee(const Clock* clock) : clock_(clock) {}

  void OnEvent(const Event& event) override {
    const absl::Duration now = clock_->Now().since_boot;
    switch (event.kind) {
      case EventKind::kAttemptStarted:
        EXPECT_FALSE(running_) << "two attempts at a time";
        EXPECT_GE(now, not_before_) << "an attempt during a backoff";
        if (!exempt_) {
          EXPECT_GE(now, last_start_ + absl::Seconds(1)) << "too close";
        }
        running_ = true;
        exempt_ = false;
        last_start_ = now;
        break;
      case EventKind::kTokenPublished:
        EXPECT_GT(event.generation, generation_) << "generations rise";
        generation_ = event.generation;
        EndBackoff();
        running_ = false;
        break;
      case EventKind::kAttemptFailed:
        ++failed_;
        running_ = false;
        break;
      case EventKind::kAttemptAbandoned:
        running_ = false;
        break;
      case EventKind::kBackoff:
        not_before_ = now + event.delay;
        break;
      case EventKind::kStateChanged:
        if (event.freshness == Freshness::kExpired) EndBackoff();
        break;
      default:
        break;
    }
  }

  int failed() const { return failed_; }
  // The server has said so.
  void SetNotBefore(absl::Duration since_boot) { not_before_ = since_boot; }
  // The next attempt may come at once; `exempt`: even after the one before.
  void EndBackoff(bool exempt = false) {
    not_before_ = -absl::InfiniteDuration();
    if (exempt) exempt_ = true;
  }

 private:
  const Clock* const clock_;
  bool running_ = false;
  bool exempt_ = false;
  int failed_ = 0;
  absl::Duration last_start_ = -absl::InfiniteDuration();
  absl::Duration not_before_ = -absl::InfiniteDuration();
  Generation generation_;
};

// Holds each call until it is told the answer.
class HeldSource final : public TokenSource<std::string> {
 public:
  void Fetch(const FetchContext&, FetchDone<std::string> done) override {
    held.push_back({std::move(done), epoch});
    if (answer_at_once) answer_at_once();
  }
  struct Call {
    FetchDone<std::string> done;
    int epoch;  // In which it started.
  };
  std::vector<Call> held;
  std::function<void()> answer_at_once;
  // Rises with each withdrawal and each Install.
  int epoch = 0;
};

class World {
 public:
  explicit World(OnExhausted on_exhausted) {
    RefreshPolicy policy;
    policy.jitter = 0;
    policy.retry.max_retries = 2;
    policy.retry.max_consecutive_failures = 3;
    policy.retry.on_exhausted = on_exhausted;
    Refreshable<std::string>::Options options;
    options.executor = &executor_;
    options.policy = policy;
    options.observer = referee_;
    token_ = *Refreshable<std::string>::Create(source_, std::move(options));
  }

  // ---- What can happen ----

  // Answers the call that came first and was not answered.
  void Answer(absl::Status status) {
    if (source_->held.empty()) return;
    HeldSource::Call call = std::move(source_->held.front());
    source_->held.erase(source_->held.begin());
    if (status.ok()) {
      call.done(
          Credential<std::string>(NewToken(call.epoch), Expiry::In(kLifetime)));
    } else {
      const std::optional<absl::Duration> wait = GetRetryAfter(status);
      const int failed = referee_->failed();
      call.done(std::move(status));
      if (wait.has_value() && referee_->failed() > failed) {
        referee_->SetNotBefore(executor_.clock().Now().since_boot + *wait);
      }
    }
    executor_.RunUntilIdle();
  }
  void Read() { CheckLease(token_->Get(absl::ZeroDuration())); }
  void ReadAsync(absl::Duration timeout, std::optional<int> max_retries = {}) {
    const size_t index = outcomes_.size();
    outcomes_.push_back(0);
    Refreshable<std::string>::ReadOptions options;
    options.timeout = timeout;
    options.max_retries = max_retries;
    ids_.push_back(token_->GetAsync(options, [this, index](LeaseOr lease) {
      ++outcomes_[index];
      CheckLease(std::move(lease));
    }));
    executor_.RunUntilIdle();
  }
  void Cancel() {
    if (ids_.empty()) return;
    const size_t index = ids_.size() - 1;
    const int before = outcomes_[index];
    if (token_->Cancel(ids_[index])) {
      EXPECT_EQ(before, 0);
      outcomes_[index] = 1;  // A callback now would be the second outcome.
    }
  }
  void Invalidate(bool current) {
    const Generation generation = token_->health().generation;
    if (generation == Generation() || (!current && generation.value() < 2)) {
      return;
    }
    const Generation rejected =
        current ? generation : Generation(generation.value() - 1);
    referee_->EndBackoff(current);
    if (token_->Invalidate(rejected)) {
      withdrawn_.insert(rejected.value());
      ++source_->epoch;
    }
    executor_.RunUntilIdle();
  }
  void Install() {
    referee_->EndBackoff(true);
    const std::string token = NewToken(++source_->epoch);
    EXPECT_TRUE(
        token_->Install(Credential<std::string>(token, Expiry::In(kLifetime)))
            .ok());
    executor_.RunUntilIdle();
  }
  void Reset() {
    referee_->EndBackoff();
    token_->Reset();
    executor_.RunUntilIdle();
  }
  void StepWall(absl::Duration d) {
    executor_.StepWall(d);
    executor_.RunUntilIdle();
  }
  void Suspend(absl::Duration d) {
    executor_.Suspend(d);
    executor_.RunUntilIdle();
  }
  void Pass(absl::Duration d) { executor_.AdvanceBy(d); }

  // ---- How it must end ----

  void End() {
    source_->answer_at_once = [this] { Answer(absl::OkStatus()); };
    while (!source_->held.empty()) Answer(absl::OkStatus());
    Pass(absl::Minutes(10));
    if (token_->health().fatal) {
      EXPECT_TRUE(IsFatal(token_->Get(absl::Minutes(10)).status()));
      Reset();
    }
    LeaseOr lease = token_->Get(absl::Minutes(10));
    EXPECT_TRUE(lease.ok()) << "stuck: " << lease.status();
    CheckLease(std::move(lease));
    executor_.RunUntilIdle();
    lease = token_->Get(absl::Minutes(10));
    EXPECT_TRUE(lease.ok());
    EXPECT_NE(token_->health().freshness, Freshness::kExpired);
    EXPECT_EQ(token_->health().waiters, 0);
    for (size_t i = 0; i < outcomes_.size(); ++i) {
      EXPECT_EQ(outcomes_[i], 1) << "outcomes of read " << i;
    }
  }

 private:
  // By since-boot time: the wall clock is looked at in the lease.
  std::string NewToken(int epoch) {
    std::string token = absl::StrCat("t", ++tokens_);
    epochs_[token] = epoch;
    ends_[token] = executor_.clock().Now().since_boot + kLifetime;
    return token;
  }

  void CheckLease(LeaseOr lease) {
    if (!lease.ok()) return;
    const Instant now = executor_.clock().Now();
    EXPECT_LT(now.wall, lease->expires_at()) << lease->token();
    EXPECT_LT(now.since_boot, ends_[lease->token()]) << lease->token();
    EXPECT_EQ(epochs_[lease->token()], source_->epoch)
        << "an answer to a call that was overtaken: " << lease->token();
    EXPECT_EQ(withdrawn_.count(lease->generation().value()), 0u)
        << lease->token();
  }

  int tokens_ = 0;
  std::map<std::string, absl::Duration> ends_;
  std::map<std::string, int> epochs_;
  std::set<uint64_t> withdrawn_;
  std::vector<int> outcomes_;  // Of each ReadAsync.
  std::vector<WaiterId> ids_;
  const std::shared_ptr<HeldSource> source_ = std::make_shared<HeldSource>();
  ManualExecutor executor_;
  const std::shared_ptr<Referee> referee_ =
      std::make_shared<Referee>(&executor_.clock());
  std::unique_ptr<Refreshable<std::string>> token_;
};

struct Step {
  const char* name;
  void (*run)(World&);
};

const absl::Status& Down() {
  static const auto* const status =
      new absl::Status(absl::UnavailableError("down"));
  return *status;
}

void Succeed(World& w) { w.Answer(absl::OkStatus()); }
void FailOnce(World& w) { w.Answer(Down()); }
void Hold(World& w) {
  w.ReadAsync(absl::InfiniteDuration());
  Succeed(w);
}
void Exhaust(World& w) {
  w.ReadAsync(absl::InfiniteDuration());
  for (int i = 0; i < 3; ++i) {
    FailOnce(w);
    w.Pass(absl::Seconds(10));
  }
}

const Step kSituations[] = {
    {"nothing held", [](World&) {}},
    {"fresh", Hold},
    {"stale",
     [](World& w) {
       Hold(w);
       w.Pass(kStale);
     }},
    {"expired",
     [](World& w) {
       Hold(w);
       w.Pass(kExpired);
     }},
    {"refreshing in the background",
     [](World& w) {
       Hold(w);
       w.Pass(kStale);
       w.ReadAsync(absl::InfiniteDuration());
     }},
    {"refreshing, two wait",
     [](World& w) {
       Hold(w);
       w.Pass(kExpired);
       w.ReadAsync(absl::InfiniteDuration());
       w.ReadAsync(absl::Seconds(20));
     }},
    {"backing off, one waits",
     [](World& w) {
       w.ReadAsync(absl::InfiniteDuration());
       FailOnce(w);
     }},
    {"on cooldown",
     [](World& w) {
       Hold(w);
       w.Pass(kStale);
       w.ReadAsync(absl::InfiniteDuration());
       FailOnce(w);
     }},
    {"exhausted", Exhaust},
    {"withdrawn",
     [](World& w) {
       Hold(w);
       w.Pass(absl::Seconds(40));
       w.Invalidate(true);
     }},
    {"an abandoned call is out",
     [](World& w) {
       w.ReadAsync(absl::InfiniteDuration());
       w.Pass(absl::Seconds(31));
     }},
};

const Step kEvents[] = {
    {"succeed", Succeed},
    {"fail", FailOnce},
    {"fail for good",
     [](World& w) { w.Answer(absl::PermissionDeniedError("no")); }},
    {"fail, retry after 90 s",
     [](World& w) {
       absl::Status status = absl::ResourceExhaustedError("slow down");
       SetRetryAfter(absl::Seconds(90), status);
       w.Answer(std::move(status));
     }},
    {"invalidate", [](World& w) { w.Invalidate(true); }},
    {"invalidate an old one", [](World& w) { w.Invalidate(false); }},
    {"install", [](World& w) { w.Install(); }},
    {"reset", [](World& w) { w.Reset(); }},
    {"read without waiting", [](World& w) { w.Read(); }},
    {"read", [](World& w) { w.ReadAsync(absl::InfiniteDuration()); }},
    {"read for a second", [](World& w) { w.ReadAsync(absl::Seconds(1)); }},
    {"read without retries",
     [](World& w) { w.ReadAsync(absl::InfiniteDuration(), 0); }},
    {"cancel", [](World& w) { w.Cancel(); }},
    {"the wall clock steps back",
     [](World& w) { w.StepWall(-absl::Hours(1)); }},
    {"the wall clock steps forward",
     [](World& w) { w.StepWall(absl::Hours(1)); }},
    {"suspend", [](World& w) { w.Suspend(absl::Hours(1)); }},
    {"a moment passes", [](World& w) { w.Pass(absl::Seconds(1.5)); }},
    {"it becomes stale, or expires", [](World& w) { w.Pass(kStale); }},
};

class CombinationTest : public testing::TestWithParam<OnExhausted> {};

TEST_P(CombinationTest, NothingEverBreaksAPromise) {
  int scenarios = 0;
  for (const Step& situation : kSituations) {
    for (const Step& first : kEvents) {
      for (const Step& second : kEvents) {
        SCOPED_TRACE(
            absl::StrCat(situation.name, "; ", first.name, "; ", second.name));
        World world(GetParam());
        situation.run(world);
        world.Read();
        first.run(world);
        world.Read();
        second.run(world);
        world.Read();
        world.End();
        ++scenarios;
        if (HasFailure()) return;  // The first is enough to look at.
      }
    }
  }
  EXPECT_EQ(scenarios, 11 * 18 * 18);
}

INSTANTIATE_TEST_SUITE_P(All, CombinationTest,
                         testing::Values(OnExhausted::kSelfHeal,
                                         OnExhausted::kFatal));

}  // namespace
}  // namespace refreshable
