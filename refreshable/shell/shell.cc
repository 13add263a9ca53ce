// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/shell.h"

#include <algorithm>
#include <exception>
#include <string>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/seed.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {
namespace {

// Runs a user's function and ignores its exceptions.
template <typename Function>
void RunSwallowing(Function&& function) {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    function();
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
#else
  function();
#endif
}

}  // namespace

// A submitted attempt. If it is destroyed without having run, it was lost.
class Shell::AttemptTask {
 public:
  AttemptTask(std::shared_ptr<Shell> shell, AttemptId id)
      : shell_(std::move(shell)), id_(id) {}
  AttemptTask(AttemptTask&&) noexcept = default;
  ~AttemptTask() {
    if (shell_ != nullptr) shell_->AttemptLost(id_);
  }
  void operator()() && { std::exchange(shell_, nullptr)->RunAttempt(id_); }

 private:
  std::shared_ptr<Shell> shell_;
  AttemptId id_;
};

// The armed timer. If it has not run when it is destroyed, it may be lost.
class Shell::TimerTask {
 public:
  TimerTask(std::shared_ptr<Shell> shell, uint64_t serial)
      : shell_(std::move(shell)), serial_(serial) {}
  TimerTask(TimerTask&&) noexcept = default;
  ~TimerTask() {
    if (shell_ != nullptr) shell_->OnTimerLost(serial_);
  }
  void operator()() && { std::exchange(shell_, nullptr)->OnTimer(serial_); }

 private:
  std::shared_ptr<Shell> shell_;
  uint64_t serial_;
};

Shell::Shell(ShellConfig config)
    : executor_(config.executor),
      executor_destroyed_(config.executor->destroyed()),
      observer_(std::move(config.observer)),
      classify_(std::move(config.classify)),
      show_exception_text_(config.show_exception_text),
      attempt_timeout_(config.policy.attempt_timeout),
      default_retries_(config.policy.retry.max_retries),
      seeded_by_caller_(config.seed.has_value()),
      machine_(config.policy, seeded_by_caller_ ? *config.seed : DrawSeed()) {}

Shell::~Shell() = default;

// ---- Other calls ----

bool Shell::Invalidate(Generation generation) noexcept {
  bool acted = false;
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                acted = machine_.OnInvalidate(now, generation, decisions);
                Apply(now, decisions, nullptr, effects);
              });
  return acted;
}

absl::Status Shell::InstallToken(const Expiry& expiry,
                                 PublishFn publish) noexcept {
  bool installed = false;
  const bool open =
      OnEvent([&](const Instant& now, Effects& effects)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                    Decisions decisions;
                    installed = machine_.OnInstall(now, expiry, decisions);
                    Apply(now, decisions, &publish, effects);
                  });
  if (!open) return Destroyed();
  if (installed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "Install: the credential has expired already");
}

void Shell::Reset() noexcept {
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                machine_.OnReset(now, decisions);
                Apply(now, decisions, nullptr, effects);
              });
}

Stats Shell::stats() const noexcept {
  ForkMutexLock lock(&mutex_);
  return stats_;
}

Health Shell::health() noexcept {
  ForkMutexLock lock(&mutex_);
  if (forked_) ForgetParent();
  const Instant now = Now();
  Health health;
  health.freshness = machine_.freshness(now);
  health.generation = machine_.generation();
  health.expires_at = machine_.expires_at();
  health.rejected = machine_.current_rejected();
  health.refreshing = machine_.refreshing();
  health.failures = machine_.failures();
  health.last_cause = machine_.last_cause();
  health.exhausted = machine_.exhausted(now);
  health.fatal = machine_.fatal(now);
  health.next_attempt = ToWall(now, machine_.next_start(now));
  health.waiters = static_cast<int64_t>(waiters_.size());
  return health;
}

void Shell::Close() noexcept {
  std::vector<std::shared_ptr<Waiter>> orphans;
  Garbage garbage;
  TimerId timer = TimerId::kNone;
  {
    ForkMutexLock lock(&mutex_);
    if (forked_) ForgetParent();
    closed_ = true;
    garbage = Clear();
    for (auto& [id, cancelled] : calls_) {
      cancelled->store(true, std::memory_order_relaxed);
    }
    for (auto& [id, waiter] : waiters_) {
      waiter->done = true;
      waiter->outcome = Destroyed();
      if (waiter->async != nullptr) orphans.push_back(waiter);
    }
    waiters_.clear();
    deadlines_.clear();
    parked_.clear();
    events_.clear();
    changed_.SignalAll();
    const std::thread::id self = std::this_thread::get_id();
    while (std::any_of(in_executor_.begin(), in_executor_.end(),
                       [&](std::thread::id id) { return id != self; })) {
      changed_.Wait(&mutex_);
    }
    timer = std::exchange(timer_, TimerId::kNone);
  }
  if (timer != TimerId::kNone) executor()->Cancel(timer);
  for (auto& waiter : orphans) waiter->async->Finish(Destroyed());
}

// ---- The source ----

// Runs the attempt that is queued, which may be a later one than `id`:
// otherwise an executor that is always late would never make an attempt.
void Shell::RunAttempt(AttemptId id) noexcept {
  // Before any event is sent: the observer must not wait for this attempt.
  const InAttempt in_attempt(this);
  std::optional<AttemptStart> start;
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                const AttemptId queued = machine_.queued();
                if (queued != AttemptId::kNone) id = queued;
                start = machine_.OnAttemptStart(now, id, decisions);
                Apply(now, decisions, nullptr, effects);
                if (start.has_value()) calls_.emplace(id, cancelled);
              });
  if (!start.has_value() || !running(id)) return;
  Fetch(FetchContext(start->reason, start->number, start->rejected,
                     attempt_timeout_, std::move(cancelled)),
        id);
}

void Shell::Succeed(AttemptId id, const Expiry& expiry,
                    std::optional<Generation> same_as,
                    PublishFn publish) noexcept {
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                calls_.erase(id);
                machine_.OnAttemptSuccess(now, id, expiry, same_as, decisions);
                Apply(now, decisions, &publish, effects);
              });
}

void Shell::Fail(AttemptId id, const absl::Status& status) noexcept {
  Failure failure;
  failure.status = status;
  failure.retry_after = GetRetryAfter(status);
  {
    const InAttempt in_attempt(this);
    if (closed()) return;
    RunSwallowing([&] { failure.kind = classify_(status); });
  }
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                calls_.erase(id);
                machine_.OnAttemptFailure(now, id, failure, decisions);
                Apply(now, decisions, nullptr, effects);
              });
}

void Shell::FailIfRunning(AttemptId id, const absl::Status& status) noexcept {
  if (running(id)) Fail(id, status);
}

void Shell::AttemptLost(AttemptId id) {
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                machine_.OnAttemptLost(now, id, decisions);
                Apply(now, decisions, nullptr, effects);
              });
}

Shell::InAttempt::InAttempt(Shell* shell) noexcept : shell_(shell) {
  ForkMutexLock lock(&shell_->mutex_);
  AddThisThread(shell_->in_attempt_);
}

Shell::InAttempt::~InAttempt() {
  ForkMutexLock lock(&shell_->mutex_);
  RemoveThisThread(shell_->in_attempt_);
}

bool Shell::closed() const {
  ForkMutexLock lock(&mutex_);
  return closed_;
}

// Whether the source is about to be called or has not answered.
bool Shell::running(AttemptId id) const {
  ForkMutexLock lock(&mutex_);
  return !closed_ && calls_.find(id) != calls_.end();
}

// ---- Decisions ----

void Shell::Apply(const Instant& now, Decisions& decisions, PublishFn* publish,
                  Effects& effects) {
  for (AttemptId id : decisions.abandon) {
    const auto it = calls_.find(id);
    if (it != calls_.end()) it->second->store(true, std::memory_order_relaxed);
  }
  if (decisions.let_go) effects.garbage.push_back(LetGo());
  if (decisions.withdraw) effects.garbage.push_back(Withdraw());
  const absl::Time check_at = CheckAt(now);
  if (decisions.publish) {
    Publication publication =
        (*publish)({machine_.generation(), machine_.same_since(),
                    machine_.expires_at(), check_at});
    effects.garbage.push_back(std::move(publication.superseded));
    effects.hook = std::move(publication.hook);
  }
  if (decisions.republish_degraded) {
    effects.garbage.push_back(RepublishDegraded(check_at));
  }
  if (decisions.republish_extended) {
    effects.garbage.push_back(
        RepublishExtended(machine_.expires_at(), check_at));
  }
  SetCheckAt(check_at);
  SettleWaiters(decisions, effects);
  if (decisions.submit != AttemptId::kNone) {
    effects.submit = decisions.submit;
    changed_.SignalAll();  // A blocked executor thread may run it.
  }
  for (Event& event : decisions.events) {
    Count(event);
    if (observer_ != nullptr) events_.push_back(std::move(event));
  }
}

absl::Time Shell::CheckAt(const Instant& now) const {
  const DualDeadline edge = machine_.check_at(now);
  return timer_lost_ || edge.Reached(now) ? absl::InfinitePast() : edge.wall;
}

void Shell::Count(const Event& event) {
  switch (event.kind) {
    case EventKind::kAttemptStarted:
      ++stats_.attempts_started;
      break;
    case EventKind::kAttemptFailed:
      ++stats_.attempts_failed;
      break;
    case EventKind::kAttemptAbandoned:
      ++stats_.attempts_abandoned;
      break;
    case EventKind::kAttemptDiscarded:
      ++stats_.attempts_discarded;
      break;
    case EventKind::kTokenPublished:
      ++stats_.tokens_published;
      break;
    case EventKind::kTokenInvalidated:
      ++stats_.tokens_invalidated;
      break;
    case EventKind::kTokenRejected:
      ++stats_.tokens_rejected;
      break;
    case EventKind::kTokenUnchanged:
      ++stats_.tokens_unchanged;
      break;
    default:
      break;
  }
}

// Uses the executor first, so that user code cannot delay that.
void Shell::CarryOut(Effects& effects) noexcept {
  if (effects.submit != AttemptId::kNone) SubmitAttempt(effects.submit);
  SyncTimer(/*retry=*/!effects.timer_lost);
  TellObserver();
  // The observer may have destroyed the Refreshable.
  if (effects.hook && !closed()) RunSwallowing(effects.hook);
  effects.hook = nullptr;
  if (WakeWaiters(effects.wake)) SyncTimer(/*retry=*/false);
  for (uint64_t id : effects.deliver) DeliverHere(id);
  effects.garbage.clear();
}

// Runs `call`, which uses the executor. If the Refreshable is closed, does
// nothing and returns false. Close waits for threads that are inside `call`.
bool Shell::UseExecutor(absl::FunctionRef<void()> call) noexcept {
  {
    ForkMutexLock lock(&mutex_);
    if (closed_) return false;
    AddThisThread(in_executor_);
  }
  call();
  std::vector<Effects> deferred;
  {
    ForkMutexLock lock(&mutex_);
    deferred = LeaveExecutor();
  }
  for (Effects& effects : deferred) CarryOut(effects);
  return true;
}

// Returns the effects that the caller must carry out.
std::vector<Shell::Effects> Shell::LeaveExecutor() {
  RemoveThisThread(in_executor_);
  if (closed_) changed_.SignalAll();
  if (HasThisThread(in_executor_)) return {};
  return std::exchange(deferred_, {});
}

void Shell::SubmitAttempt(AttemptId id) {
  UseExecutor([&] {
    if (!executor()->RunBlocking(AttemptTask(shared_from_this(), id))) {
      AttemptLost(id);
    }
  });
}

void Shell::TellObserver() {
  ForkMutexLock lock(&mutex_);
  if (teller_ != std::thread::id()) return;
  teller_ = std::this_thread::get_id();
  while (!events_.empty()) {
    const Event event = std::move(events_.front());
    events_.pop_front();
    mutex_.Unlock();
    RunSwallowing([&] { observer_->OnEvent(event); });
    mutex_.Lock();
  }
  teller_ = std::thread::id();
}

// ---- Time ----

// One timer serves the machine, async reads' deadlines and refused callbacks.
BootTime Shell::WakeAt(const Instant& now) const {
  BootTime at = machine_.wake_at(now);
  if (!deadlines_.empty()) at = std::min(at, deadlines_.begin()->first);
  if (!parked_.empty()) at = std::min(at, parked_until_);
  return at;
}

// Arms the timer for WakeAt. Only one thread at a time does so, outside the
// lock, and repeats it until nothing has changed meanwhile. If `retry` is set,
// arms a lost timer again, once.
void Shell::SyncTimer(bool retry) noexcept {
  std::vector<Effects> deferred;
  {
    ForkMutexLock lock(&mutex_);
    if (arming_) return;
    arming_ = true;
    while (!closed_) {
      const Instant now = Now();
      const BootTime at = WakeAt(now);
      const bool lost = timer_lost_;
      // Re-arm a lost timer in any case if someone depends on it.
      const bool again =
          lost && (retry || machine_.waiting() || !deadlines_.empty());
      if (at == armed_for_ && !again) break;
      // A timer that is already due will run shortly and handle everything, so
      // do not replace it.
      const bool due = timer_ != TimerId::kNone && armed_for_ <= now.boot;
      if (due && !timer_lost_) break;
      armed_for_ = at;
      timer_lost_ = retry = false;
      const uint64_t serial = ++timer_serial_;
      const TimerId old = std::exchange(timer_, TimerId::kNone);
      AddThisThread(in_executor_);
      mutex_.Unlock();
      TimerId timer = TimerId::kNone;
      if (old != TimerId::kNone) executor()->Cancel(old);
      if (at < BootTime::InfiniteFuture()) {
        timer = executor()->RunAfter(at - now.boot,
                                     TimerTask(shared_from_this(), serial));
        if (timer == TimerId::kNone) OnTimerLost(serial);
      }
      mutex_.Lock();
      timer_ = timer;
      // Reads need not consult the machine every time any longer.
      if (lost && !timer_lost_ && !closed_) SetCheckAt(CheckAt(Now()));
      for (Effects& effects : LeaveExecutor()) {
        deferred.push_back(std::move(effects));
      }
    }
    arming_ = false;
  }
  for (Effects& effects : deferred) CarryOut(effects);
}

void Shell::OnTimer(uint64_t serial) noexcept {
  {
    ForkMutexLock lock(&mutex_);
    AddThisThread(in_timer_);
  }
  OnEvent([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                if (serial != timer_serial_) return;
                timer_ = TimerId::kNone;
                WakeMachine(now, effects);
                EndReads(now, now.boot, DeadlineExceeded(), effects);
              });
  ForkMutexLock lock(&mutex_);
  RemoveThisThread(in_timer_);
}

void Shell::WakeMachine(const Instant& now, Effects& effects) {
  armed_for_ = BootTime::InfiniteFuture();
  Decisions decisions;
  machine_.OnWake(now, decisions);
  Apply(now, decisions, nullptr, effects);
}

// No timer will call OnWake. Until one can be armed, which every event tries,
// each read must consult the machine, and nothing may wait for time to pass.
void Shell::OnTimerLost(uint64_t serial) {
  OnEvent([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    effects.timer_lost = true;
    if (serial != timer_serial_ || timer_lost_) return;
    timer_lost_ = true;
    Decisions decisions;
    machine_.OnWakeLost(now, decisions);
    Apply(now, decisions, nullptr, effects);
    EndReads(now, BootTime::InfiniteFuture(),
             absl::UnavailableError(
                 "the executor refused the timer for the read's timeout"),
             effects);
  });
}

}  // namespace internal
}  // namespace refreshable
