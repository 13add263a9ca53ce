// SPDX-License-Identifier: Apache-2.0
//
// World: one Refreshable, its source, its executor and whoever reads it, in
// which a step of the schedule explorer acts.

#ifndef REFRESHABLE_TESTING_SCHEDULE_WORLD_H_
#define REFRESHABLE_TESTING_SCHEDULE_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/schedule_referee.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable_testing {
namespace schedule {

class World;

// What a token source may answer.
struct Answer {
  std::string name;
  // Made when the call is answered. Null: the call is dropped, unanswered.
  // A token is to come from `World::NewToken`.
  std::function<absl::StatusOr<refreshable::Credential<std::string>>(World&)>
      result;
};

// A new token that lives for `lifetime` from the start of the call.
Answer Succeed(absl::Duration lifetime = absl::Seconds(400));

// Which generation a read rejects (`ReadOptions::rejected`).
enum class Rejects {
  kNone,
  kLast,  // The one last published; none if there is none.
  kOld,   // The one before it; none if there is none.
  kNext,  // One that has not been published.
};

// Everything that one order of a scenario acts on, in virtual time. Each call
// of the source is held until `AnswerCall`; reads are kept account of; what the
// Refreshable hands out and tells is checked at once, and everything else in
// `Check()`. All user code of the Refreshable (source, observer, hook,
// callbacks) calls it back: if a lock is held there, it hangs, which
// ExploreOptions::patience sees. To be used in the thread that made
// it.
class World {
 public:
  using Token = refreshable::Refreshable<std::string>;
  using LeaseOr = absl::StatusOr<refreshable::Lease<std::string>>;

  // Requires: the policy is valid. Its jitter is taken to be 0.
  explicit World(refreshable::RefreshPolicy policy);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  // ---- What a step may do ----

  // Requires: !destroyed().
  Token& token() { return *token_; }
  bool destroyed() const { return token_ == nullptr; }
  refreshable::ManualExecutor& executor() { return executor_; }
  const refreshable::ManualExecutor& executor() const { return executor_; }
  refreshable::Instant Now() const { return executor_.clock().Now(); }

  // GetAsync, and Get, which is given back when it has ended; other steps
  // happen meanwhile if it has to wait.
  void ReadAsync(absl::Duration timeout = absl::InfiniteDuration(),
                 std::optional<int> max_retries = std::nullopt,
                 Rejects rejects = Rejects::kNone);
  void ReadBlocking(absl::Duration timeout, Rejects rejects = Rejects::kNone);
  void ReadNow() { ReadBlocking(absl::ZeroDuration()); }
  // Of the token last published.
  void ReportRejected();
  // By schedule::CancelRead only: cancels the GetAsync that was the `index`-th,
  // from 0, if there was one.
  void CancelRead(size_t index);
  // Of the token last published, or of the one before.
  void Invalidate();
  void InvalidateOld();
  void Install(absl::Duration lifetime);
  void Reset();
  // Time passes on both clocks, and nothing that falls due runs meanwhile.
  void Pass(absl::Duration d) { executor_.Suspend(d); }
  void StepWall(absl::Duration d);
  // From now on the executor takes tasks (timers), or not.
  void TakeTasks(bool take);
  void TakeTimers(bool take);
  // The executor runs a pending step, or destroys it without running it.
  void RunPending(size_t index);
  void LosePending(size_t index);
  void Destroy();

  // The calls of the source that have not been answered, in their order.
  size_t held_calls() const { return held_.size(); }
  void AnswerCall(size_t index, const Answer& answer);
  // From now on the source gives this answer before Fetch returns; none: not.
  void AnswerInside(std::optional<Answer> answer) {
    inside_ = std::move(answer);
  }
  // A token that no call has brought yet.
  std::string NewToken();

  // Runs what is due.
  void RunUntilIdle() { AdvanceBy(absl::ZeroDuration()); }
  // Time passes and everything runs when it is due.
  void AdvanceBy(absl::Duration d);
  // The token is held and fresh, brought by the source, living for `lifetime`.
  void Hold(absl::Duration lifetime = absl::Seconds(400));

  // Complains if it does not hold: the order has failed.
  void Expect(bool holds, absl::string_view what) {
    if (!holds) referee_->Complain(what);
  }
  const Referee& referee() const { return *referee_; }

  // ---- What the explorer does ----

  // What a blocking read calls for something to happen; false: nothing will.
  // Null: the executor's own order.
  void set_driver(std::function<bool()> driver) { driver_ = std::move(driver); }
  // Deadlines of the blocking reads in progress, the innermost last.
  const std::vector<absl::Duration>& blocked() const { return blocked_; }
  bool cancellable(size_t index) const;

  // Before each step: its name, by which what comes of it is told apart.
  void Begin(int step) { step_ = step; }
  // Between two steps, and at the end.
  void Note();

  // Everything that can be seen between two steps, by clause.
  void Check();
  // All that is known which the future depends on.
  std::string Fingerprint() const;
  // From here the source answers, the executor takes everything, and time
  // passes: the next read must be given a token, after Reset() if `reset` or if
  // refreshing has given up for good, and everybody has had an outcome.
  void CheckWayOut(bool reset);
  // The first complaint; empty: none.
  const std::string& complaint() const { return referee_->complaint(); }

 private:
  class Source;
  class Driver;
  struct Call {
    refreshable::FetchDone<std::string> done;
    refreshable::FetchContext context;
    int epoch;
    refreshable::Instant start;
    bool forgotten = false;  // By Reset.
  };
  struct Reader {
    absl::Duration deadline;
    std::optional<int> max_retries;
    refreshable::WaiterId id{};
    // What there was when it was made: a usable token, of this generation.
    bool usable = false;
    refreshable::Generation generation;
    bool served = false;  // At once. (To tell states apart.)
    // 0 if it rejected nothing that had been published.
    refreshable::Generation rejected;
    // It was a rejected read when it was made.
    bool rejecting = false;
    // It joined or started an attempt, which has not ended since.
    bool joins = false;
    // The wall clock has stepped while no token could be served.
    bool was_unservable = false;
    bool calling = true;  // Inside GetAsync.
    bool cancelled = false;
    // The refresh may have ended with an error for it; with a token, so that
    // it reads again and may join another.
    bool may_fail = false;
    bool may_rejoin = false;
    bool saw_loss = false;  // Of the attempt, by the executor. (Likewise.)
    int saw_failures = 0;   // While it waited.
    int ended = 0;
  };
  struct Pending {
    size_t tasks = 0;
    // When the first and the last of them were queued.
    absl::Duration first_task = absl::InfiniteDuration();
    absl::Duration last_task = -absl::InfiniteDuration();
    absl::Duration first_timer = absl::InfiniteDuration();
  };

  // Where a queued task comes from: a step, and which of its tasks it is.
  using Origin = std::pair<int, int>;
  // A read that may have joined a refresh: the retries that it wanted, and the
  // step (task -1), or the task that may have been the callback of a read which
  // found its token gone.
  using Join = std::pair<int, Origin>;

  void OnEvent(const refreshable::Event& event);
  void OnFailed(const refreshable::Event& event);
  void OnStarted(const refreshable::Event& event);
  void OnFetch(const refreshable::FetchContext& context,
               refreshable::FetchDone<std::string> done);
  // A read that is being made, and what was known before it was.
  struct Asking {
    // 0 if the read rejects nothing that has been published.
    refreshable::Generation rejected;
    // The executor takes everything and nothing is overdue.
    bool steady;
    bool refreshing;
    // It is a rejected read (A7).
    bool rejects;
    // It has to end at once, with an error (B5, A10).
    bool ends;
    // A timer that is late would start a refresh, unless one was lost (F7).
    bool ahead;
    // The read starts a refresh if there is none; nullopt if that cannot be
    // told from outside.
    std::optional<bool> starts;
  };
  // Whether an attempt is told of a rejection.
  enum class Told { kNo, kYes, kUnclear };

  void OnSubmit();
  void OnOutcome(size_t reader, LeaseOr lease);
  void CheckOutcome(const LeaseOr& lease, absl::Duration deadline, bool late);
  void CheckRejected(const LeaseOr& lease, refreshable::Generation rejected);
  void BackIn();
  refreshable::Generation Choose(Rejects rejects) const;
  Asking Ask(refreshable::Generation rejected) const;
  void CheckAsked(const Asking& asking);
  bool Joins(const Asking& asking) const;
  void ReadAround(const Asking& asking, absl::FunctionRef<void()> read);
  bool AnyRejecting() const;
  void Tell(Told told);
  void Joined(int max_retries);
  void NoteCallback(const refreshable::ManualExecutor::PendingStep& step);
  void RunOrLose(size_t index, bool lose);
  Call TakeCall(size_t index);
  int Retries(const Reader& reader) const {
    return reader.max_retries.value_or(policy_.retry.max_retries);
  }
  // The refresh in flight has failed too often for it; Reset forgets that.
  bool Spent(const Reader& reader) const {
    return failed_ > Retries(reader) && referee_->failures() > 0;
  }
  static bool Waits(const Reader& reader) {
    return reader.ended == 0 && !reader.cancelled;
  }
  void Asked() {
    asked_at_ = Now().since_boot;
    read_at_ = ran_at_ = -absl::InfiniteDuration();
  }
  bool Late() const;
  bool Live(const Call& call) const;
  int Unanswered() const;
  bool MayCall() const;
  int64_t Waiting() const;
  Pending Queue() const;
  std::string Visible(bool late) const;
  void CheckCalls();
  void CheckWaits(const refreshable::Health& health);
  void CheckEnded();
  bool Drive(absl::FunctionRef<bool()> done, absl::Duration deadline);
  bool RunFirst(absl::Duration until);

  const refreshable::RefreshPolicy policy_;
  refreshable::ManualExecutor executor_;
  const std::unique_ptr<Driver> executor_of_token_;
  const std::shared_ptr<Referee> referee_;
  const std::shared_ptr<Source> source_;
  std::function<bool()> driver_;
  std::deque<Call> held_;
  std::deque<Reader> readers_;
  std::vector<absl::Duration> blocked_;
  std::optional<Answer> inside_;
  bool at_end_ = false;  // The source answers at once.
  bool takes_tasks_ = true;
  bool takes_timers_ = true;
  // The read that is being made, if any; whether a task of the executor runs,
  // and has asked for an attempt.
  std::optional<Asking> asking_;
  // CheckAsked has been called for it.
  bool asked_ = false;
  bool in_task_ = false;
  bool task_submitted_ = false;
  // Attempts that were given to the executor and have neither begun nor ended.
  int queued_ = 0;
  // Whether the attempt that is queued, or comes next in its refresh, is told
  // of a rejection; whether the one that runs was; and whether any was.
  Told told_ = Told::kNo;
  bool running_told_ = false;
  bool flight_told_ = false;
  bool lost_task_ = false;  // One was refused or lost, or may have been.
  bool lost_timer_ = false;
  // Of the tasks that were queued, by id.
  std::map<uint64_t, Origin> origins_;
  uint64_t last_noted_ = 0;
  // Who may have joined the refresh in flight. They decide on budget and
  // cooldown.
  std::set<Join> joined_;
  int step_ = 0;       // The one under way.
  int visible_ = 0;    // Calls of the source and outcomes.
  int failed_ = 0;     // Attempts of that refresh.
  bool ends_ = false;  // It has to, its last attempt having failed.
  int discards_ = 0;   // Answers that came to nothing.
  // F6: calls that were made beyond the bound, and when the last call was made.
  int beyond_ = 0;
  absl::Duration last_call_ = -absl::InfiniteDuration();
  // When something last happened to the Refreshable, which finds out what is
  // due and has not run, and, since, the last read and the last task, which may
  // or may not have gone past the published token.
  absl::Duration asked_at_;
  absl::Duration read_at_ = -absl::InfiniteDuration();
  absl::Duration ran_at_ = -absl::InfiniteDuration();
  // A step that can be next says which read it means.
  mutable bool reads_told_apart_ = false;
  int tokens_ = 0;
  int busy_ = 0;
  std::unique_ptr<Token> token_;
  Token* alive_ = nullptr;  // Until its destructor has returned.
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_WORLD_H_
