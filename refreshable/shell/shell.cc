// SPDX-License-Identifier: Apache-2.0

#include "refreshable/shell/shell.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/base/config.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/refresh_error.h"
#include "refreshable/shell/seed.h"
#include "refreshable/shell/shared_policy.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {
namespace {

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

bool AnySet(const ShellConfig::Hooks& hooks) {
  return hooks.observer != nullptr || hooks.classify || hooks.on_published ||
         hooks.same_token || hooks.show_exception_text;
}

// Returns how many generations directly before the current one are known to
// have the same token.
uint32_t EqualBefore(const RefreshMachine& machine) {
  const uint64_t n =
      machine.generation().value() - machine.same_since().value();
  return static_cast<uint32_t>(std::min<uint64_t>(n, UINT32_MAX));
}

}  // namespace

// The task of a submitted attempt. If it is destroyed without having run, the
// attempt is lost.
class Shell::AttemptTask {
 public:
  AttemptTask(RefPtr<Shell> shell, AttemptId id)
      : shell_(std::move(shell)), id_(id) {}
  AttemptTask(AttemptTask&&) noexcept = default;
  ~AttemptTask() {
    if (shell_ != nullptr) shell_->AttemptLost(id_);
  }
  void operator()() && { std::exchange(shell_, nullptr)->RunAttempt(id_); }

 private:
  RefPtr<Shell> shell_;
  AttemptId id_;
};

Shell::Shell(ShellConfig config)
    : executor_(config.executor),
      executor_destroyed_(config.executor->destroyed()),
      cell_(config.executor->clock().CoarseWall()),
      machine_(SharedPolicy(config.policy),
               config.seed.has_value() ? *config.seed : DrawSeed()),
      hooks_(AnySet(config.hooks) ? std::make_shared<const ShellConfig::Hooks>(
                                        std::move(config.hooks))
                                  : nullptr),
      seeded_by_caller_(config.seed.has_value()) {}

Shell::~Shell() = default;

void RefCount<Shell>::Ref(Shell* shell) {
  shell->references_.fetch_add(1, std::memory_order_relaxed);
}

void RefCount<Shell>::Unref(Shell* shell) {
  if (shell->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete shell;
  }
}

// ---- State that an idle instance does not allocate (shell_effects.h) ----

Shell::Active& Shell::active() {
  if (active_ == nullptr) active_ = std::make_unique<Active>();
  return *active_;
}

Shell::Trouble& Shell::trouble() {
  if (trouble_ == nullptr) trouble_ = std::make_unique<Trouble>();
  return *trouble_;
}

void Shell::FreeInactive() {
  if (active_ != nullptr && active_->unused()) active_ = nullptr;
}

// ---- Other calls ----

bool Shell::Invalidate(Generation generation) noexcept {
  bool acted = false;
  AskMachine([&](RefreshMachine& machine, const Instant& now, Decisions& out) {
    acted = machine.OnInvalidate(now, generation, out);
  });
  return acted;
}

absl::StatusOr<Generation> Shell::InstallToken(
    const Expiry& expiry, std::shared_ptr<const void> token) noexcept {
  std::optional<Generation> installed;
  const bool open = AskMachine(
      [&](RefreshMachine& machine, const Instant& now, Decisions& out) {
        if (machine.OnInstall(now, expiry, out)) {
          installed = machine.generation();
        }
      },
      std::move(token));
  if (!open) return Destroyed();
  if (installed.has_value()) return *installed;
  return absl::InvalidArgumentError(
      "Install: the credential has expired already");
}

void Shell::Reset() noexcept {
  AskMachine([](RefreshMachine& machine, const Instant& now, Decisions& out) {
    machine.OnReset(now, out);
  });
}

void Shell::Close() noexcept {
  std::vector<std::shared_ptr<AsyncRead>> orphans;
  std::vector<Garbage> garbage;
  std::shared_ptr<const ShellConfig::Hooks> hooks;
  TimerId timer = TimerId::kNone;
  {
    Section section(this);
    closed_ = true;
    hooks = std::exchange(hooks_, nullptr);
    Replace({}, absl::InfinitePast(), garbage);
    SetWithdrawn({}, garbage);
    if (active_ != nullptr) {
      for (auto& [id, cancelled] : active_->calls) {
        cancelled->store(true, std::memory_order_relaxed);
      }
      active_->events = nullptr;
      orphans = active_->async.All();
      for (auto& waiter : orphans) active_->async.Take(waiter->id_);
      active_->deadlines.clear();
      active_->parked.clear();
      std::vector<std::shared_ptr<BlockedRead>> threads;
      for (auto& [id, waiter] : active_->blocked) {
        waiter->outcome = Destroyed();
        threads.push_back(waiter);
      }
      End(threads);
      for (auto& waiter : threads) waiter->wakeup.Wake();
    }
    Wakeup wakeup;
    while (active_ != nullptr && active_->AnotherInExecutor()) {
      active_->closer = &wakeup;
      mutex_.Unlock();
      wakeup.Wait(absl::InfiniteDuration());
      mutex_.Lock();
    }
    if (active_ != nullptr) active_->closer = nullptr;
    FreeInactive();
    timer = std::exchange(timer_, TimerId::kNone);
  }
  if (timer != TimerId::kNone) executor()->Cancel(timer);
  for (auto& waiter : orphans) {
    std::exchange(waiter, nullptr)->Deliver(Destroyed());
  }
}

// ---- The source ----

// Runs the queued attempt, if there is one. It may be another attempt than
// `id`, because the machine replaces an attempt that is not started in time. If
// each task ran only its own attempt, an executor that is always late would
// never run one.
void Shell::RunAttempt(AttemptId id) noexcept {
  // Must come before OnInput, which may call the observer: a read there must
  // not wait for this attempt.
  const InAttempt in_attempt(this);
  std::optional<AttemptStart> start;
  absl::Duration timeout;
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  OnInput([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                Decisions decisions;
                const AttemptId queued = machine_.queued();
                if (queued != AttemptId::kNone) id = queued;
                start = machine_.OnAttemptStart(now, id, decisions);
                Apply(now, decisions, effects);
                timeout = machine_.policy().attempt_timeout;
                if (!start.has_value()) return;
                active().calls.emplace(id, cancelled);
              });
  if (!start.has_value() || !running(id)) return;
  Fetch(FetchContext(start->reason, start->number, start->rejected, timeout,
                     std::move(cancelled)),
        id);
}

void Shell::Succeed(AttemptId id, const Expiry& expiry,
                    std::optional<Generation> same_as,
                    std::shared_ptr<const void> token) noexcept {
  AskMachine(
      [&](RefreshMachine& machine, const Instant& now, Decisions& out)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
            EraseCall(id);
            machine.OnAttemptSuccess(now, id, expiry, same_as, out);
          },
      std::move(token));
}

void Shell::Fail(AttemptId id, const absl::Status& status) noexcept {
  Failure failure;
  failure.status = status;
  failure.retry_after = GetRetryAfter(status);
  {
    const InAttempt in_attempt(this);
    if (closed()) return;
    const auto hooks = this->hooks();
    RunSwallowing([&] {
      failure.kind = hooks != nullptr && hooks->classify
                         ? hooks->classify(status)
                         : ClassifyFailure(status);
    });
  }
  AskMachine([&](RefreshMachine& machine, const Instant& now, Decisions& out)
                 ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                   EraseCall(id);
                   machine.OnAttemptFailure(now, id, failure, out);
                 });
}

void Shell::FailIfRunning(AttemptId id, const absl::Status& status) noexcept {
  if (running(id)) Fail(id, status);
}

void Shell::AttemptLost(AttemptId id) {
  AskMachine([&](RefreshMachine& machine, const Instant& now, Decisions& out) {
    machine.OnAttemptLost(now, id, out);
  });
}

Shell::InAttempt::InAttempt(Shell* shell) noexcept : shell_(shell) {
  ForkMutexLock lock(&shell_->mutex_);
  AddThisThread(shell_->active().in_attempt);
}

Shell::InAttempt::~InAttempt() {
  ForkMutexLock lock(&shell_->mutex_);
  // In the child of a fork(), ForgetParent may have reset `active_`.
  if (shell_->active_ == nullptr) return;
  RemoveThisThread(shell_->active_->in_attempt);
  shell_->FreeInactive();
}

std::shared_ptr<const ShellConfig::Hooks> Shell::hooks() const {
  ForkMutexLock lock(&mutex_);
  return hooks_;
}

bool Shell::closed() const {
  ForkMutexLock lock(&mutex_);
  return closed_;
}

// Returns whether attempt `id` waits for the source's answer; false after
// Close.
bool Shell::running(AttemptId id) const {
  ForkMutexLock lock(&mutex_);
  return !closed_ && CancelledFlag(id) != nullptr;
}

// Returns null unless attempt `id` waits for the source's answer.
std::atomic<bool>* Shell::CancelledFlag(AttemptId id) const {
  if (active_ == nullptr) return nullptr;
  const auto it = active_->calls.find(id);
  return it != active_->calls.end() ? it->second.get() : nullptr;
}

void Shell::EraseCall(AttemptId id) {
  if (active_ == nullptr) return;
  active_->calls.erase(id);
  FreeInactive();
}

// ---- Decisions ----

void Shell::Apply(const Instant& now, Decisions& decisions, Effects& effects,
                  std::shared_ptr<const void>* token) {
  if (trouble_ != nullptr) {
    trouble_->fails_until_ticks = std::numeric_limits<int64_t>::min();
  }
  for (AttemptId id : decisions.abandon) {
    std::atomic<bool>* const cancelled = CancelledFlag(id);
    if (cancelled != nullptr) cancelled->store(true, std::memory_order_relaxed);
  }
  const absl::Time check_at = CheckAt(now);
  const auto replace =
      [&](Snapshot current) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        Replace(std::move(current), check_at, effects.garbage);
      };
  if (decisions.let_go) replace({});
  if (decisions.withdraw) {
    SetWithdrawn(cell_.Current(), effects.garbage);
    replace({});
  }
  if (decisions.publish) {
    SetWithdrawn({}, effects.garbage);
    replace({std::move(*token), machine_.generation(), machine_.expires_at(),
             EqualBefore(machine_), /*degraded=*/false});
    if (hooks_ != nullptr && hooks_->on_published) {
      effects.hook = [hooks = hooks_, hold = cell_.Take()]() mutable {
        hooks->on_published(std::move(hold));
      };
    }
  }
  if (decisions.republish_degraded) {
    Snapshot snapshot = cell_.Current();
    snapshot.degraded = true;
    replace(std::move(snapshot));
  }
  if (decisions.republish_extended) {
    Snapshot snapshot = cell_.Current();
    snapshot.expires_at = machine_.expires_at();
    snapshot.degraded = false;
    replace(std::move(snapshot));
  }
  cell_.SetCheckAt(check_at);
  const DualDeadline until = machine_.published_until(now);
  cell_.SetUsableUntil(until.wall, until.boot);
  SettleWaiters(decisions, effects);
  if (decisions.submit != AttemptId::kNone) {
    effects.submit = decisions.submit;
    WakeRunner();
  }
  for (Event& event : decisions.events) {
    Count(event);
    if (hooks_ == nullptr || hooks_->observer == nullptr) continue;
    auto& events = active().events;
    if (events == nullptr) events = std::make_unique<std::deque<Event>>();
    events->push_back(std::move(event));
  }
}

// Makes `current` the snapshot that reads get. Adds the previous snapshot to
// `garbage`, which must be destroyed outside the lock.
void Shell::Replace(Snapshot current, absl::Time check_at,
                    std::vector<Garbage>& garbage) {
  garbage.push_back(cell_.Publish(std::move(current), check_at));
}

// Sets `Trouble::withdrawn` to `snapshot`, or to null if that has no token.
// Adds the old value to `garbage`.
void Shell::SetWithdrawn(const Snapshot& snapshot,
                         std::vector<Garbage>& garbage) {
  if (trouble_ != nullptr && trouble_->withdrawn != nullptr) {
    garbage.push_back(std::move(trouble_->withdrawn));
  }
  if (snapshot.token == nullptr) return;
  trouble().withdrawn = std::make_unique<const Snapshot>(snapshot);
}

Snapshot Shell::LastToken() const {
  ForkMutexLock lock(&mutex_);
  Snapshot current = cell_.Current();
  if (current.token != nullptr || trouble_ == nullptr ||
      trouble_->withdrawn == nullptr) {
    return current;
  }
  return *trouble_->withdrawn;
}

absl::Time Shell::CheckAt(const Instant& now) const {
  const DualDeadline edge = machine_.check_at(now);
  return timer_lost_ || edge.Reached(now) ? absl::InfinitePast() : edge.wall;
}

// Returns true only if CarryOut would do nothing.
bool Shell::NothingToDo(const Instant& now, const Effects& effects) const {
  return effects.submit == AttemptId::kNone && !effects.timer_lost &&
         !effects.hook && effects.wake.empty() && effects.deliver.empty() &&
         effects.garbage.empty() &&
         (active_ == nullptr || active_->events == nullptr) && !AnyParked() &&
         !timer_lost_ && (arming_ || WakeAt(now) == armed_for_);
}

// Carries out the effects of one input. The attempt and the timer come first,
// so that user code cannot delay them.
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

// Calls `call`, which uses the executor. Then carries out the effects that this
// thread deferred during the call (see OnInput). A Close on another thread
// waits for `call`. If the Refreshable is closed, does nothing and returns
// false.
bool Shell::UseExecutor(absl::FunctionRef<void()> call) noexcept {
  {
    ForkMutexLock lock(&mutex_);
    if (closed_) return false;
    AddThisThread(active().in_executor);
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

// Notes that this thread has left a method of the executor. Returns the effects
// that this thread has deferred, unless it is still inside another such method.
// The caller must carry the effects out without the lock.
std::vector<Shell::Effects> Shell::LeaveExecutor() {
  if (active_ == nullptr) return {};
  RemoveThisThread(active_->in_executor);
  if (active_->closer != nullptr) active_->closer->Wake();
  std::vector<Effects> deferred;
  if (active_->deferred != nullptr && !InExecutor()) {
    // Leaves the effects of other threads to those threads. Such effects may
    // deliver a read whose ReadAsync is still running on its thread.
    // DeliverHere parks such a read only if it is called on that same thread.
    auto& all = *active_->deferred;
    const auto mine = std::stable_partition(
        all.begin(), all.end(), [](const Effects& effects) {
          return effects.deferred_by != std::this_thread::get_id();
        });
    std::move(mine, all.end(), std::back_inserter(deferred));
    all.erase(mine, all.end());
    if (all.empty()) active_->deferred = nullptr;
  }
  FreeInactive();
  return deferred;
}

void Shell::SubmitAttempt(AttemptId id) {
  UseExecutor([&] {
    if (!executor()->RunBlocking(AttemptTask(RefPtr<Shell>(this), id))) {
      AttemptLost(id);
    }
  });
}

void Shell::TellObserver() {
  ForkMutexLock lock(&mutex_);
  if (active_ == nullptr || active_->teller != std::thread::id()) return;
  while (active_ != nullptr && active_->events != nullptr) {
    active_->teller = std::this_thread::get_id();
    auto& events = active_->events;
    const Event event = std::move(events->front());
    events->pop_front();
    if (events->empty()) events = nullptr;
    auto hooks = hooks_;
    mutex_.Unlock();
    RunSwallowing([&] { hooks->observer->OnEvent(event); });
    hooks = nullptr;
    mutex_.Lock();
  }
  if (active_ != nullptr) active_->teller = std::thread::id();
  FreeInactive();
}

}  // namespace internal
}  // namespace refreshable
