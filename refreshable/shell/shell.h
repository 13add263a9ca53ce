// SPDX-License-Identifier: Apache-2.0
//
// Shell: carries out what the RefreshMachine decides. The part of
// `Refreshable<Token>` that does not depend on Token.

#ifndef REFRESHABLE_SHELL_SHELL_H_
#define REFRESHABLE_SHELL_SHELL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/failure_class.h"
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/health.h"
#include "refreshable/internal/misuse.h"
#include "refreshable/lease.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/observer.h"
#include "refreshable/policy.h"
#include "refreshable/shell/fork_aware.h"
#include "refreshable/shell/snapshot_cell.h"
#include "refreshable/shell/waiters.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {

namespace internal {

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;

struct ShellConfig {
  Executor* executor = nullptr;  // Not null.
  RefreshPolicy policy;
  // Seeds the jitter. If unset, a random seed is drawn, and another one in the
  // child of a fork().
  std::optional<uint64_t> seed;
  // What the user's options contain beside the policy.
  struct Hooks {
    std::shared_ptr<Observer> observer;  // May be null.
    // If null, `ClassifyFailure` is used.
    std::function<FailureClass(const absl::Status&)> classify;
    // Called after each publication; may be null.
    std::function<void(HazardHolder)> on_published;
    // Whether a failure's message contains the text of what the source threw.
    bool show_exception_text = false;
  };
  Hooks hooks;
};

// A list of the threads that are inside some part of the code. A thread that
// has entered several times is listed several times. The first entry needs no
// allocation.
class ThreadIds {
 public:
  void AddThisThread();
  // Removes one entry of this thread, if there is one.
  void RemoveThisThread();
  bool HasThisThread() const;
  bool HasAnotherThread() const;
  void clear() { *this = ThreadIds(); }

 private:
  using Id = std::thread::id;

  Id first_;                                 // One entry, or the default value.
  std::unique_ptr<std::vector<Id>> others_;  // The others; null if none.
};

// Owns the machine, the tokens, the waiters, the timer and the running calls.
// Always owned by shared_ptr. Each queued task, each running call of the
// source, and each call of a method holds a reference, because user code may
// destroy the Refreshable meanwhile.
//
// One mutex guards all state. Each input (such as a read, an answer of the
// source, or the timer) is one critical section: it asks the machine, applies
// the machine's decisions to what the lock guards (including the published
// token), and collects in `Effects` what must happen outside the lock: calls of
// the executor, of observers and callbacks, and the destruction of tokens.
//
// A method that takes the lock, or that sets a flag and resets it later, is
// noexcept: if memory runs out there, the program ends instead of continuing
// with half-changed state (clause E8). User code is called outside such
// methods, or where its exceptions are caught.
class Shell : protected ForkAware, public std::enable_shared_from_this<Shell> {
 public:
  explicit Shell(ShellConfig config);
  virtual ~Shell();

  const SnapshotCell& cell() const { return cell_; }

  // The slow path of a read. Blocks until the published token may be returned,
  // the refresh has failed, or the timeout has passed. `request.deadline` is
  // computed here, from the timeout.
  //
  // If this thread drives the executor (`Executor::DriveUntil`), an exception
  // that escapes a task leaves this function. Nothing else is thrown.
  absl::StatusOr<HazardHolder> Read(ReadRequest request,
                                    absl::Duration timeout);
  // Makes the executor run a task that gives the read's outcome to `read`.
  // Returns the id with which the read can be cancelled; kNone after Close. If
  // `served`, the caller has just been able to load from `cell()` a token that
  // answers the request, so the machine need not be asked.
  WaiterId ReadAsync(const ReadRequest& request,
                     std::shared_ptr<AsyncRead> read, bool served) noexcept;
  absl::StatusOr<HazardHolder> TryRead() noexcept;
  bool Cancel(WaiterId id) noexcept;
  bool Invalidate(Generation generation) noexcept;
  void ReportRejected(Generation generation) noexcept;
  void Reset() noexcept;
  Stats stats() const noexcept;
  Health health() noexcept;
  // Returns the present moment; nullopt after Close, when the executor and its
  // clock may have been destroyed.
  std::optional<Instant> NowUnlessClosed() const noexcept;
  const Clock& clock() const { return executor()->clock(); }
  Instant Now() const { return clock().Now(); }

  // Ends everything (clause E1) but the source, which `TypedShell::Close`
  // drops, perhaps by a task of the executor. Apart from that task, the
  // executor is not used after this returns.
  void Close() noexcept;

 protected:
  // Ends the program if the executor has been destroyed.
  Executor* executor() const {
    if (ABSL_PREDICT_FALSE(
            executor_destroyed_->load(std::memory_order_relaxed))) {
      DieOfMisuse("its executor was destroyed first");
    }
    return executor_;
  }

  // Called when the call of the source for attempt `id` has answered, with a
  // token or with a failure. `same_as` is as in
  // `RefreshMachine::OnAttemptSuccess`.
  void Succeed(AttemptId id, const Expiry& expiry,
               std::optional<Generation> same_as,
               std::shared_ptr<const void> token) noexcept;
  void Fail(AttemptId id, const absl::Status& status) noexcept;
  // Returns a failure that describes what the source threw. Must be called
  // inside a catch block.
  absl::Status DescribeThrown() const;
  // As Fail, but does nothing if the call has already answered.
  void FailIfRunning(AttemptId id, const absl::Status& status) noexcept;
  // Publishes `token`. Returns its generation, or why it was not published.
  absl::StatusOr<Generation> InstallToken(
      const Expiry& expiry, std::shared_ptr<const void> token) noexcept;

  // Returns the token that is published or, without one, the token that was
  // last withdrawn; a null token if there is neither.
  Snapshot LastToken() const;

  // Calls the source and catches its exceptions. Called without the lock.
  virtual void Fetch(const FetchContext& context, AttemptId id) = 0;

  // While this object exists, the calling thread is marked as inside an
  // attempt. A read on that thread must not wait for the attempt, which cannot
  // end meanwhile.
  class InAttempt {
   public:
    explicit InAttempt(Shell* shell) noexcept;
    InAttempt(const InAttempt&) = delete;
    InAttempt& operator=(const InAttempt&) = delete;
    ~InAttempt();

   private:
    Shell* const shell_;
  };

 private:
  using BlockedReads = std::map<uint64_t, std::shared_ptr<BlockedRead>>;
  struct Effects;
  class Section;
  class AttemptTask;
  class TimerTask;
  class DeliverTask;

  // The lock is held during fork(). In the child process, the first Section (a
  // critical section) calls ForgetParent, which forgets what belongs to the
  // parent's threads.
  void AfterForkInChild() override;
  void ForgetParent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  template <typename Handle>
  bool OnInput(Handle handle) noexcept;
  template <typename Decide>
  bool AskMachine(Decide decide,
                  std::shared_ptr<const void> token = nullptr) noexcept;
  void Apply(const Instant& now, Decisions& decisions, Effects& effects,
             std::shared_ptr<const void>* token = nullptr)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Replace(Snapshot current, absl::Time check_at,
               std::vector<Garbage>& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetRejected(const Snapshot& snapshot, std::vector<Garbage>& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleWaiters(const Decisions& decisions, Effects& effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(uint64_t id, PendingRead& waiter, absl::Status outcome,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndReads(const Instant& now, BootTime until, const absl::Status& outcome,
                Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns the wall time from which reads must ask the machine.
  absl::Time CheckAt(const Instant& now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count(const Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::atomic<bool>* CancelledFlag(AttemptId id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EraseCall(AttemptId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NothingToDo(const Instant& now, const Effects& effects) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CarryOut(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool UseExecutor(absl::FunctionRef<void()> call) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<Effects> LeaveExecutor() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SubmitAttempt(AttemptId id);
  void RunAttempt(AttemptId id) noexcept;
  void AttemptLost(AttemptId id);
  void TellObserver();
  bool WakeWaiters(const std::vector<uint64_t>& ids);
  void Dispatch(std::shared_ptr<AsyncRead> read);
  void DeliveryLost(const AsyncRead& read);
  void DeliverHere(uint64_t id);
  void Deliver(AsyncRead& read);
  std::shared_ptr<AsyncRead> Remove(uint64_t id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetOwnCall(uint64_t id, std::thread::id thread)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::optional<absl::StatusOr<HazardHolder>> Ask(
      ReadRequest& request, absl::Duration timeout,
      std::shared_ptr<BlockedRead>& blocked) noexcept;
  void ForgetUnpublished(ReadRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const absl::Status& StatusOf(const ReadFailure& failure)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Await(BlockedRead& read);
  void Drive(BlockedRead& read);
  std::optional<absl::Status> Block(BlockedRead& read) noexcept;
  std::optional<absl::Status> AfterDriving(BlockedRead& read) noexcept;
  bool CanRun(const BlockedRead& read) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Ready(const BlockedRead& read) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const std::vector<std::shared_ptr<BlockedRead>>& reads)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(BlockedRead& read) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Resign(BlockedRead& read) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ElectLeader() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeRunner() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeOverdue(const Instant& now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool closed() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool running(AttemptId id) const ABSL_LOCKS_EXCLUDED(mutex_);

  BootTime WakeAt(const Instant& now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SyncTimer(bool retry) noexcept;
  void OnTimer(uint64_t serial) noexcept;
  void WakeMachine(const Instant& now, Effects& effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTimerLost(uint64_t serial);

  // A server may have very many instances, most of which are idle and have a
  // token. What such an instance does not need is behind a pointer, which is
  // then null.

  // Other threads read the cell at any time, so nothing else in its cache line
  // may be written to often. The 48 bytes before it (members of the base
  // classes, and the first two here) never change, and the 48 after it
  // (`executor_destroyed_` and the beginning of the machine) only with the
  // token or after a failure. Objects are aligned to 16 bytes.
  Executor* const executor_;
  const std::unique_ptr<const ShellConfig::Hooks> hooks_;  // Null if all unset.
  // The cell that reads go through. It is changed under the lock only.
  SnapshotCell cell_;
  const std::shared_ptr<const std::atomic<bool>> executor_destroyed_;
  RefreshMachine machine_ ABSL_GUARDED_BY(mutex_);

  // The token that was withdrawn last; null once another token has been
  // published.
  std::unique_ptr<const Snapshot> rejected_ ABSL_GUARDED_BY(mutex_);
  const int default_retries_;
  const bool seeded_by_caller_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Two of the numbers of `Stats`. All the others are in `other_stats_`, which
  // is null while they are all 0.
  int64_t attempts_started_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t tokens_published_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Stats> other_stats_ ABSL_GUARDED_BY(mutex_);

  // The reads that wait, in two kinds. Their ids rise in the order in which
  // they came.
  BlockedReads blocked_ ABSL_GUARDED_BY(mutex_);
  AsyncReads async_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_waiter_ ABSL_GUARDED_BY(mutex_) = 0;
  // The one blocked thread that looks at the clock every second on behalf of
  // all others, which sleep. Null if no thread waits.
  const BlockedRead* leader_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // The deadline and the id of each async read that has a deadline and has not
  // been dispatched (see `AsyncRead::dispatched_`).
  std::set<std::pair<BootTime, uint64_t>> deadlines_ ABSL_GUARDED_BY(mutex_);
  // Async reads whose callback the executor refused while their own ReadAsync
  // was running. A timer tries again at `parked_until_`.
  std::vector<uint64_t> parked_ ABSL_GUARDED_BY(mutex_);
  BootTime parked_until_ ABSL_GUARDED_BY(mutex_);
  // The last failure that reads were told of, and the error that describes it.
  struct Told;
  std::unique_ptr<Told> told_ ABSL_GUARDED_BY(mutex_);

  // Calls of the source that have not answered, and their cancellation flags.
  using Calls = std::map<AttemptId, std::shared_ptr<std::atomic<bool>>>;
  std::unique_ptr<Calls> calls_ ABSL_GUARDED_BY(mutex_);
  // The threads inside an attempt, which cannot end while they wait; the
  // threads inside a timer's task; and the threads inside a method of the
  // executor.
  ThreadIds in_attempt_ ABSL_GUARDED_BY(mutex_);
  ThreadIds in_timer_ ABSL_GUARDED_BY(mutex_);
  ThreadIds in_executor_ ABSL_GUARDED_BY(mutex_);
  // Wakes Close, which waits until no other thread is inside a method of the
  // executor. Null while Close does not wait.
  Wakeup* closer_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Effects of inputs that came inside a method of the executor. They are
  // carried out when that method has returned.
  std::unique_ptr<std::vector<Effects>> deferred_ ABSL_GUARDED_BY(mutex_);

  // The one timer, see SyncTimer. It is armed for `armed_for_`; infinite if no
  // timer is needed. `timer_serial_` is the number of the timer, by which a
  // superseded one is recognized. `arming_` is true while a thread is arming
  // the timer, and `timer_lost_` if the executor has refused or dropped it.
  TimerId timer_ ABSL_GUARDED_BY(mutex_) = TimerId::kNone;
  BootTime armed_for_ ABSL_GUARDED_BY(mutex_) = BootTime::InfiniteFuture();
  uint64_t timer_serial_ ABSL_GUARDED_BY(mutex_) = 0;
  bool arming_ ABSL_GUARDED_BY(mutex_) = false;
  bool timer_lost_ ABSL_GUARDED_BY(mutex_) = false;

  // Events that the observer has not received yet. One thread at a time,
  // `teller_`, sends them, in order.
  std::unique_ptr<std::deque<Event>> events_ ABSL_GUARDED_BY(mutex_);
  std::thread::id teller_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SHELL_H_
