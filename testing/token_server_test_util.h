// SPDX-License-Identifier: Apache-2.0
//
// A token server without a network, and a rig for it. For the tests of
// TokenSourceConformanceTest only.

#ifndef REFRESHABLE_TESTING_TOKEN_SERVER_TEST_UTIL_H_
#define REFRESHABLE_TESTING_TOKEN_SERVER_TEST_UTIL_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/testing/token_source_conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {

inline constexpr absl::Duration kMintLifetime = absl::Hours(1);
inline constexpr char kMintSecret[] = "the client's secret";

// A server that issues "token 1", "token 2" and so on. Each request moves the
// clocks of `time`, if given, by a second. Thread-safe.
class FakeTokenServer {
 public:
  explicit FakeTokenServer(refreshable::ManualExecutor* time = nullptr)
      : time_(time) {}

  void Fail() { Set(State::kFailing); }
  void Stall() { Set(State::kStalled); }
  void Heal() { Set(State::kWorking); }
  void AwaitStalled(int requests) {
    absl::MutexLock lock(&mu_);
    while (stalled_ < requests) changed_.Wait(&mu_);
  }

  // Returns a new token, or an error if the server is failing. Blocks while the
  // server is stalled, but returns CANCELLED once `give_up()` returns true.
  template <typename Predicate>
  absl::StatusOr<std::string> Issue(Predicate give_up) {
    if (time_ != nullptr) time_->Suspend(absl::Seconds(1));
    absl::MutexLock lock(&mu_);
    ++stalled_;
    changed_.SignalAll();
    while (state_ == State::kStalled && !give_up()) {
      changed_.WaitWithTimeout(&mu_, absl::Milliseconds(1));
    }
    --stalled_;
    if (state_ == State::kStalled) return absl::CancelledError("given up");
    if (state_ == State::kFailing) return absl::UnavailableError("mint down");
    return absl::StrCat("token ", ++last_);
  }

  const refreshable::Clock& clock() const {
    return time_ != nullptr ? time_->clock() : refreshable::SystemClock::Get();
  }

 private:
  enum class State { kWorking, kFailing, kStalled };

  void Set(State state) {
    absl::MutexLock lock(&mu_);
    state_ = state;
    changed_.SignalAll();
  }

  refreshable::ManualExecutor* const time_;
  absl::Mutex mu_;
  absl::CondVar changed_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kWorking;
  // The number of requests that are waiting in `Issue`.
  int stalled_ ABSL_GUARDED_BY(mu_) = 0;
  int last_ ABSL_GUARDED_BY(mu_) = 0;
};

// A predicate for `FakeTokenServer::Issue`. Returns true if the call has been
// cancelled, or if its timeout has passed in real time.
class GiveUpWhen {
 public:
  explicit GiveUpWhen(const refreshable::FetchContext& context)
      : context_(context) {}
  bool operator()() const {
    return context_.cancelled() || absl::Now() - start_ >= context_.timeout();
  }

 private:
  const refreshable::FetchContext& context_;
  const absl::Time start_ = absl::Now();
};

// A rig whose sources ask a FakeTokenServer. If `virtual_time` is true, only
// requests to the server move the clock. Otherwise the clock is the system's.
class MintRig : public TokenSourceRig<std::string> {
 public:
  explicit MintRig(bool virtual_time = false)
      : mint_(virtual_time ? &time_ : nullptr) {}

  bool Fail() override {
    mint_.Fail();
    return true;
  }
  bool Stall() override {
    mint_.Stall();
    return true;
  }
  void AwaitStalled(int calls) override { mint_.AwaitStalled(calls); }
  void Heal() override { mint_.Heal(); }
  std::optional<absl::Duration> Lifetime() override { return kMintLifetime; }
  const refreshable::Clock& clock() override { return mint_.clock(); }
  std::vector<std::string> Secrets() override { return {kMintSecret}; }
  bool HeedsCancellation() override { return true; }
  bool HeedsTimeout() override { return true; }

 protected:
  refreshable::ManualExecutor time_;
  FakeTokenServer mint_;
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_TOKEN_SERVER_TEST_UTIL_H_
