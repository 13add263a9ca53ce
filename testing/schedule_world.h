// SPDX-License-Identifier: Apache-2.0
//
// World: a Refreshable with its source, executor and readers, on which the
// steps of the schedule explorer act.

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
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/executors/manual_executor.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/explorer/oracle.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable_testing {
namespace schedule {

class World;

// An answer of the token source to a call.
struct Answer {
  std::string name;
  // Makes the result when the call is answered. If `result` is null, the call
  // is dropped. A new token must come from `World::NewToken`.
  std::function<absl::StatusOr<refreshable::Credential<std::string>>(World&)>
      result;
};

// Returns an answer with a new token that lives for `lifetime` from the start
// of the call.
Answer Succeed(absl::Duration lifetime = absl::Seconds(400));

// Which generation a read rejects (`ReadOptions::rejected`).
enum class Rejects {
  kNone,
  kLast,  // The generation published last, if any.
  kOld,   // The generation before the last, if any.
  kNext,  // The generation after the last, not yet published.
};

// A Refreshable, its source and its executor, in virtual time. Each call of the
// source is held until `AnswerCall`. The world checks at once what the
// Refreshable returns and reports. `Check` checks the Refreshable's state.
//
// The world's source, observer, hook and callbacks call the Refreshable. So the
// program hangs if the Refreshable holds a lock while it calls them. Only the
// thread that made a world may use it.
class World {
 public:
  using Token = refreshable::Refreshable<std::string>;
  using LeaseOr = absl::StatusOr<refreshable::Lease<std::string>>;

  // Requires: the policy is valid. `jitter` counts as 0.
  explicit World(refreshable::RefreshPolicy policy);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  // ---- What a step may do ----

  // The Refreshable must not have been destroyed.
  Token& token() { return *token_; }
  bool destroyed() const { return token_ == nullptr; }
  refreshable::ManualExecutor& executor() { return executor_; }
  const refreshable::ManualExecutor& executor() const { return executor_; }
  refreshable::Instant Now() const { return executor_.clock().Now(); }

  // ReadAsync calls GetAsync. ReadBlocking calls Get, and other steps happen
  // while Get waits. `rejects` says which generation the read rejects.
  void ReadAsync(absl::Duration timeout = absl::InfiniteDuration(),
                 std::optional<int> max_retries = std::nullopt,
                 Rejects rejects = Rejects::kNone);
  void ReadBlocking(absl::Duration timeout, Rejects rejects = Rejects::kNone);
  void ReadNow() { ReadBlocking(absl::ZeroDuration()); }
  // Reports that the generation published last was rejected.
  void ReportRejected();
  // Cancels the `index`-th GetAsync, counted from 0, if it exists. Only
  // schedule::CancelRead may call this.
  void CancelRead(size_t index);
  // Invalidate calls Refreshable::Invalidate with the generation published
  // last, and InvalidateOld with the generation before that.
  void Invalidate();
  void InvalidateOld();
  void Install(absl::Duration lifetime);
  void Reset();
  // Moves both clocks without running what becomes due.
  void Pass(absl::Duration d) { executor_.Suspend(d); }
  void StepWall(absl::Duration d);
  // TakeTasks sets whether the executor accepts tasks, and TakeTimers whether
  // it accepts timers.
  void TakeTasks(bool take);
  void TakeTimers(bool take);
  // RunPending runs the task or timer at `index` of the executor's
  // `PendingSteps()`. LosePending destroys it without running it.
  void RunPending(size_t index);
  void LosePending(size_t index);
  void Destroy();

  // Returns the number of unanswered calls of the source.
  size_t held_calls() const { return held_.size(); }
  // Answers the `index`-th unanswered call, counted from 0, if it exists.
  void AnswerCall(size_t index, const Answer& answer);
  // From now on, the source answers every call with `answer` before Fetch
  // returns. If `answer` is nullopt, calls are held again.
  void AnswerInside(std::optional<Answer> answer) {
    inside_ = std::move(answer);
  }
  // Returns a token that differs from all tokens before it.
  std::string NewToken();

  // Runs everything that is due, in the executor's own order.
  void RunUntilIdle() { AdvanceBy(absl::ZeroDuration()); }
  // Moves both clocks by `d`, and runs everything that becomes due, at its due
  // time.
  void AdvanceBy(absl::Duration d);
  // Makes a read, which the source answers with a new token. Requires: the
  // Refreshable has no token.
  void Hold(absl::Duration lifetime = absl::Seconds(400));

  // Makes the schedule fail with `what` if `holds` is false.
  void Expect(bool holds, absl::string_view what) {
    if (!holds) oracle_->Fail(what);
  }
  const Oracle& oracle() const { return *oracle_; }

  // ---- What the explorer does ----

  // Sets the function that a blocking read calls while it waits. The function
  // makes one step happen, or returns false at the end of the schedule. Without
  // a function, and in CheckRecovers, a waiting read runs tasks and timers in
  // the executor's own order.
  void set_driver(std::function<bool()> driver) { driver_ = std::move(driver); }
  // Returns the deadlines of the blocking reads in progress, the innermost
  // last.
  const std::vector<refreshable::BootTime>& blocked() const { return blocked_; }
  // Returns whether the `index`-th GetAsync exists and has not been cancelled.
  // After `Destroy`, returns false.
  bool cancellable(size_t index) const;

  // Must be called before each step. `step` is the step's label, a number that
  // tells apart the tasks that different steps queue.
  void Begin(int step) { step_ = step; }
  // Records which tasks the last step queued. Must be called before each
  // `Begin`, and at the end of the schedule.
  void Note();

  // Checks everything that can be observed between two steps.
  void Check();
  // Returns all that is known of this world and may affect its future.
  std::string Fingerprint() const;
  // Checks that refreshing recovers from this state. From now on, the source
  // answers every call with a new token, and the executor accepts everything.
  // Calls Reset() if `reset` is true or health() says `fatal`. Otherwise lets
  // time pass until the next attempt may start. The next read must then return
  // a token, and every read must end.
  void CheckRecovers(bool reset);
  // Returns the first failure, or an empty string.
  const std::string& failure() const { return oracle_->failure(); }

 private:
  class Source;
  class Driver;
  struct Call {
    refreshable::FetchDone<std::string> done;
    refreshable::FetchContext context;
    // The epoch in which the answer is accepted (see `Oracle::epoch`).
    int epoch;
    refreshable::Instant start;
    bool forgotten = false;  // Whether it was abandoned before a Reset().
  };
  struct Reader {
    refreshable::BootTime deadline;
    std::optional<int> max_retries;
    refreshable::WaiterId id{};
    // Whether a usable token existed when the read was made. False for a
    // rejecting read (A7).
    bool usable = false;
    // The generation published last when the read was made.
    refreshable::Generation generation;
    // Whether, when GetAsync returned, a token could be served to the read.
    bool served = false;
    // The published generation that the read rejected, or 0.
    refreshable::Generation rejected;
    // Whether the read was a *rejecting read* (A7) when it was made: the token
    // that it rejects was still served to other reads.
    bool rejecting = false;
    // Whether this rejecting read has certainly joined or started an attempt
    // that has not ended.
    bool joins = false;
    // Whether the wall clock was stepped while no token could be served.
    bool was_unservable = false;
    bool calling = true;  // Whether GetAsync has not returned yet.
    bool cancelled = false;
    // Whether a refresh may have ended this read with an error.
    bool may_fail = false;
    // Whether the read may have looked for a token again and joined a later
    // refresh.
    bool may_rejoin = false;
    // Whether the executor lost an attempt while the read waited.
    bool saw_loss = false;
    int saw_failures = 0;  // Attempts that failed while this read waited.
    int ended = 0;
  };
  struct Pending {
    size_t tasks = 0;
    // When the first and the last task were queued.
    refreshable::BootTime first_task = refreshable::BootTime::InfiniteFuture();
    refreshable::BootTime last_task = refreshable::BootTime::InfinitePast();
    // When the first timer is due.
    refreshable::BootTime first_timer = refreshable::BootTime::InfiniteFuture();
  };

  // The label of the step that queued a task, and the task's number among the
  // tasks of that step.
  using Origin = std::pair<int, int>;
  // A read that may have joined the refresh in flight: how many retries the
  // read permits, and where it joined. If it joined in the task that was to run
  // the read's callback, the place is the task's origin. Otherwise the place is
  // `step_` and -1.
  using Join = std::pair<int, Origin>;

  void OnEvent(const refreshable::Event& event);
  void OnFailed(const refreshable::Event& event);
  void OnStarted(const refreshable::Event& event);
  void OnFetch(const refreshable::FetchContext& context,
               refreshable::FetchDone<std::string> done);
  // What is known of a read just before it is made.
  struct ReadPlan {
    // The published generation that the read rejects, or 0.
    refreshable::Generation rejected;
    // Whether the executor accepts everything and no timer can be late.
    bool steady;
    bool refreshing;
    // Whether the read is a rejecting read (A7).
    bool rejects;
    // Whether the read must end at once with an error (B5, A10).
    bool ends;
    // F7: whether a timer may be about to start a refresh without any read.
    bool ahead;
    // Whether the read starts a refresh if none is in flight; nullopt if that
    // is not visible from outside.
    std::optional<bool> starts;
  };
  // Whether an attempt is told of a rejection; kUnclear if that is not visible
  // from outside.
  enum class Told { kNo, kYes, kUnclear };

  void OnSubmit();
  void OnOutcome(size_t reader, LeaseOr lease);
  void CheckOutcome(const LeaseOr& lease, refreshable::BootTime deadline,
                    bool late);
  void CheckRejected(const LeaseOr& lease, refreshable::Generation rejected);
  void BackIn();
  refreshable::Generation Choose(Rejects rejects) const;
  ReadPlan Plan(refreshable::Generation rejected) const;
  void CheckPlan(const ReadPlan& plan);
  bool Joins(const ReadPlan& plan) const;
  void ReadAround(const ReadPlan& plan, absl::FunctionRef<void()> read);
  bool AnyRejecting() const;
  void Tell(Told told);
  void Joined(int max_retries);
  void NoteCallback(const refreshable::ManualExecutor::PendingStep& step);
  void RunOrLose(size_t index, bool lose);
  Call TakeCall(size_t index);
  int Retries(const Reader& reader) const {
    return reader.max_retries.value_or(policy_.retry.max_retries);
  }
  // Returns whether the refresh in flight has failed more often than `reader`
  // permits. After a Reset(), returns false until the next failure.
  bool Spent(const Reader& reader) const {
    return failed_ > Retries(reader) && oracle_->failures() > 0;
  }
  static bool Waits(const Reader& reader) {
    return reader.ended == 0 && !reader.cancelled;
  }
  // Records that the Refreshable now handles everything that is overdue.
  void NoteHandled() {
    handled_at_ = Now().boot;
    read_at_ = ran_at_ = refreshable::BootTime::InfinitePast();
  }
  // Returns whether a timer may be late: a timer is due, was lost, or may have
  // been refused.
  bool Late() const;
  // Returns whether the Refreshable still waits for the answer to `call`.
  bool Live(const Call& call) const;
  int Unanswered() const;
  bool MayCall() const;
  int64_t Waiting() const;
  Pending Queue() const;
  std::string Visible(bool late) const;
  void CheckCalls();
  void CheckWaits(const refreshable::Health& health);
  void CheckEnded();
  bool Drive(absl::FunctionRef<bool()> done, refreshable::BootTime deadline);
  bool RunFirst(refreshable::BootTime until);

  const refreshable::RefreshPolicy policy_;
  refreshable::ManualExecutor executor_;
  const std::unique_ptr<Driver> executor_of_token_;
  const std::shared_ptr<Oracle> oracle_;
  const std::shared_ptr<Source> source_;
  std::function<bool()> driver_;
  std::deque<Call> held_;
  std::deque<Reader> readers_;
  std::vector<refreshable::BootTime> blocked_;
  std::optional<Answer> inside_;
  // Whether CheckRecovers has begun.
  bool at_end_ = false;
  bool takes_tasks_ = true;
  bool takes_timers_ = true;
  // The read that is being made, if any.
  std::optional<ReadPlan> plan_;
  bool plan_checked_ = false;
  bool in_task_ = false;
  // Whether the running task has given an attempt to the executor.
  bool task_submitted_ = false;
  // The number of queued attempts. An attempt counts until it calls the source,
  // is lost, or its refresh ends.
  int queued_ = 0;
  // Whether the queued or next attempt is told of a rejection.
  Told told_ = Told::kNo;
  // Whether the running attempt was told of a rejection.
  bool running_told_ = false;
  // Whether any attempt of the refresh in flight may have been told of a
  // rejection.
  bool flight_told_ = false;
  bool lost_task_ = false;   // A task was lost, or may have been refused.
  bool lost_timer_ = false;  // A timer was lost, or may have been refused.
  // The origin of each queued task, by the task's id.
  std::map<uint64_t, Origin> origins_;
  uint64_t last_noted_ = 0;
  // The reads that may have joined the refresh in flight. These reads determine
  // how many retries the refresh has, and whether a cooldown follows.
  std::set<Join> joined_;
  int step_ = 0;       // The label of the step in progress.
  int visible_ = 0;    // The number of source calls and read callbacks.
  int failed_ = 0;     // How often the refresh in flight has failed.
  bool ends_ = false;  // Whether the last failure must end the refresh.
  int discards_ = 0;   // Answers that had to be discarded.
  // F6: the number of calls made while at least `max_abandoned_calls` abandoned
  // calls were unanswered. Reset() sets this number to 0, and so does the
  // answer to a call that is not `forgotten`.
  int beyond_ = 0;
  refreshable::BootTime last_call_ = refreshable::BootTime::InfinitePast();
  // `handled_at_` is when the Refreshable last handled everything that was
  // overdue. A read or a task may leave something overdue. `read_at_` and
  // `ran_at_` are the times of the last read and the last task since
  // `handled_at_`.
  refreshable::BootTime handled_at_;
  refreshable::BootTime read_at_ = refreshable::BootTime::InfinitePast();
  refreshable::BootTime ran_at_ = refreshable::BootTime::InfinitePast();
  // Whether `Fingerprint` must tell the reads apart, because CancelRead may be
  // the next step.
  mutable bool reads_told_apart_ = false;
  int tokens_ = 0;
  int busy_ = 0;
  std::unique_ptr<Token> token_;
  Token* alive_ = nullptr;  // Null once the destructor of `*token_` returned.
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCHEDULE_WORLD_H_
