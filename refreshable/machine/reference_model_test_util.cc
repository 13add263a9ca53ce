// SPDX-License-Identifier: Apache-2.0

#include "refreshable/machine/reference_model_test_util.h"

#include <algorithm>

#include "refreshable/machine/token_ages_test_util.h"

namespace refreshable {
namespace internal {

Ms ToMs(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return kNever;
  if (duration == -absl::InfiniteDuration()) return kLongAgo;
  return absl::ToInt64Milliseconds(duration);
}

absl::Duration FromMs(Ms ms) {
  return ms >= kNever ? absl::InfiniteDuration() : absl::Milliseconds(ms);
}

ModelPolicy::ModelPolicy(const RefreshPolicy& p)
    : policy(p),
      margin(ToMs(p.expiry_margin)),
      max_window(ToMs(p.max_stale_window)),
      min_interval(ToMs(p.min_interval)),
      timeout(ToMs(p.attempt_timeout)),
      young(ToMs(p.young_token_age)),
      grace(ToMs(p.max_stale_on_error)),
      initial_backoff(ToMs(p.retry.initial_backoff)),
      max_backoff(ToMs(p.retry.max_backoff)),
      probe_interval(ToMs(p.retry.probe_interval)),
      max_retry_after(ToMs(p.retry.max_retry_after)),
      max_rejection_backoff(
          ToMs(p.max_rejection_backoff.value_or(p.retry.max_backoff))) {
  if (p.stale_window.has_value()) window = ToMs(*p.stale_window);
  if (p.background_cooldown.has_value()) {
    cooldown = ToMs(*p.background_cooldown);
  }
}

Ms ModelPolicy::Wait(int n, Ms max) const {
  double wait = static_cast<double>(initial_backoff);
  while (--n > 0 && wait < static_cast<double>(max)) {
    wait *= policy.retry.multiplier;
  }
  return std::min(static_cast<Ms>(wait), max);
}

Ms ReferenceModel::Age() const {
  return t - born + std::max<Ms>(0, wall_step - born_wall_step);
}

Ms ReferenceModel::UsableFor() const {
  if (life == kNever) return kNever;
  return internal::UsableFor(life, rules->margin);
}

Ms ReferenceModel::FreshFor() const {
  if (life == kNever) return kNever;
  return internal::FreshFor(
      life, rules->margin, rules->window, rules->max_window,
      hint == kNever ? std::nullopt : std::optional<Ms>(hint));
}

Freshness ReferenceModel::State() const {
  return !Usable() ? Freshness::kExpired
         : Stale() ? Freshness::kStale
                   : Freshness::kFresh;
}

bool ReferenceModel::Young() const {
  return from_source && t - issued < std::min(rules->young, issued_life / 2);
}

bool ReferenceModel::Grace() const {
  return Held() && failures > 0 && rules->grace > 0 &&
         Age() < life + rules->grace;
}

Ms ReferenceModel::LetGoAt() const {
  if (life == kNever) return kNever;
  return born + (rules->grace > 0 ? life + rules->grace : UsableFor());
}

bool ReferenceModel::Exhausted() const {
  return !Usable() &&
         failures >= rules->policy.retry.max_consecutive_failures + excused;
}

Ms ReferenceModel::Cooldown() const {
  if (rules->cooldown.has_value()) return *rules->cooldown;
  // Rounding up changes nothing, because inputs come at whole milliseconds.
  const Ms quarter = (UsableFor() - Age() + 3) / 4;
  return std::max(rules->min_interval, std::min<Ms>(60'000, quarter));
}

bool ReferenceModel::Fatal() const {
  return Exhausted() && rules->policy.retry.on_exhausted == OnExhausted::kFatal;
}

Ms ReferenceModel::NotBefore() const {
  if (Fatal()) return kNever;
  Ms at = exempt ? kLongAgo : last_start + rules->min_interval;
  at = std::max(at, row_asked_until);
  if (failures > 0) {
    Ms wait = asked_until.value_or(backoff_until);
    if (Exhausted()) {
      wait = std::max(asked_until.value_or(kLongAgo),
                      last_start + rules->probe_interval);
    }
    at = std::max({at, wait, last_end + rules->min_interval});
  }
  return at < kLongAgo / 2 ? kLongAgo : at;
}

bool ReferenceModel::MayCall() const {
  const size_t bound = rules->policy.max_abandoned_calls;
  Ms wait = rules->probe_interval;
  for (int k = 0; k < beyond && wait < kNever / 2; ++k) wait *= 2;
  return abandoned.size() < bound || t >= last_call + wait;
}

bool ReferenceModel::Covers(uint64_t g) const {
  return g > 0 && same_since <= g && g <= generation;
}

Ms ReferenceModel::RejectedNotBefore() const {
  return row == 0 ? std::max(NotBefore(), last_start)
                  : std::max(NotBefore(), last_start + rules->RowWait(row));
}

void ReferenceModel::PassTime() {
  if (generation > 0 && Age() >= FreshFor() && !CurrentRejected()) {
    row = 0;
    noted = 0;
  }
  PromoteIfUnservable();
}

void ReferenceModel::PromoteIfUnservable() {
  if (flight == kNone || !rejecting_read_waits || Usable() || Grace()) return;
  foreground = true;
  by_rejection = false;
}

bool ReferenceModel::AheadPermitted() const {
  if (!rules->policy.refresh_ahead || generation == 0) return false;
  if (t < lost_until || t < NotBefore()) return false;
  return !Usable() || (Stale() && t >= cooldown_until);
}

bool ReferenceModel::Overdue() const {
  switch (flight) {
    case kNone:
      return AheadPermitted();
    case kWaiting:
      return t >= due;
    case kQueued:
      return t - submitted >= rules->timeout;
    case kRunning:
      return t - running->started >= rules->timeout;
  }
  return false;
}

ReferenceModel::Check ReferenceModel::CheckAt() const {
  const Check now = {t, t + wall_step};
  Ms age = 0;
  Ms idle = kNever;  // The moment from which a read would start a flight.
  if (Usable()) {
    const bool background = rules->policy.background_refresh;
    age = background && !Stale() ? FreshFor() : UsableFor();
    if (background && Stale()) idle = std::max(cooldown_until, NotBefore());
  } else if (Grace() && degraded) {
    age = life + rules->grace;
    idle = NotBefore();
  } else {
    return now;
  }
  Check check = {kNever, kNever};
  if (age < kNever) check = {born + age, born + born_wall_step + age};
  if (flight == kNone && idle < kNever) {
    check.boot = std::min(check.boot, idle);
    check.wall =
        std::min(check.wall, idle == kLongAgo ? kLongAgo : idle + wall_step);
  }
  return check;
}

Ms ReferenceModel::WakeAt() const {
  Ms at = kNever;
  if (flight == kQueued) at = submitted + rules->timeout;
  if (flight == kRunning) at = running->started + rules->timeout;
  if (flight == kWaiting) at = due;
  if (Held() && !let_go) at = std::min(at, LetGoAt());
  const Check check = CheckAt();
  if (t < check.boot && t + wall_step < check.wall) {
    at = std::min(at, check.boot);
  }
  if (flight == kNone && rules->policy.refresh_ahead && generation > 0 &&
      (!Usable() || Stale())) {
    Ms ahead = std::max(NotBefore(), lost_until);
    if (Usable()) ahead = std::max(ahead, cooldown_until);
    at = std::min(at, ahead);
  }
  return at < kLongAgo / 2 ? kLongAgo : at;
}

std::string ReferenceModel::Fingerprint() const {
  std::string print;
  const auto add = [&print](int64_t value) {
    print.append(reinterpret_cast<const char*>(&value), 4);
  };
  // Moments that are more than `reach` ago no longer matter, so they all count
  // as the same.
  const auto add_time = [&](Ms at, Ms reach = 0) {
    add(std::clamp<Ms>(at - t, -reach, kNever));
  };
  // The most by which a later input may set the wall clock back. After such a
  // step, a token that has expired by the wall clock may be usable again.
  const Ms steps = 20'000;
  add((generation > 0) + 2 * withdrawn + 4 * degraded + 8 * from_source +
      16 * (invalidated > 0) + 32 * foreground + 64 * exempt +
      128 * told_exhausted + 256 * asked_until.has_value() +
      512 * static_cast<int>(told_state) + 2048 * flight + 8192 * by_rejection +
      16384 * rejecting_read_waits + 32768 * (told_rejected > 0) +
      65536 * CurrentRejected() + 131072 * (same_since < generation) +
      262144 * (noted > 0));
  add(row);
  add_time(row_asked_until);
  if (row_asked_until > t) add(static_cast<int>(row_cause));
  if (Held()) {
    add(life);
    add(hint);
    add_time(born, life + rules->grace + steps);
    add(born_wall_step - wall_step);
    add(failures_before);
    add(let_go);
    add(issued_life);
    add_time(issued, rules->young);
    add(excused_before);
  }
  if (flight != kNone) {
    add(budget);
    add(failed);
  }
  if (flight == kWaiting) add_time(due);
  if (flight == kQueued) add_time(submitted, rules->timeout);
  for (const Call& call : abandoned) {
    add(call.current + 2 * (call.told_rejected > 0) + 4 * call.in_row);
    if (call.current) add_time(call.started, steps);
  }
  add(-1);
  if (abandoned.size() >=
      static_cast<size_t>(rules->policy.max_abandoned_calls)) {
    add(beyond);
    add_time(last_call, rules->probe_interval << std::min(beyond, 20));
  }
  if (running.has_value()) {
    add_time(running->started, steps);
    add((running->told_rejected > 0) +
        2 * (running->told_rejected == generation) + 4 * running->in_row);
  }
  const Ms reach = std::max({rules->min_interval, rules->probe_interval,
                             rules->max_backoff, rules->max_rejection_backoff});
  add_time(last_start, reach);
  if (flight == kRunning) add_time(previous_start, reach);
  add(failures);
  add(excused);
  if (failures > 0) {
    add_time(last_end, rules->min_interval);
    add_time(backoff_until);
    add_time(asked_until.value_or(kLongAgo));
  }
  add_time(cooldown_until);
  add_time(lost_until);
  // B9: the errors of reads name the wall time of the next attempt. The first
  // error computes that time. Later errors repeat it, even if the wall clock is
  // set, until the attempt is due or is moved. So it matters how far the wall
  // clock has been set since the first error.
  const bool told_again = told_next == NotBefore() && told_next > t;
  add(told_again ? told_next_wall - told_next - wall_step : 0);
  return print;
}

}  // namespace internal
}  // namespace refreshable
