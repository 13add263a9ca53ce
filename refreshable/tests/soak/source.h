// SPDX-License-Identifier: Apache-2.0
//
// FaultySource: the soak's token endpoint, which fails in many ways. Schedule:
// checks that the endpoint is not called too often.

#ifndef REFRESHABLE_TESTS_SOAK_SOURCE_H_
#define REFRESHABLE_TESTS_SOAK_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/policy.h"
#include "refreshable/tests/soak/ledger.h"
#include "refreshable/token_source.h"

namespace refreshable_soak {

// Two threads that answer calls of sources late. Thread-safe.
class LateAnswers {
 public:
  LateAnswers();
  // Gives all outstanding answers, due or not, before it returns.
  ~LateAnswers();

  // Runs `answer` on one of the threads after `delay` or, if `cancellable` is
  // true, when `context` is cancelled.
  void Add(absl::Duration delay, const refreshable::FetchContext& context,
           bool cancellable, absl::AnyInvocable<void()> answer);

 private:
  struct Late {
    refreshable::BootTime due;
    refreshable::FetchContext context;
    bool cancellable;
    absl::AnyInvocable<void()> answer;
  };

  void Work();
  std::optional<Late> TakeDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::vector<Late> late_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Checks that the calls of a source keep to the policy's schedule (F4, B1, B8).
// A call may come long after its attempt started, so the time between two calls
// says nothing. Instead, this class counts the calls since an earlier answer,
// or since the start of an outage. It checks that the policy permits so many
// attempts in that time. Thread-safe.
class Schedule {
 public:
  explicit Schedule(const refreshable::RefreshPolicy& policy);

  // After some events, the next attempt need not wait for the backoff. A
  // success and a Reset are kSooner events. After a kAtOnce event (Invalidate,
  // Install), the attempt need not wait for the minimum interval either.
  // `Begin` must be called before each event, and `End` after it. `acted` says
  // whether the event had an effect.
  enum class Permit { kSooner, kAtOnce };
  void Begin(Permit permit);
  void End(Permit permit, bool acted = true);

  // During an outage, calls are also checked against the backoff (B1, B8).
  void StartOutage();
  void EndOutage();

  // Must be called before the source answers an attempt that was still running
  // at `now`. Assumes that later calls of the source belong to attempts that
  // started after `now`.
  void OnAnswer(refreshable::BootTime now);

  // Notes a call of the source, and checks that it does not come too early.
  void OnCall();
  int64_t calls() const;

 private:
  // Returns the least time in which `attempts` attempts can start, if the
  // backoff starts from its initial value `runs` times.
  absl::Duration Least(int64_t attempts, int64_t runs) const;

  const refreshable::RefreshPolicy policy_;
  mutable absl::Mutex mutex_;
  int64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  // The next four members count events (see `Permit`), except those that ended
  // without effect. `exempt_` and `exempt_ended_` count only the kAtOnce
  // events.
  int64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t exempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t exempt_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  // The `now` of a call of `OnAnswer`, with the counts at that call. The first
  // mark is made when the Schedule is created.
  struct Mark {
    refreshable::BootTime at;
    int64_t calls;
    int64_t exempt_ended;
  };
  // The latest few marks.
  std::deque<Mark> marks_ ABSL_GUARDED_BY(mutex_);
  struct Outage {
    refreshable::BootTime start;
    int64_t calls;
    int64_t ended;
  };
  std::optional<Outage> outage_ ABSL_GUARDED_BY(mutex_);
};

// A source that answers and fails in many ways, as its mode and its seed
// decide. Thread-safe.
class FaultySource final : public refreshable::TokenSource<Token>,
                           public std::enable_shared_from_this<FaultySource> {
 public:
  enum class Mode {
    kMixed,   // Answers with a token in most cases, and otherwise fails.
    kDown,    // Fails, in several ways.
    kGood,    // Answers with a token at once.
    kSilent,  // Answers with a token when cancelled, or at twice the timeout.
    kStuck,   // Answers with a token long after the attempt's timeout.
  };

  // `late` must outlive the last call of `Fetch`.
  FaultySource(uint64_t seed, LateAnswers* late,
               std::shared_ptr<Schedule> schedule);

  void set_mode(Mode mode) { mode_ = mode; }

  // Returns whether there is a call that is neither answered nor cancelled.
  bool busy() const;

  // These check that Invalidate, Install and ~Refreshable end all earlier
  // attempts. `last_call` must be called before such an event. Its result must
  // be passed to `CheckOvertaken` after the event.
  uint64_t last_call() const;
  void CheckOvertaken(const char* clause, uint64_t last_call) const;

  void Fetch(const refreshable::FetchContext& context,
             refreshable::FetchDone<Token> done) override;

  static uint64_t NewId();

 private:
  using Done = refreshable::FetchDone<Token>;
  enum class Fault;
  struct Call {
    uint64_t id;
    // The result of `NextMoment()` at the time of the call.
    uint64_t asked;
    Fault fault;
    uint64_t random;
  };

  Call Enter(const refreshable::FetchContext& context);
  // Removes the call from `inside_`. Must be called before the call is
  // answered, because the answer may cause the next call. Otherwise `Enter`
  // would report two calls at the same time. Returns true if the call had not
  // been cancelled.
  bool Leave(uint64_t call);
  // Returns the number of calls that are neither answered nor cancelled.
  int64_t Current() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns a credential with a new token. But if `same` is true and there is a
  // last token, the credential has the last token.
  refreshable::Credential<Token> Good(const Call& call, bool same = false);
  void Answer(const Call& call, Done& done, Done::Result result);
  void AnswerLate(const Call& call, const refreshable::FetchContext& context,
                  Done done, absl::Duration delay, bool cancellable);

  LateAnswers* const late_;
  const std::shared_ptr<Schedule> schedule_;
  std::atomic<Mode> mode_{Mode::kMixed};
  mutable absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_call_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, refreshable::FetchContext> inside_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_token_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_SOURCE_H_
