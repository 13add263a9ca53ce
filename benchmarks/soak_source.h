// SPDX-License-Identifier: Apache-2.0
//
// The soak's token endpoint: a source that does, by a seed, everything that a
// source can do, and sees to it that it is called no more often than promised.

#ifndef REFRESHABLE_BENCHMARKS_SOAK_SOURCE_H_
#define REFRESHABLE_BENCHMARKS_SOAK_SOURCE_H_

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
#include "benchmarks/soak_ledger.h"
#include "refreshable/credential.h"
#include "refreshable/policy.h"
#include "refreshable/token_source.h"

namespace refreshable_soak {

// Threads that answer for a source which has returned. Thread-safe.
class LateAnswers {
 public:
  LateAnswers();
  // Answers what is left first.
  ~LateAnswers();

  // Runs `answer` on one of the threads after `delay`, or, if `cancellable`, as
  // soon as the context says that nobody waits any more.
  void Add(absl::Duration delay, const refreshable::FetchContext& context,
           bool cancellable, absl::AnyInvocable<void()> answer);

 private:
  struct Late {
    absl::Duration due;  // Since boot.
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

// Whether calls of a source keep to the policy's schedule (F4, B1, B8). A call
// is seen later than the attempt started, by as long as it pleases the
// operating system: so what can be checked without a false alarm is that so
// many attempts had no time to start since an earlier moment. Thread-safe.
class Schedule {
 public:
  explicit Schedule(const refreshable::RefreshPolicy& policy);

  // Around each thing that permits an attempt sooner: an answer with a token, a
  // Reset (kSooner), an Invalidate, an Install (kAtOnce: the minimum interval
  // does not hold either). `acted`: it did something.
  enum class Permit { kSooner, kAtOnce };
  void Begin(Permit permit);
  void End(Permit permit, bool acted = true);

  // An outage begins: what is called from now on fails. It ends.
  void StartOutage();
  void EndOutage();

  // An attempt that was under way at `now` is about to be answered: whatever is
  // called from now on started after that.
  void OnAnswer(absl::Duration now);

  void OnCall();
  int64_t calls() const;

 private:
  // The time that it takes to start so many attempts, where `runs` times one
  // may start at once.
  absl::Duration Least(int64_t attempts, int64_t runs) const;

  const refreshable::RefreshPolicy policy_;
  mutable absl::Mutex mutex_;
  int64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t exempt_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t exempt_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  // The creation, or an answer: what came before.
  struct Mark {
    absl::Duration at;
    int64_t calls;
    int64_t exempt_ended;
  };
  std::deque<Mark> marks_ ABSL_GUARDED_BY(mutex_);  // The latest.
  struct Outage {
    absl::Duration start;
    int64_t calls;
    int64_t ended;
  };
  std::optional<Outage> outage_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe.
class FaultySource final : public refreshable::TokenSource<Token>,
                           public std::enable_shared_from_this<FaultySource> {
 public:
  enum class Mode {
    kMixed,   // Everything, most of it good.
    kDown,    // Every kind of failure.
    kGood,    // A token at once.
    kSilent,  // A token once nobody waits any more.
    kStuck,   // A token long after that.
  };

  // `late` outlives the last call's answer.
  FaultySource(uint64_t seed, LateAnswers* late,
               std::shared_ptr<Schedule> schedule);

  void set_mode(Mode mode) { mode_ = mode; }

  // Whether an attempt is under way that somebody waits for.
  bool busy() const;

  // Around what puts an end to all attempts that had begun before: `last_call`
  // before it, and what that returned after it. Calls that are still inside
  // must have been told by then.
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
    uint64_t asked;  // See Token.
    Fault fault;
    uint64_t random;
  };

  Call Enter(const refreshable::FetchContext& context);
  // Whether its answer was waited for.
  bool Leave(uint64_t call);
  // Calls inside whose answer is waited for.
  int64_t Current() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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

#endif  // REFRESHABLE_BENCHMARKS_SOAK_SOURCE_H_
