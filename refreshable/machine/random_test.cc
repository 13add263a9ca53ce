// SPDX-License-Identifier: Apache-2.0
//
// The machine under thousands of random sequences of events, over small whole
// seconds, against what must hold whatever happens. Seeds are fixed; a failure
// prints its seed and the events that led to it.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/machine/machine_test_util.h"
#include "refreshable/machine/refresh_machine.h"

namespace refreshable {
namespace internal {
namespace {

using Answer = RefreshMachine::ReadAnswer;
using Waiters = Decisions::Waiters;

class Sequence {
 public:
  explicit Sequence(uint64_t seed)
      : random_(seed), policy_(Policy()), d_(policy_) {}

  // Until something is wrong.
  void Play(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) Step();
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE() << "the events: " << absl::StrJoin(log_, "; ");
    }
  }

 private:
  struct Reader {
    absl::Duration deadline;
    int retries;
  };
  struct Call {
    bool abandoned = false;
    bool outdated = false;   // The generation that it was for is gone.
    bool forgotten = false;  // By Reset.
  };

  int Below(int n) { return static_cast<int>(random_() % n); }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int>(values.size()))];
  }

  RefreshPolicy Policy() {
    RefreshPolicy policy = ExactPolicy();
    policy.expiry_margin = S(OneOf({0, 3, 40}));
    if (Below(2) == 0) policy.stale_window = S(Below(20));
    policy.background_refresh = Below(4) != 0;
    policy.refresh_ahead = policy.background_refresh && Below(2) == 0;
    policy.background_cooldown = S(Below(10));
    policy.min_interval = S(Below(3));
    policy.attempt_timeout = S(1 + Below(6));
    policy.max_abandoned_calls = 1 + Below(2);
    policy.young_token_age = S(Below(8));
    policy.max_stale_on_error = S(OneOf({0, 0, 5}));
    policy.retry.initial_backoff = S(1 + Below(2));
    policy.retry.max_backoff = S(2 + Below(6));
    policy.retry.max_retries = Below(4);
    policy.retry.max_consecutive_failures =
        policy.retry.max_retries + 1 + Below(3);
    policy.retry.probe_interval = policy.retry.max_backoff + S(Below(3));
    policy.retry.max_retry_after = S(10);
    policy.retry.on_exhausted =
        OneOf({OnExhausted::kSelfHeal, OnExhausted::kFatal});
    EXPECT_TRUE(Validate(policy).ok()) << Validate(policy);
    return policy;
  }

  void Step() {
    d_.out = Decisions();
    was_refreshing_ = d_.machine.refreshing();
    const Generation before = d_.machine.generation();
    const int failures = d_.machine.failures();
    bool forgets = false;
    switch (Below(14)) {
      case 0:
      case 1:
        d_.t += S(Below(4));
        return Log("time");
      case 2:
        d_.t = std::max(d_.t, std::min(d_.wake_at(), d_.t + S(20)));
        return Log("time for a wake");
      case 3:
        if (Below(20) == 0) d_.wall_step += S(Below(41) - 20);
        return Log("wall");
      case 4:
      case 5:
      case 6:
        Read();
        break;
      case 7:
        Log("wake");
        Wake();
        break;
      case 8:
      case 9:
        Log("start");
        Start();
        break;
      case 10:
      case 11:
        forgets = Complete();
        break;
      case 12:
        if (Below(2) == 0) {
          Log("lost");
          d_.Lost();
        } else {
          Log("wake lost");
          d_.WakeLost();
        }
        break;
      default:
        forgets = Other();
    }
    Settle();
    // F2.
    EXPECT_EQ(d_.machine.generation(), d_.out.publish ? before.Next() : before);
    // B6.
    if (!d_.out.publish && !forgets) {
      EXPECT_GE(d_.machine.failures(), failures);
    }
    CheckState();
    if (Below(4) == 0) CheckRecovers(d_);
  }

  void Read() {
    const Reader reader = {d_.t + S(OneOf({0, 1, 3, 1000})), Below(5)};
    Log(absl::StrCat("read for ", absl::FormatDuration(reader.deadline - d_.t),
                     " ", reader.retries));
    const Answer answer = d_.Read(reader.deadline, reader.retries);
    if (answer == Answer::kServe) {
      EXPECT_TRUE(d_.machine.published_servable(d_.now()));
      const absl::Duration grace = policy_.max_stale_on_error;
      EXPECT_LT(d_.now().wall, d_.machine.expires_at() + grace);  // R3.
      EXPECT_LT(d_.t, expires_ + grace);
      EXPECT_NE(d_.machine.generation(), d_.machine.rejected());  // R9.
    }
    if (answer == Answer::kWait) joined_ = reader;
    if (answer == Answer::kFail) {
      EXPECT_FALSE(d_.out.failure.cause.ok());
    }
  }

  void Wake() {
    const bool due = d_.wake_at() <= d_.t;
    d_.Wake();
    // Only a wake that does something may ask for the next one at once.
    if (due) {
      EXPECT_TRUE(d_.submitted() || d_.wake_at() > d_.t);
    }
  }

  void Start() {
    const int n = d_.machine.failures();
    const bool run =
        d_.machine.queued() == d_.attempt && d_.attempt != AttemptId::kNone;
    const bool started = d_.Start().has_value();
    if (!run) {
      EXPECT_FALSE(started);
      return;
    }
    // F4, B1; A2 starts anew at once.
    if (!exempt_) {
      EXPECT_GE(d_.t, last_start_ + policy_.min_interval);
    }
    const double factor = std::pow(policy_.retry.multiplier, n - 1);
    const absl::Duration wait = std::min(policy_.retry.initial_backoff * factor,
                                         policy_.retry.max_backoff);
    if (n > 0 && !replaced_) {
      EXPECT_GE(d_.t,
                asked_ >= absl::ZeroDuration() ? asked_ : last_start_ + wait);
    }
    exempt_ = replaced_ = false;
    last_start_ = d_.t;
    if (started) {
      if (Count(true) >= policy_.max_abandoned_calls) {  // F6.
        EXPECT_GE(d_.t, last_call_ + policy_.retry.probe_interval);
      }
      last_call_ = d_.t;
      calls_[d_.attempt] = Call();
      EXPECT_LE(Count(false), 1);  // F1.
    } else {
      asked_ = -S(1);
    }
  }

  bool Complete() {
    if (calls_.empty()) return false;
    const auto it = std::next(calls_.begin(), Below(calls_.size()));
    const AttemptId id = it->first;
    const Call call = it->second;
    calls_.erase(it);
    const absl::Duration wake = d_.wake_at(), next = d_.next_start();
    const AttemptId queued = d_.machine.queued();
    const int kind = Below(4);
    if (kind < 2) {
      const int lifetime = Below(60);
      Log(absl::StrCat("success of ", static_cast<uint64_t>(id), " with ",
                       lifetime));
      d_.Succeed(Expiry::At(d_.now().wall + S(lifetime)), std::nullopt, id);
      if (d_.out.publish) expires_ = d_.t + S(lifetime);
    } else {
      const int ask = kind == 2 ? Below(20) : -1;
      Log(absl::StrCat("failure of ", static_cast<uint64_t>(id), ", ", ask));
      d_.Fail(ask >= 0        ? absl::ResourceExhaustedError("busy")
              : Below(2) == 0 ? absl::UnknownError("no")
                              : absl::UnavailableError("down"),
              ask >= 0 ? std::make_optional(S(ask)) : std::nullopt, id);
      if (!call.abandoned)
        asked_ = ask < 0 ? -S(1) : d_.t + S(std::min(ask, 10));
    }
    if (call.outdated || (call.abandoned && !d_.out.publish)) {
      EXPECT_FALSE(d_.out.publish);
      EXPECT_EQ(d_.events().at(0), "attempt_discarded");
      EXPECT_EQ(d_.out.waiters, Waiters::kKeep);
      EXPECT_EQ(d_.wake_at(), wake);
      EXPECT_EQ(d_.next_start(), next);
      EXPECT_EQ(d_.machine.queued(), queued);
    }
    return false;
  }

  bool Other() {
    if (Below(3) == 0) {
      Log("reset");
      for (auto& [id, call] : calls_) {
        if (call.abandoned) call.outdated = call.forgotten = true;
      }
      d_.Reset();
      asked_ = -S(1);
      return true;
    }
    if (Below(3) == 0) {
      Log("install");
      EXPECT_TRUE(d_.Install(Expiry::In(S(25))));
      exempt_ = true;
      expires_ = d_.t + S(25);
      return true;
    }
    Log("invalidate");
    if (d_.Invalidate()) {
      exempt_ = true;
      if (!d_.out.abandon.empty()) replaced_ = true;
      for (auto& [id, call] : calls_) call.outdated = true;
      EXPECT_FALSE(d_.machine.servable(d_.now()));
      EXPECT_FALSE(MachineDriver(d_).Invalidate());  // A1.
    }
    return false;
  }

  int Count(bool abandoned) {
    return std::count_if(calls_.begin(), calls_.end(), [&](const auto& call) {
      return call.second.abandoned == abandoned && !call.second.forgotten;
    });
  }

  // Carries out what the event decided.
  void Settle() {
    const Decisions& out = d_.out;
    for (AttemptId id : out.abandon) calls_.at(id).abandoned = true;
    if (!out.abandon.empty() || out.publish) asked_ = -S(1);
    if (out.publish) {
      for (auto& [id, call] : calls_) call.outdated = true;
    }
    if (out.waiters != Waiters::kKeep) readers_.clear();
    if (out.waiters == Waiters::kServe && !out.withdraw) {
      EXPECT_TRUE(d_.machine.servable(d_.now()));
    }
    if (out.waiters == Waiters::kFail) {
      // Or the event started a flight and ended it.
      EXPECT_TRUE(was_refreshing_ || out.submit != AttemptId::kNone);
      EXPECT_FALSE(out.failure.cause.ok());
    }
    if (was_refreshing_ && !d_.machine.refreshing()) {
      EXPECT_NE(out.waiters, Waiters::kKeep);
    }
    readers_.erase(
        std::remove_if(readers_.begin(), readers_.end(),
                       [&](const Reader& reader) {
                         return reader.deadline < d_.sent_away_before() ||
                                reader.retries < out.fail_retries_below;
                       }),
        readers_.end());
    if (joined_.has_value()) readers_.push_back(*joined_);
    joined_.reset();
  }

  void CheckState() {
    const RefreshMachine& machine = d_.machine;
    const Instant now = d_.now();
    // Nobody is left waiting for nothing (B8), nor a flight for no timer.
    EXPECT_TRUE(readers_.empty() || machine.refreshing());
    EXPECT_LE(Count(false), 1);
    if (machine.refreshing() && machine.queued() == AttemptId::kNone) {
      EXPECT_LT(machine.wake_at(now), BootTime::InfiniteFuture());
    }
    if (machine.fatal(now)) {
      EXPECT_EQ(machine.next_start(now), BootTime::InfiniteFuture());
    }
    // What is published may be handed out until check_at, and no longer.
    const DualDeadline edge = machine.check_at(now);
    if (!machine.published_servable(now)) {
      EXPECT_TRUE(edge.Reached(now));
    }
    if (edge.Reached(now)) return;
    EXPECT_LE(machine.wake_at(now), edge.boot);
    const absl::Duration left =
        std::min(edge.wall - now.wall, edge.boot - now.boot) - Tick();
    EXPECT_TRUE(machine.published_servable({now.wall + left, now.boot + left}));
  }

  // From here, once the calls under way have returned, a read brings a token;
  // a fatal machine needs a Reset first (B8).
  void CheckRecovers(MachineDriver d) {
    d.t += S(1000);
    for (const auto& [id, call] : calls_) {
      d.Fail(absl::UnavailableError("down"), std::nullopt, id);
    }
    for (int tries = 0; tries < 9 && !d.machine.servable(d.now()); ++tries) {
      d.t += S(20);
      if (d.machine.fatal(d.now())) d.Reset();
      d.Read();
      if (d.Start().has_value()) d.Succeed(Expiry::In(S(100)));
    }
    EXPECT_TRUE(d.machine.servable(d.now()));
    EXPECT_EQ(d.Read(), Answer::kServe);
  }

  void Log(const std::string& what) {
    log_.push_back(absl::StrCat(absl::FormatDuration(d_.t), " ", what));
  }

  std::mt19937_64 random_;
  const RefreshPolicy policy_;
  MachineDriver d_;
  std::map<AttemptId, Call> calls_;  // That have not returned.
  absl::Duration last_call_ = -absl::InfiniteDuration();
  std::vector<Reader> readers_;   // That wait.
  std::optional<Reader> joined_;  // By the present event.
  std::vector<std::string> log_;
  bool was_refreshing_ = false;
  bool exempt_ = false;    // From the minimum interval.
  bool replaced_ = false;  // An attempt, by an invalidation.
  absl::Duration last_start_ = -absl::InfiniteDuration();
  absl::Duration asked_ = -S(1);  // By the server: not before this.
  absl::Duration expires_ = absl::ZeroDuration();
};

TEST(RefreshMachineRandomTest, B8WhateverHappensThePromisesHold) {
  for (uint64_t seed = 1; seed <= 1000 && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Sequence(seed).Play(80);
  }
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
