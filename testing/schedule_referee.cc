// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/schedule_referee.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "refreshable/refresh_error.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::Event;
using refreshable::EventKind;
using refreshable::Freshness;
using refreshable::Generation;
using refreshable::Health;
using refreshable::Instant;
using refreshable::Stats;

namespace {

// Returns the moment `d` after `now` on both clocks.
template <typename Moment>
Moment After(const Instant& now, absl::Duration d) {
  return Moment{now.wall + d, now.since_boot + d};
}

}  // namespace

// ---- What is done to the Refreshable ----

void Referee::Offer(const std::string& token, absl::Duration lifetime,
                    std::optional<Instant> start) {
  offered_ = token;
  offered_by_source_ = start.has_value();
  // F3: the lifetime counts from the moment the attempt started.
  offered_for_ = lifetime;
  if (start.has_value()) {
    offered_for_ -= Now().since_boot - start->since_boot;
  }
}

void Referee::BeforeInvalidate(bool in_flight) { in_flight_ = in_flight; }

void Referee::BeforeWallStep() {
  if (!Usable()) cooldown_over_ = true;
}

void Referee::OnReset() {
  failures_ = failures_before_ = 0;
  excused_ = excused_before_ = 0;
  asked_until_.reset();
  floor_ = -absl::InfiniteDuration();
  cooldown_ = -absl::InfiniteDuration();
}

void Referee::OnFetch() {
  if (running_) Complain("F1: two attempts at a time");
  Started();
  running_ = true;
}

void Referee::OnEvent(const Event& event) {
  ++counts_[event.kind];
  const bool abandoned_now = abandoned_now_;
  abandoned_now_ = false;
  switch (event.kind) {
    case EventKind::kAttemptFailed:
      // The attempt failed without a call, at the bound of abandoned calls.
      if (!running_ &&
          !(abandoned_now && absl::IsDeadlineExceeded(event.status))) {
        Started();
      }
      running_ = false;
      Failed(event.status);
      break;
    case EventKind::kAttemptAbandoned:
      abandoned_now_ = running_;
      running_ = false;
      break;
    case EventKind::kTokenPublished:
      running_ = false;
      Published(event.generation);
      break;
    case EventKind::kTokenInvalidated:
      Invalidated();
      break;
    case EventKind::kBackoff:
      BackoffAnnounced(Now().since_boot + event.delay);
      break;
    default:
      break;
  }
}

// Checks that the attempt does not start too early (F4, B1).
void Referee::Started() {
  // This is less strict than the rules: an attempt still starts if it was
  // submitted before the token expired and refreshing became exhausted with
  // that, or if it was submitted afterwards and the wall clock is then set
  // back.
  if (!replacing_ && !MayStart(/*after_cooldown=*/cooldown_over_)) {
    Complain(absl::StrCat("B1, F4: an attempt too early, after ", failures_,
                          " failures"));
  }
  last_start_ = Now().since_boot;
  exempt_ = replacing_ = false;
}

absl::Duration Referee::Backoff() const {
  const refreshable::RetryPolicy& retry = policy_.retry;
  absl::Duration wait = retry.initial_backoff;
  for (int i = 1; i < failures_ && wait < retry.max_backoff; ++i) {
    wait *= retry.multiplier;
  }
  return std::min(wait, retry.max_backoff);
}

absl::Duration Referee::Cooldown() const {
  const Instant now = Now();
  const absl::Duration left = std::min(
      usable_until_.since_boot - now.since_boot, usable_until_.wall - now.wall);
  return policy_.background_cooldown.value_or(
      std::max(policy_.min_interval, std::min(absl::Minutes(1), left / 4)));
}

absl::Duration Referee::AfterInterval() const {
  return exempt_ ? -absl::InfiniteDuration()
                 : last_start_ + policy_.min_interval;
}

// Sets the earliest next start after a failure (B1, B2, B7).
void Referee::SetFloor() {
  floor_ = std::max(last_end_ + policy_.min_interval,
                    asked_until_.value_or(last_start_ + Backoff()));
  if (!Exhausted()) return;
  floor_ = Fatal() ? absl::InfiniteDuration()
                   : std::max({last_end_ + policy_.min_interval,
                               last_start_ + policy_.retry.probe_interval,
                               asked_until_.value_or(last_start_)});
}

void Referee::Failed(const absl::Status& status) {
  ++failures_;
  last_end_ = Now().since_boot;
  asked_until_.reset();
  const absl::Duration asked =
      refreshable::GetRetryAfter(status).value_or(absl::ZeroDuration());
  if (asked > absl::ZeroDuration()) {
    const absl::Duration computed = last_start_ + Backoff();
    const absl::Duration longest = policy_.retry.max_retry_after;
    asked_until_ = last_end_ + std::min(asked, longest);
    if (asked > longest) asked_until_ = std::max(*asked_until_, computed);
    if (std::max(*asked_until_, last_end_ + policy_.min_interval) < computed) {
      ++excused_;
    }
  }
  SetFloor();
}

// B3: after a background failure the wait may be longer than B1's.
void Referee::BackoffAnnounced(absl::Duration until) {
  const absl::Duration plain = std::max(floor_, AfterInterval());
  const absl::Duration cooled = std::max(plain, last_end_ + Cooldown());
  if (Usable() && until == cooled) {
    cooldown_ = last_end_ + Cooldown();
    cooldown_over_ = false;
  } else if (until != plain) {
    Complain(absl::StrCat("B1, B3: a backoff until ",
                          absl::FormatDuration(until), " was announced, not ",
                          absl::FormatDuration(plain)));
  }
}

void Referee::Published(Generation generation) {
  if (generation <= generation_) Complain("F2: a generation did not rise");
  if (offered_.empty()) Complain("a token was published that nobody offered");
  if (offered_for_ <= absl::ZeroDuration()) {
    Complain("F5, F9: an expired token was published");
  }
  if (Refuses(offered_)) {
    Complain("F5: the token that was rejected was published");
  }
  generation_ = generation;
  token_ = offered_;
  offered_.clear();
  rejected_.clear();
  ++epoch_;
  // F4.
  const Instant now = Now();
  const absl::Duration life = offered_for_;
  const absl::Duration usable =
      life - std::min(policy_.expiry_margin, life / 4);
  const absl::Duration window =
      policy_.stale_window.has_value()
          ? std::min(*policy_.stale_window, life * 3 / 4)
          : std::min(life / 2, policy_.max_stale_window);
  expiry_ = After<Moment>(now, life);
  usable_until_ = After<Moment>(now, usable);
  stale_at_ = After<Moment>(now, std::min(usable, life - window));
  young_until_ =
      offered_by_source_
          ? now.since_boot + std::min(policy_.young_token_age, life / 2)
          : -absl::InfiniteDuration();
  failures_before_ = std::exchange(failures_, 0);
  excused_before_ = std::exchange(excused_, 0);
  asked_until_.reset();
  floor_ = -absl::InfiniteDuration();
  cooldown_ = -absl::InfiniteDuration();
  if (!offered_by_source_) exempt_ = true;
}

void Referee::Invalidated() {
  if (token_.empty()) Complain("A1: a token was withdrawn twice");
  rejected_ = token_;
  // R12: if a token was released, nobody can recognise it when it comes again.
  const absl::Duration grace = policy_.max_stale_on_error;
  rejected_let_go_ = Now().since_boot >= (grace > absl::ZeroDuration()
                                              ? expiry_.since_boot + grace
                                              : usable_until_.since_boot);
  token_.clear();
  ++epoch_;
  exempt_ = true;
  cooldown_ = -absl::InfiniteDuration();
  if (Now().since_boot < young_until_) {  // A5.
    failures_ += failures_before_ + 1;
    excused_ += excused_before_;
    if (asked_until_ && *asked_until_ < last_start_ + Backoff()) {
      asked_until_.reset();
    }
    SetFloor();
  } else if (Exhausted() && Fatal()) {
    floor_ = absl::InfiniteDuration();
  } else {
    replacing_ = in_flight_;  // A2.
  }
}

// ---- What the Refreshable returns and reports ----

void Referee::OnLease(const refreshable::Lease<std::string>& lease, bool late) {
  const Instant now = Now();
  if (lease.token() != token_) {
    Complain(lease.token() == rejected_
                 ? "R9: a withdrawn token was handed out"
                 : "F2: a token was handed out that is not the last published");
    return;
  }
  if (lease.generation() != generation_) {
    Complain("F2: a lease names another generation than its publication");
  }
  if (lease.expires_at() != expiry_.wall) {
    Complain("F3: a lease names another expiry than its token has");
  }
  Moment end = usable_until_;
  if (lease.degraded()) {
    if (policy_.max_stale_on_error == absl::ZeroDuration() || failures_ == 0) {
      Complain("B10: a lease is degraded");
    }
    end = Moment{expiry_.wall + policy_.max_stale_on_error,
                 expiry_.since_boot + policy_.max_stale_on_error};
  }
  if (now.wall >= end.wall || (now.since_boot >= end.since_boot && !late)) {
    Complain("R3, R6: an expired token was handed out");
  }
}

void Referee::CheckHealth(const Health& health) {
  if (health.generation != generation_) {
    Complain("S2: health() names another generation");
  }
  if (health.freshness != Fresh()) {
    Complain(absl::StrCat("R4: health() says ",
                          refreshable::FreshnessName(health.freshness)));
  }
  if (health.failures != failures_) {
    Complain(absl::StrCat("B6: health() counts ", health.failures,
                          " failures, there were ", failures_));
  }
  if (health.exhausted != Exhausted() ||
      health.fatal != (Exhausted() && Fatal())) {
    Complain("B7: health() says wrongly whether refreshing has given up");
  }
}

void Referee::CheckStats(const Stats& stats) {
  if (stats.attempts_started != Count(EventKind::kAttemptStarted) ||
      stats.attempts_failed != Count(EventKind::kAttemptFailed) ||
      stats.attempts_abandoned != Count(EventKind::kAttemptAbandoned) ||
      stats.attempts_discarded != Count(EventKind::kAttemptDiscarded) ||
      stats.tokens_published != Count(EventKind::kTokenPublished) ||
      stats.tokens_invalidated != Count(EventKind::kTokenInvalidated)) {
    Complain("S1, S2: stats() and the events told differ");
  }
}

void Referee::Complain(absl::string_view what) {
  if (complaint_.empty()) complaint_ = std::string(what);
}

// ---- What is known ----

bool Referee::Usable() const {
  return !token_.empty() && !Reached(usable_until_, Now());
}

bool Referee::Servable() const {
  const absl::Duration longer = policy_.max_stale_on_error;
  return Usable() ||
         (!token_.empty() && failures_ > 0 && longer > absl::ZeroDuration() &&
          !Reached(Moment{expiry_.wall + longer, expiry_.since_boot + longer},
                   Now()));
}

Freshness Referee::Fresh() const {
  if (!Usable()) return Freshness::kExpired;
  return Reached(stale_at_, Now()) ? Freshness::kStale : Freshness::kFresh;
}

bool Referee::Permitted() const {
  if (!Exhausted()) return MayStart();
  return !Fatal() && MayStart() &&
         Now().since_boot >=
             std::max(last_start_ + policy_.retry.probe_interval,
                      asked_until_.value_or(last_start_));
}

bool Referee::MayStart(bool after_cooldown) const {
  const absl::Duration now = Now().since_boot;
  if (now < AfterInterval()) return false;
  if (failures_ > 0 && now < floor_) return false;
  return !Usable() || after_cooldown || now >= cooldown_;
}

int Referee::Count(EventKind kind) const {
  const auto it = counts_.find(kind);
  return it == counts_.end() ? 0 : it->second;
}

void Referee::AppendTo(std::string& fingerprint) const {
  const auto add = [&](absl::Duration d) {
    absl::StrAppend(&fingerprint,
                    d == absl::InfiniteDuration() ? "+"
                    : d == -absl::InfiniteDuration()
                        ? "-"
                        : absl::StrCat(absl::ToInt64Nanoseconds(d)),
                    ",");
  };
  const auto add_moment = [&](const Moment& moment) {
    add(moment.wall - absl::UnixEpoch());
    add(moment.since_boot);
  };
  absl::StrAppend(&fingerprint, "|", token_.empty(), rejected_.empty(),
                  rejected_let_go_, running_, exempt_, replacing_,
                  cooldown_over_, ",", generation_.value(), ",", failures_, ",",
                  failures_before_, ",", excused_, ",", excused_before_, ",");
  add_moment(stale_at_);
  add_moment(usable_until_);
  add_moment(expiry_);
  add(young_until_);
  add(last_start_);
  add(last_end_);
  add(asked_until_.value_or(-absl::InfiniteDuration()));
  add(floor_);
  add(cooldown_);
}

}  // namespace schedule
}  // namespace refreshable_testing
