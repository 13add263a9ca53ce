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
#include "refreshable/executors/internal/steady_cond_var.h"
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
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {

namespace internal {

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;

// Takes the outcome of an asynchronous read and calls the user's callback with
// it.
using AsyncRead = absl::AnyInvocable<void(absl::StatusOr<HazardHolder>)>;

struct ShellConfig {
  Executor* executor = nullptr;  // Not null.
  RefreshPolicy policy;
  // Seeds the jitter. If unset, a random seed is drawn, and another one in the
  // child of a fork().
  std::optional<uint64_t> seed;
  // What the user's options name beside the policy.
  struct Hooks {
    std::shared_ptr<Observer> observer;  // May be null.
    // If null, `ClassifyFailure` is used.
    std::function<FailureClass(const absl::Status&)> classify;
    // Called after each publication; may be null.
    std::function<void(HazardHolder)> on_published;
    bool show_exception_text = false;
  };
  Hooks hooks;
};

// The threads that are inside something; a thread is there several times if it
// has entered several times. Allocates nothing for one thread.
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

  Id first_;  // The default value if there is none.
  std::unique_ptr<std::vector<Id>> others_;  // Null if there are none.
};

// Owns the machine, the tokens, the waiters, the timer and the running calls.
// Always owned by shared_ptr. Each queued task, running call and call of a
// method holds a reference, because user code may destroy the Refreshable
// meanwhile.
//
// One mutex guards all state. Each input is one critical section: ask the
// machine, apply its decisions to what the lock guards (including the published
// token), and collect in `Effects` what must happen outside the lock: calls
// of the executor, of observers and callbacks, and the destruction of tokens.
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
  // the refresh has failed, or the deadline has passed.
  //
  // Throws only exceptions of the caller's own tasks, and only if this thread
  // drives the executor.
  absl::StatusOr<HazardHolder> Read(const ReadRequest& request);
  WaiterId ReadAsync(const ReadRequest& request, AsyncRead read) noexcept;
  absl::StatusOr<HazardHolder> TryRead() noexcept;
  bool Cancel(WaiterId id) noexcept;
  bool Invalidate(Generation generation) noexcept;
  void ReportRejected(Generation generation) noexcept;
  void Reset() noexcept;
  Stats stats() const noexcept;
  Health health() noexcept;
  // Returns the present moment; nullopt after Close, when the clock may be
  // gone.
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

  // The outcomes of a call of the source.
  void Succeed(AttemptId id, const Expiry& expiry,
               std::optional<Generation> same_as,
               std::shared_ptr<const void> token) noexcept;
  void Fail(AttemptId id, const absl::Status& status) noexcept;
  // Returns a failure that describes what the source threw. Must be called
  // inside a catch block.
  absl::Status DescribeThrown() const;
  // As Fail, but does nothing if the call has already ended.
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
  // attempt, so reads on that thread must not wait.
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
  struct Waiter {
    ReadRequest request;
    AsyncRead async;  // Null if a blocked thread waits.
    // `settled`: the refresh has ended for this waiter with `outcome`; if that
    // is OK, the waiter reads again. `done`: a blocked thread may return. (An
    // async read ends when it is delivered.)
    bool settled = false;
    bool done = false;
    // Whether the executor was given a task that delivers the settled async
    // read.
    bool dispatched = false;
    // The thread that is still inside ReadAsync; the callback must not run on
    // it.
    std::thread::id own_call;
    absl::Status outcome;
  };
  using Waiters = std::map<uint64_t, std::shared_ptr<Waiter>>;
  struct Effects;
  class Section;
  class AttemptTask;
  class TimerTask;
  class DeliverTask;

  // The lock is held during fork(). In the child, the first Section forgets
  // what belongs to the parent's threads, none of which exists there.
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
  void Settle(uint64_t id, Waiter& waiter, absl::Status outcome,
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
  void CarryOut(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool UseExecutor(absl::FunctionRef<void()> call) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<Effects> LeaveExecutor() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SubmitAttempt(AttemptId id);
  void RunAttempt(AttemptId id) noexcept;
  void AttemptLost(AttemptId id);
  void TellObserver();
  bool WakeWaiters(const std::vector<uint64_t>& ids);
  void Dispatch(uint64_t id);
  void DeliveryLost(uint64_t id);
  void DeliverHere(uint64_t id);
  void Deliver(uint64_t id);

  struct Wait;
  std::optional<absl::StatusOr<HazardHolder>> Ask(ReadRequest& request,
                                                  Wait& wait) noexcept;
  void ForgetUnpublished(ReadRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Await(const Wait& wait);
  void Drive(const Wait& wait);
  std::optional<absl::Status> Block(const Wait& wait) noexcept;
  std::optional<absl::Status> AfterDriving(const Wait& wait) noexcept;
  bool Ready(const Wait& wait) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveWaiter(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool closed() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool running(AttemptId id) const ABSL_LOCKS_EXCLUDED(mutex_);

  BootTime WakeAt(const Instant& now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SyncTimer(bool retry) noexcept;
  void OnTimer(uint64_t serial) noexcept;
  void WakeMachine(const Instant& now, Effects& effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTimerLost(uint64_t serial);

  // A server may have very many instances, most of which are idle. So what an
  // idle instance with a token does not need is behind a pointer, which is null
  // then.

  // Other threads read the cell at any time, so nothing else in its cache line
  // may be written to often. The 48 bytes before it (members of the base
  // classes, and the first two here) never change, and the 48 after it (the
  // flag's owner and the beginning of the machine) only with the token or after
  // a failure. Objects are aligned to 16 bytes.
  Executor* const executor_;
  const std::unique_ptr<const ShellConfig::Hooks> hooks_;  // Null if all unset.
  // The cell that reads go through. It is changed under the lock only.
  SnapshotCell cell_;
  const std::shared_ptr<const std::atomic<bool>> executor_destroyed_;
  RefreshMachine machine_ ABSL_GUARDED_BY(mutex_);

  // The token that was withdrawn last, unless it has been replaced since.
  std::unique_ptr<const Snapshot> rejected_ ABSL_GUARDED_BY(mutex_);
  const int default_retries_;
  const bool seeded_by_caller_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Two of the numbers of `Stats`, and all others once one of them is not 0.
  int64_t attempts_started_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t tokens_published_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Stats> other_stats_ ABSL_GUARDED_BY(mutex_);

  // Readers. Threads wait on `changed_` for their waiter to be done, or for an
  // attempt that they may run themselves.
  Waiters waiters_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_waiter_ ABSL_GUARDED_BY(mutex_) = 0;
  // The deadline and the id of each async read that has a deadline and has not
  // been dispatched.
  std::set<std::pair<BootTime, uint64_t>> deadlines_ ABSL_GUARDED_BY(mutex_);
  // Async reads whose callback the executor refused while their own ReadAsync
  // was running. A timer tries again at `parked_until_`.
  std::vector<uint64_t> parked_ ABSL_GUARDED_BY(mutex_);
  BootTime parked_until_ ABSL_GUARDED_BY(mutex_);
  executors_internal::SteadyCondVar changed_;

  // Calls of the source that have not answered, and their cancellation flags.
  using Calls = std::map<AttemptId, std::shared_ptr<std::atomic<bool>>>;
  std::unique_ptr<Calls> calls_ ABSL_GUARDED_BY(mutex_);
  // The threads inside an attempt, which cannot end while they wait; the
  // threads inside a timer's task; and the threads inside a method of the
  // executor.
  ThreadIds in_attempt_ ABSL_GUARDED_BY(mutex_);
  ThreadIds in_timer_ ABSL_GUARDED_BY(mutex_);
  ThreadIds in_executor_ ABSL_GUARDED_BY(mutex_);
  // Effects of inputs that came inside a method of the executor.
  std::unique_ptr<std::vector<Effects>> deferred_ ABSL_GUARDED_BY(mutex_);

  // The one timer, see SyncTimer.
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
