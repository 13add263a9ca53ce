// SPDX-License-Identifier: Apache-2.0
//
// The Shell's timer.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/executor.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/shell_effects.h"

namespace refreshable {
namespace internal {

// The task of the armed timer. If it is destroyed without having run, the timer
// is lost.
class Shell::TimerTask {
 public:
  TimerTask(RefPtr<Shell> shell, uint64_t serial)
      : shell_(std::move(shell)), serial_(serial) {}
  TimerTask(TimerTask&&) noexcept = default;
  ~TimerTask() {
    if (shell_ != nullptr) shell_->OnTimerLost(serial_);
  }
  void operator()() && { std::exchange(shell_, nullptr)->OnTimer(serial_); }

 private:
  RefPtr<Shell> shell_;
  uint64_t serial_;
};

BootTime Shell::WakeAt(const Instant& now) const {
  BootTime at = machine_.wake_at(now);
  if (AnyDeadline()) at = std::min(at, active_->deadlines.begin()->first);
  if (AnyParked()) at = std::min(at, active_->parked_until);
  return at;
}

// Arms the timer for the moment that WakeAt returns. That moment may change
// while the executor is called without the lock; the timer is then armed again.
// If another call of SyncTimer is in progress, returns at once.
//
// A timer is *lost* if the executor has refused or dropped it. If `retry` is
// true, this call arms a lost timer again, but only once. A lost timer is also
// armed again if WakeAt returns another moment, or if an async read or a flight
// between attempts needs it.
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
      const bool again = lost && (retry || machine_.waiting() || AnyDeadline());
      if (at == armed_for_ && !again) break;
      // A timer that is already due will run shortly and handle everything.
      const bool due = timer_ != TimerId::kNone && armed_for_ <= now.boot;
      if (due && !timer_lost_) break;
      armed_for_ = at;
      timer_lost_ = retry = false;
      const uint64_t serial = ++timer_serial_;
      const TimerId old = std::exchange(timer_, TimerId::kNone);
      AddThisThread(active().in_executor);
      mutex_.Unlock();
      TimerId timer = TimerId::kNone;
      if (old != TimerId::kNone) executor()->Cancel(old);
      if (at < BootTime::InfiniteFuture()) {
        timer = executor()->RunAfter(at - now.boot,
                                     TimerTask(RefPtr<Shell>(this), serial));
        if (timer == TimerId::kNone) OnTimerLost(serial);
      }
      mutex_.Lock();
      timer_ = timer;
      // While the timer was lost, each read had to ask the machine. Now reads
      // need not ask before the check time.
      if (lost && !timer_lost_ && !closed_) cell_.SetCheckAt(CheckAt(Now()));
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
    AddThisThread(active().in_timer);
  }
  OnInput([&](const Instant& now, Effects& effects)
              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                if (serial != timer_serial_) return;
                timer_ = TimerId::kNone;
                WakeMachine(now, effects);
                EndReads(now, now.boot, DeadlineExceeded(), effects);
              });
  ForkMutexLock lock(&mutex_);
  // In the child of a fork(), ForgetParent may have reset `active_`.
  if (active_ == nullptr) return;
  RemoveThisThread(active_->in_timer);
  FreeInactive();
}

void Shell::WakeMachine(const Instant& now, Effects& effects) {
  armed_for_ = BootTime::InfiniteFuture();
  Decisions decisions;
  machine_.OnWake(now, decisions);
  Apply(now, decisions, effects);
}

// Until the timer is armed again (see SyncTimer), OnWake may be called late. So
// each read must ask the machine, which then does what is due. A flight between
// attempts ends, and each async read with a deadline fails, because both need
// the timer.
void Shell::OnTimerLost(uint64_t serial) {
  OnInput([&](const Instant& now,
              Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    effects.timer_lost = true;
    if (serial != timer_serial_ || timer_lost_) return;
    timer_lost_ = true;
    Decisions decisions;
    machine_.OnWakeLost(now, decisions);
    Apply(now, decisions, effects);
    EndReads(now, BootTime::InfiniteFuture(),
             absl::UnavailableError(
                 "the executor refused the timer for the read's timeout"),
             effects);
  });
}

}  // namespace internal
}  // namespace refreshable
