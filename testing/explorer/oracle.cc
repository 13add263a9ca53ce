// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/explorer/oracle.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "refreshable/machine/token_ages_test_util.h"
#include "refreshable/refresh_error.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::BootTime;
using refreshable::Event;
using refreshable::EventKind;
using refreshable::Freshness;
using refreshable::Generation;
using refreshable::Instant;
using refreshable::internal::FreshFor;
using refreshable::internal::UsableFor;

namespace {

template <typename DualDeadline>
DualDeadline After(const Instant& now, absl::Duration d) {
  return DualDeadline{now.wall + d, now.boot + d};
}

}  // namespace

// ---- What is done to the Refreshable ----

void Oracle::Offer(const std::string& token, absl::Duration lifetime,
                   std::optional<Instant> start) {
  offered_ = token;
  offered_by_source_ = start.has_value();
  // F3: the lifetime counts from the start of the attempt.
  offered_for_ = lifetime;
  if (start.has_value()) {
    offered_for_ -= Now().boot - start->boot;
  }
}

void Oracle::BeforeInvalidate(bool in_flight, bool serves) {
  PassTime();
  in_flight_ = in_flight;
  serves_ = serves;
}

// After a step back of the wall clock, a stale or expired token may be fresh
// again. It is not visible from outside whether the Refreshable had noticed the
// old state. So later checks permit both cases.
void Oracle::BeforeWallStep() {
  if (!Usable()) cooldown_over_ = true;
  if (!Servable()) {
    if (queued_by_ == ByRejection::kYes) queued_by_ = ByRejection::kUnclear;
    if (running_by_ == ByRejection::kYes) running_by_ = ByRejection::kUnclear;
  }
  if (row_ > 0 && Reached(stale_at_, Now()) && !noted_) row_known_ = false;
}

// B7: if the step has made the token usable again, the next attempt waits for
// the backoff instead of the probe time.
void Oracle::AfterWallStep() {
  if (failures_ > 0 && !Exhausted()) SetFloor();
}

// A13: if nobody has rejected the token, the row ends when the token becomes
// stale. A10: when the token can no longer be served, an attempt that a
// rejection started becomes an ordinary attempt.
void Oracle::PassTime() {
  if (Reached(stale_at_, Now()) && !noted_) row_ = 0;
  if (Servable()) return;
  if (queued_by_ == ByRejection::kYes) queued_by_ = ByRejection::kNo;
  if (running_by_ == ByRejection::kYes) running_by_ = ByRejection::kNo;
}

void Oracle::OnReset() {
  PassTime();
  invalidated_forgotten_ = true;
  noted_ = false;
  row_ = 0;
  row_known_ = true;
  row_asked_until_ = BootTime::InfinitePast();
  failures_ = failures_before_ = 0;
  excused_ = excused_before_ = 0;
  asked_until_.reset();
  floor_ = BootTime::InfinitePast();
  cooldown_ = BootTime::InfinitePast();
}

void Oracle::OnFetch() {
  if (running_) Fail("F1: two attempts at a time");
  PassTime();
  Started();
  running_ = true;
}

void Oracle::OnEvent(const Event& event) {
  ++counts_[event.kind];
  const bool abandoned_now = abandoned_now_;
  abandoned_now_ = false;
  PassTime();
  switch (event.kind) {
    case EventKind::kAttemptFailed:
      AttemptFailed(
          event, running_ ||
                     (abandoned_now && absl::IsDeadlineExceeded(event.status)));
      break;
    case EventKind::kAttemptAbandoned:
      abandoned_now_ = running_;
      running_ = false;
      break;
    case EventKind::kTokenPublished:
      running_ = false;
      Published(event.generation);
      break;
    case EventKind::kTokenUnchanged:
      running_ = false;
      Unchanged();
      break;
    case EventKind::kTokenRejected:
      if (noted_) Fail("S1: a token was told rejected twice");
      noted_ = true;
      break;
    case EventKind::kTokenInvalidated:
      Invalidated();
      break;
    case EventKind::kBackoff:
      BackoffAnnounced(Now().boot + event.delay);
      break;
    default:
      break;
  }
}

// Records that an attempt starts. Checks that A13 and `MayStart` permit it.
void Oracle::Started() {
  running_by_ = std::exchange(queued_by_, ByRejection::kNo);
  const bool rejected = running_by_ != ByRejection::kNo;
  if (running_by_ == ByRejection::kYes && row_known_ &&
      Now().boot < RowFloor()) {
    Fail(absl::StrCat("A13: attempt ", row_ + 1, " of a row too early"));
  }
  // An attempt that was permitted when it was submitted may start, even if it
  // is forbidden now. B7: if the token has expired since then, refreshing may
  // be exhausted. So `Probes`, which could forbid the attempt, is not checked.
  // B3: `cooldown_over_` means that no token was usable before a step of the
  // wall clock. The attempt may have been submitted then, without a cooldown.
  if (!replacing_ && !MayStart(/*after_cooldown=*/cooldown_over_ || rejected)) {
    Fail(absl::StrCat("B1, F4: an attempt too early, after ", failures_,
                      " failures"));
  }
  last_start_ = Now().boot;
  exempt_ = replacing_ = false;
  if (rejected) ++row_;
  if (running_by_ == ByRejection::kUnclear) row_known_ = false;
}

// B1: returns the `n`-th wait of the backoff schedule, but no more than `max`.
absl::Duration Oracle::Wait(int n, absl::Duration max) const {
  absl::Duration wait = policy_.retry.initial_backoff;
  for (int i = 1; i < n && wait < max; ++i) wait *= policy_.retry.multiplier;
  return std::min(wait, max);
}

absl::Duration Oracle::Backoff() const {
  return Wait(failures_, policy_.retry.max_backoff);
}

// A13: returns the time before which no rejection may start an attempt.
BootTime Oracle::RowFloor() const {
  if (row_ == 0) return BootTime::InfinitePast();
  return last_start_ + Wait(row_, policy_.max_rejection_backoff.value_or(
                                      policy_.retry.max_backoff));
}

absl::Duration Oracle::Cooldown() const {
  const Instant now = Now();
  const absl::Duration left =
      std::min(usable_until_.boot - now.boot, usable_until_.wall - now.wall);
  return policy_.background_cooldown.value_or(
      std::max(policy_.min_interval, std::min(absl::Minutes(1), left / 4)));
}

BootTime Oracle::AfterInterval() const {
  return exempt_ ? BootTime::InfinitePast()
                 : last_start_ + policy_.min_interval;
}

// Sets `floor_`, the earliest start of the next attempt after a failure (B1,
// B2, B7).
void Oracle::SetFloor() {
  floor_ = std::max(last_end_ + policy_.min_interval,
                    asked_until_.value_or(failed_start_ + Backoff()));
  if (!Exhausted()) return;
  floor_ = Fatal() ? BootTime::InfiniteFuture()
                   : std::max({last_end_ + policy_.min_interval,
                               last_start_ + policy_.retry.probe_interval,
                               asked_until_.value_or(last_start_)});
}

void Oracle::AttemptFailed(const Event& event, bool was_running) {
  // F6: at the limit of abandoned calls, an attempt fails without a call of the
  // source. `OnFetch` has then not recorded the start of the attempt.
  if (!was_running) Started();
  running_ = false;
  const bool counted = event.failures > failures_;
  failed_by_rejection_ = running_by_ == ByRejection::kYes ||
                         (running_by_ == ByRejection::kUnclear && !counted);
  failed_by_rejection_ ? FailedByRejection(event.status) : Failed(event.status);
}

// A10: the failure of an attempt that a rejection started is not counted, but
// its Retry-After delays all attempts.
void Oracle::FailedByRejection(const absl::Status& status) {
  const absl::Duration asked =
      refreshable::GetRetryAfter(status).value_or(absl::ZeroDuration());
  announces_ = asked > absl::ZeroDuration();
  if (!announces_) return;
  row_asked_until_ =
      Now().boot + std::min(asked, policy_.retry.max_retry_after);
}

void Oracle::Failed(const absl::Status& status) {
  ++failures_;
  failed_start_ = last_start_;
  last_end_ = Now().boot;
  asked_until_.reset();
  const absl::Duration asked =
      refreshable::GetRetryAfter(status).value_or(absl::ZeroDuration());
  if (asked > absl::ZeroDuration()) {
    const BootTime computed = last_start_ + Backoff();
    const absl::Duration longest = policy_.retry.max_retry_after;
    asked_until_ = last_end_ + std::min(asked, longest);
    if (asked > longest) asked_until_ = std::max(*asked_until_, computed);
    if (std::max(*asked_until_, last_end_ + policy_.min_interval) < computed) {
      ++excused_;
    }
  }
  SetFloor();
}

// A10: if an attempt started by a rejection fails, a wait is announced only if
// the server sent a Retry-After. B3: after a background attempt, the cooldown
// may make `until` later than B1 requires.
void Oracle::BackoffAnnounced(BootTime until) {
  if (failed_by_rejection_) {
    if (!std::exchange(announces_, false) || until != row_asked_until_) {
      Fail("A10: a failure that a rejection asked for set a backoff");
    }
    return;
  }
  const BootTime plain = std::max({floor_, AfterInterval(), row_asked_until_});
  const BootTime cooled = std::max(plain, last_end_ + Cooldown());
  if (Usable() && until == cooled) {
    cooldown_ = last_end_ + Cooldown();
    cooldown_over_ = false;
  } else if (until != plain) {
    Fail(absl::StrCat(
        "B1, B3: a backoff until ", absl::FormatDuration(until - BootTime()),
        " was announced, not ", absl::FormatDuration(plain - BootTime())));
  }
}

void Oracle::Published(Generation generation) {
  if (generation <= generation_) Fail("F2: a generation did not rise");
  if (offered_.empty()) Fail("a token was published that nobody offered");
  if (offered_for_ <= absl::ZeroDuration()) {
    Fail("F5, F9: an expired token was published");
  }
  if (Refuses(offered_)) {
    Fail("F5: the token that was rejected was published");
  }
  generation_ = generation;
  if (!offered_by_source_) {
    row_ = 0;
    row_known_ = true;
  }
  if (!offered_by_source_ || offered_ != token_) {  // A11: a new token.
    same_since_ = generation;
    noted_ = false;
  }
  token_ = offered_;
  offered_.clear();
  invalidated_.clear();
  invalidated_forgotten_ = false;
  ++epoch_;
  SetEdges();
  young_until_ =
      offered_by_source_
          ? Now().boot + std::min(policy_.young_token_age, offered_for_ / 2)
          : BootTime::InfinitePast();
  failures_before_ = failures_;
  excused_before_ = excused_;
  Answered();
  if (!offered_by_source_) exempt_ = true;
}

void Oracle::SetEdges() {
  const Instant now = Now();
  const absl::Duration life = offered_for_;
  expiry_ = After<DualDeadline>(now, life);
  usable_until_ =
      After<DualDeadline>(now, UsableFor(life, policy_.expiry_margin));
  stale_at_ = After<DualDeadline>(
      now, FreshFor(life, policy_.expiry_margin, policy_.stale_window,
                    policy_.max_stale_window));
}

void Oracle::Answered() {
  queued_by_ = running_by_ = ByRejection::kNo;
  failures_ = excused_ = 0;
  asked_until_.reset();
  floor_ = cooldown_ = row_asked_until_ = BootTime::InfinitePast();
}

// A11: the rejected token came again, although the attempt was told of the
// rejection.
void Oracle::Unchanged() {
  if (offered_ != token_ || token_.empty()) {
    Fail("A11: told unchanged, and another token came");
  }
  offered_.clear();
  if (!Usable() || Now().wall + offered_for_ > expiry_.wall) SetEdges();
  Answered();
}

void Oracle::Invalidated() {
  if (token_.empty()) Fail("A1: a token was withdrawn twice");
  invalidated_ = token_;
  invalidated_let_go_ = LetGo();
  invalidated_forgotten_ = false;
  token_.clear();
  noted_ = true;
  PassTime();
  ++epoch_;
  exempt_ = !serves_;
  cooldown_ = BootTime::InfinitePast();
  if (Now().boot < young_until_) {
    // A5: the invalidation of a young token counts as a failure.
    failures_ += failures_before_ + 1;
    failed_start_ = last_start_;
    excused_ += excused_before_;
    if (asked_until_ && *asked_until_ < last_start_ + Backoff()) {
      asked_until_.reset();
    }
    SetFloor();
  } else if (Exhausted() && Fatal()) {
    floor_ = BootTime::InfiniteFuture();
  } else {
    // A2: the next attempt may start at once.
    replacing_ = in_flight_ && !serves_;
  }
}

void Oracle::Fail(absl::string_view what) {
  if (failure_.empty()) failure_ = std::string(what);
}

// ---- What is known ----

bool Oracle::Usable() const {
  return !token_.empty() && !Reached(usable_until_, Now());
}

bool Oracle::LetGo() const {
  const absl::Duration grace = policy_.max_stale_on_error;
  return Now().boot >= (grace > absl::ZeroDuration() ? expiry_.boot + grace
                                                     : usable_until_.boot);
}

bool Oracle::Servable() const {
  const absl::Duration longer = policy_.max_stale_on_error;
  return Usable() ||
         (!token_.empty() && failures_ > 0 && longer > absl::ZeroDuration() &&
          !Reached(DualDeadline{expiry_.wall + longer, expiry_.boot + longer},
                   Now()));
}

Freshness Oracle::Fresh() const {
  if (!Usable()) return Freshness::kExpired;
  return Reached(stale_at_, Now()) ? Freshness::kStale : Freshness::kFresh;
}

bool Oracle::Permitted() const { return MayStart() && Probes(); }

std::optional<bool> Oracle::RejectionPermitted() const {
  if (!row_known_) return std::nullopt;
  return MayStart(/*after_cooldown=*/true) && Probes() &&
         Now().boot >= RowFloor();
}

// B7: returns true if refreshing is not exhausted, or if a probe may start.
bool Oracle::Probes() const {
  if (!Exhausted()) return true;
  return !Fatal() &&
         Now().boot >= std::max(last_start_ + policy_.retry.probe_interval,
                                asked_until_.value_or(last_start_));
}

bool Oracle::MayStart(bool after_cooldown) const {
  const BootTime now = Now().boot;
  if (now < AfterInterval() || now < row_asked_until_) return false;
  if (failures_ > 0 && now < floor_) return false;
  return !Usable() || after_cooldown || now >= cooldown_;
}

int Oracle::Count(EventKind kind) const {
  const auto it = counts_.find(kind);
  return it == counts_.end() ? 0 : it->second;
}

void Oracle::AppendTo(std::string& fingerprint) const {
  const auto add_length = [&](absl::Duration d) {
    absl::StrAppend(&fingerprint,
                    d == absl::InfiniteDuration() ? "+"
                    : d == -absl::InfiniteDuration()
                        ? "-"
                        : absl::StrCat(absl::ToInt64Nanoseconds(d)),
                    ",");
  };
  const auto add = [&](BootTime t) { add_length(t - BootTime()); };
  const auto add_deadline = [&](const DualDeadline& deadline) {
    add_length(deadline.wall - absl::UnixEpoch());
    add(deadline.boot);
  };
  absl::StrAppend(&fingerprint, "|", token_.empty(), invalidated_.empty(),
                  invalidated_let_go_, invalidated_forgotten_, running_,
                  exempt_, replacing_, cooldown_over_, noted_, row_known_,
                  static_cast<int>(queued_by_), static_cast<int>(running_by_),
                  ",", generation_.value(), ",", same_since_.value(), ",", row_,
                  ",", failures_, ",", failures_before_, ",", excused_, ",",
                  excused_before_, ",");
  add_deadline(stale_at_);
  add_deadline(usable_until_);
  add_deadline(expiry_);
  add(young_until_);
  add(last_start_);
  add(failed_start_);
  add(last_end_);
  add(asked_until_.value_or(BootTime::InfinitePast()));
  add(floor_);
  add(cooldown_);
  add(row_asked_until_);
}

}  // namespace schedule
}  // namespace refreshable_testing
