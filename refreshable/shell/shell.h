// SPDX-License-Identifier: Apache-2.0
//
// Shell: the part of `Refreshable<Token>` that does not depend on Token.

#ifndef REFRESHABLE_SHELL_SHELL_H_
#define REFRESHABLE_SHELL_SHELL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
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
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/lease.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/observer.h"
#include "refreshable/policy.h"
#include "refreshable/shell/fork_aware.h"
#include "refreshable/shell/snapshot_cell.h"
#include "refreshable/shell/thread_ids.h"
#include "refreshable/shell/waiters.h"
#include "refreshable/token_source.h"
#include "refreshable/waiter_id.h"

namespace refreshable {

namespace internal {

using executors_internal::ForkMutex;
using executors_internal::ForkMutexLock;

struct ShellConfig {
  Executor* executor = nullptr;  // Must be set.
  RefreshPolicy policy;
  // Seeds the jitter. If unset, the Shell draws a seed, and another seed in the
  // child of a fork().
  std::optional<uint64_t> seed;
  struct Hooks {
    std::shared_ptr<Observer> observer;  // May be null.
    // If null, `ClassifyFailure` is used.
    std::function<FailureClass(const absl::Status&)> classify;
    // Called with each token that is published under a new generation; may be
    // null.
    std::function<void(HazardHolder)> on_published;
    // Compares the tokens that its arguments point to; may be null.
    std::function<bool(const void*, const void*)> same_token;
    // Whether the error of a source that threw contains the exception's text.
    bool show_exception_text = false;
  };
  Hooks hooks;
};

// Carries out what the RefreshMachine decides. Owns the machine, the tokens,
// the waiters and the timer.
//
// Always owned by RefPtr. Whatever may use a Shell after its Refreshable has
// been destroyed holds a reference: queued tasks, unanswered calls of the
// source, unfinished CallWithTokenAsyncs, threads that wait, and methods of
// Refreshable that use the Shell after running user code.
//
// One mutex guards the state. Each input of the machine is handled in one
// critical section, which also applies the machine's decisions to the guarded
// state. `Effects` (shell_effects.h) collects what must happen outside the
// lock: calls of the executor, of observers and of callbacks, and the
// destruction of tokens.
//
// The state is *half changed* in a critical section, and while a flag such as
// `arming_` is set. If memory runs out then, the program must end (clause E8).
// So each method that may allocate memory in a half changed state is noexcept,
// or is called only by noexcept methods. User code is called only when the
// state is not half changed, or where exceptions are caught.
class Shell : protected ForkAware {
 public:
  explicit Shell(ShellConfig config);
  virtual ~Shell();

  const SnapshotCell& cell() const { return cell_; }

  // The slow path of a read whose thread may block. Computes the deadline from
  // `timeout`, and ignores `request.deadline`. If this thread drives the
  // executor (`Executor::DriveUntil`), exceptions of the tasks that it runs
  // leave this function. Nothing else is thrown.
  absl::StatusOr<HazardHolder> Read(ReadRequest request,
                                    absl::Duration timeout);
  // Registers `read`, which a task of the executor usually delivers. Returns
  // the id for Cancel. After Close, registers nothing and returns kNone.
  // `served` says whether `cell()` has just answered `request`. If so, the
  // machine need not be asked.
  WaiterId ReadAsync(const ReadRequest& request,
                     std::shared_ptr<AsyncRead> read, bool served) noexcept;
  absl::StatusOr<HazardHolder> TryRead() noexcept;
  bool Cancel(WaiterId id) noexcept;
  bool Invalidate(Generation generation) noexcept;
  void ReportRejected(Generation generation) noexcept;
  void Reset() noexcept;
  Stats stats() const noexcept;
  Health health() noexcept;
  // Returns nullopt after Close, because the clock may have been destroyed.
  std::optional<Instant> NowUnlessClosed() const noexcept;
  const Clock& clock() const { return executor()->clock(); }
  Instant Now() const { return clock().Now(); }

  // Ends all reads with CANCELLED, and does everything else that clause E1
  // requires of Refreshable's destructor. `TypedShell::Close` then drops the
  // source. Afterwards, the executor is used only by a thread that drives it
  // (see Drive).
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

  // Succeed and Fail handle the source's answer to attempt `id`. If `token`
  // equals LastToken(), `same_as` must be that token's generation; otherwise
  // nullopt.
  void Succeed(AttemptId id, const Expiry& expiry,
               std::optional<Generation> same_as,
               std::shared_ptr<const void> token) noexcept;
  void Fail(AttemptId id, const absl::Status& status) noexcept;
  // Returns an error that describes the exception that the source threw. Must
  // be called inside the catch block of that exception.
  absl::Status DescribeThrown() const;
  // Like Fail, but does nothing after Close, or if the source has already
  // answered attempt `id`.
  void FailIfRunning(AttemptId id, const absl::Status& status) noexcept;
  // Publishes a token that the user installs, and returns its generation.
  absl::StatusOr<Generation> InstallToken(
      const Expiry& expiry, std::shared_ptr<const void> token) noexcept;

  // Returns the published token; or else the token withdrawn since the last
  // publication; or else a Snapshot without a token.
  Snapshot LastToken() const;

  // Returns a copy of `hooks_`. A thread that calls a hook must hold the copy,
  // because Close resets `hooks_`.
  std::shared_ptr<const ShellConfig::Hooks> hooks() const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Calls the source and catches its exceptions. Called without the lock.
  virtual void Fetch(const FetchContext& context, AttemptId id) = 0;

  // While an InAttempt exists, its thread is marked as inside an attempt. A
  // read on that thread must not wait, because the attempt cannot end while
  // the thread waits.
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
  friend struct RefCount<Shell>;

  using BlockedReads = std::map<uint64_t, std::shared_ptr<BlockedRead>>;
  struct Effects;
  class Section;
  class AttemptTask;
  class TimerTask;
  class DeliverTask;
  struct Active;
  struct Trouble;

  // In the child of a fork(), AfterForkInChild makes reads take the lock. The
  // first Section (a holder of the lock) then calls ForgetParent, which forgets
  // what belongs to the parent's threads.
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
  void SetWithdrawn(const Snapshot& snapshot, std::vector<Garbage>& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleWaiters(const Decisions& decisions, Effects& effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(uint64_t id, PendingRead& waiter, absl::Status outcome,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndReads(const Instant& now, BootTime until, const absl::Status& outcome,
                Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns the wall time from which reads must ask the machine. The infinite
  // past means now.
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
  std::shared_ptr<AsyncRead> FindAsync(uint64_t id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AnyParked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AnyDeadline() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns whether this thread is inside a method of the executor.
  bool InExecutor() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // These return what `active_` and `trouble_` point to, and create it if
  // necessary.
  Active& active() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Trouble& trouble() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Frees what `active_` points to if nothing is recorded there.
  void FreeInactive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::optional<absl::StatusOr<HazardHolder>> Ask(
      ReadRequest& request, absl::Duration timeout,
      std::shared_ptr<BlockedRead>& blocked) noexcept;
  void ForgetUnpublished(ReadRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<absl::StatusOr<HazardHolder>> OutcomeOf(
      RefreshMachine::ReadAnswer answer, const Decisions& decisions)
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

  // A program may have very many instances, most of them idle. Members that an
  // idle instance does not need are behind pointers, which are usually null.

  // Reads load the first 16 bytes of `cell_` without the lock. A Shell is
  // aligned to 16 bytes, not to the 64 bytes of a cache line. So the 48 bytes
  // before these bytes, or the 48 bytes after them, may be in the same line. A
  // write to that line slows the reads, so such writes must be rare. The
  // members before `cell_`, and the members of ForkAware, never change, except
  // that `trouble_` is set once. The rest of `cell_` and the beginning of
  // `machine_` change only with the token and when jitter is drawn.
  Executor* const executor_;
  const std::shared_ptr<const std::atomic<bool>> executor_destroyed_;
  // Most statistics, the withdrawn token and the last error. Null until one of
  // these must be recorded.
  std::unique_ptr<Trouble> trouble_ ABSL_GUARDED_BY(mutex_);
  // Changed only under the lock.
  SnapshotCell cell_;
  RefreshMachine machine_ ABSL_GUARDED_BY(mutex_);
  // Null if none of its members is set, and after Close.
  std::shared_ptr<const ShellConfig::Hooks> hooks_ ABSL_GUARDED_BY(mutex_);

  int64_t attempts_started_ ABSL_GUARDED_BY(mutex_) = 0;

  // What is going on at the moment, such as reads that wait and calls of the
  // source. Null if nothing is going on. Exception: not null while the table of
  // async reads keeps its memory (`AsyncReads::kKept`).
  std::unique_ptr<Active> active_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_waiter_ ABSL_GUARDED_BY(mutex_) = 0;

  // The one timer (see SyncTimer).
  TimerId timer_ ABSL_GUARDED_BY(mutex_) = TimerId::kNone;
  // The moment for which the timer was last armed. The infinite future if no
  // timer is needed, or if OnWake has been called since then.
  BootTime armed_for_ ABSL_GUARDED_BY(mutex_) = BootTime::InfiniteFuture();
  // By this number, the task of a superseded timer is recognized.
  uint64_t timer_serial_ ABSL_GUARDED_BY(mutex_) = 0;
  bool arming_ ABSL_GUARDED_BY(mutex_) = false;
  // Whether the executor has refused or dropped the timer, and no later timer
  // was armed.
  bool timer_lost_ ABSL_GUARDED_BY(mutex_) = false;

  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  const bool seeded_by_caller_;

  std::atomic<int32_t> references_{0};  // See RefPtr.
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_SHELL_H_
