// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/soak/instance.h"

#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "refreshable/credential.h"
#include "refreshable/machine/token_ages_test_util.h"
#include "refreshable/observer.h"
#include "refreshable/refresh_error.h"

namespace refreshable_soak {
namespace {

using refreshable::Credential;
using refreshable::Event;
using refreshable::EventKind;
using refreshable::Expiry;
using refreshable::Generation;
using refreshable::Refreshable;
using refreshable::RefreshPolicy;
using refreshable::SystemClock;

class ObserverOf final : public refreshable::Observer {
 public:
  explicit ObserverOf(std::shared_ptr<Checks> checks)
      : checks_(std::move(checks)) {}
  void OnEvent(const Event& event) override { checks_->Told(event); }

 private:
  const std::shared_ptr<Checks> checks_;
};

// Runs a function when the object is destroyed, unless it was moved from.
template <typename Function>
class AtEnd {
 public:
  explicit AtEnd(Function end) : end_(std::move(end)) {}
  AtEnd(AtEnd&& other) noexcept
      : end_(other.end_), armed_(std::exchange(other.armed_, false)) {}
  ~AtEnd() {
    if (armed_) end_();
  }

 private:
  Function end_;
  bool armed_ = true;
};

}  // namespace

// ---- Checks ----

Checks::Checks(std::string name, const RefreshPolicy& policy, Totals* totals)
    : name_(std::move(name)),
      policy_(policy),
      totals_(totals),
      schedule_(std::make_shared<Schedule>(policy)) {}

void Checks::Wrong(const char* clause, const std::string& what) const {
  Broken(clause, absl::StrCat(name_, ": ", what));
}

Checks::Before Checks::Look() const {
  Before before;
  before.least = least_.load(std::memory_order_acquire);
  before.now = SystemClock::Get().Now();
  return before;
}

void Checks::Raise(uint64_t generation) {
  uint64_t least = least_.load(std::memory_order_relaxed);
  while (least < generation && !least_.compare_exchange_weak(
                                   least, generation, std::memory_order_release,
                                   std::memory_order_relaxed)) {
  }
}

void Checks::NoteChange(const Change& change) {
  for (const Change& other : changes_) {
    const bool newer = other.generation < change.generation;
    const Change& before = newer ? other : change;
    const Change& after = newer ? change : other;
    if (before.generation < after.generation && before.since > after.asked) {
      Wrong("F2",
            absl::StrCat("the attempt that brought generation ",
                         after.generation, " had begun before ",
                         before.generation, " was published or withdrawn"));
    }
  }
  changes_.push_back(change);
  if (changes_.size() > 32) changes_.pop_front();
}

int64_t Checks::resets() const {
  absl::MutexLock lock(&mutex_);
  return resetting_ > 0 ? kResetting : resets_;
}

void Checks::ResetBegins() {
  absl::MutexLock lock(&mutex_);
  ++resets_;
  ++resetting_;
  withdrawn_token_ = 0;
}

void Checks::ResetEnded() {
  absl::MutexLock lock(&mutex_);
  --resetting_;
}

void Checks::Withdrawn(const TokenLease& lease, uint64_t since,
                       int64_t resets) {
  absl::MutexLock lock(&mutex_);
  NoteChange({lease.generation().value(), since, Token::kNotAsked});
  if (lease.generation().value() == withdrawn_generation_) {
    Wrong("A1", absl::StrCat("generation ", withdrawn_generation_,
                             " was withdrawn twice"));
  }
  if (lease.generation().value() <= withdrawn_generation_) return;
  withdrawn_generation_ = lease.generation().value();
  withdrawn_token_ = resets == resets_ ? lease.token().id() : 0;
}

void Checks::Read(const Before& before, absl::Duration timeout, Where where,
                  const LeaseOr& lease) {
  if (lease.ok()) {
    totals_->leases.fetch_add(1, std::memory_order_relaxed);
    CheckLease(before, *lease);
    Raise(lease->generation().value());
  } else {
    totals_->refusals.fetch_add(1, std::memory_order_relaxed);
    CheckRefusal(before, timeout, where, lease.status());
  }
}

void Checks::CheckLease(const Before& before, const TokenLease& lease) {
  if (!lease.token().Intact()) Wrong("R12", "a lease of a token that is gone");
  if (lease.generation().value() < before.least) {
    Wrong("F2, R9", absl::StrCat("generation ", lease.generation().value(),
                                 " was read after ", before.least,
                                 " was known to be the least"));
  }
  const absl::Time expiry = lease.expires_at();
  absl::Time end = expiry;
  if (lease.degraded()) {
    end += policy_.max_stale_on_error;
  } else if (const absl::Time published = lease.token().published_by();
             published < expiry) {
    // The token was published at `published` or earlier. If earlier, its life
    // is longer than is assumed here, so its margin is not shorter. Hence its
    // real end is not later than `end`.
    end = published + refreshable::internal::UsableFor(expiry - published,
                                                       policy_.expiry_margin);
  }
  if (before.now.wall >= end) {
    Wrong(lease.degraded() ? "B10" : "R3",
          absl::StrCat("generation ", lease.generation().value(),
                       " was handed out though it had been unusable for ",
                       absl::FormatDuration(before.now.wall - end)));
  }
}

void Checks::CheckRefusal(const Before& before, absl::Duration timeout,
                          Where where, const absl::Status& status) {
  const bool explained = refreshable::GetRefreshError(status).has_value();
  bool fits = false;
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      // If the error does not come from an attempt, the read's own timeout must
      // have passed.
      fits = explained ||
             SystemClock::Get().Now().boot >= before.now.boot + timeout;
      break;
    case absl::StatusCode::kFailedPrecondition:
      fits = explained ? !refreshable::IsFatal(status) ||
                             policy_.retry.on_exhausted ==
                                 refreshable::OnExhausted::kFatal
                       : where == Where::kCallback;
      break;
    case absl::StatusCode::kCancelled:
      fits = where == Where::kAtTheEnd;
      break;
    case absl::StatusCode::kUnavailable:
      fits = true;  // The source, the executor or TryGet may cause it.
      break;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnknown:
      fits = explained;
      break;
    default:
      break;
  }
  if (where == Where::kTry && status.code() != absl::StatusCode::kUnavailable) {
    fits = false;
  }
  if (!fits)
    Wrong("B5, R7", absl::StrCat("a read ended with ", status.ToString()));
}

void Checks::Published(const TokenLease& lease) {
  totals_->published.fetch_add(1, std::memory_order_relaxed);
  lease.token().NotePublished(SystemClock::Get().Now().wall);
  absl::MutexLock lock(&mutex_);
  NoteChange({lease.generation().value(), lease.token().made(),
              lease.token().asked()});
  // F5 applies to tokens from the source. Every installed token has a new id.
  // So a token with the id of an earlier token comes from the source.
  if (lease.generation().value() == withdrawn_generation_ + 1 &&
      lease.token().id() == withdrawn_token_) {
    Wrong("F5", "the token that was rejected was published again");
  }
}

void Checks::Told(const Event& event) {
  if (telling_.exchange(true, std::memory_order_relaxed)) {
    Wrong("S1", "an observer was told two events at the same time");
  }
  const uint64_t generation = event.generation.value();
  if (generation < told_generation_ ||
      (event.kind == EventKind::kTokenPublished &&
       generation == told_generation_)) {
    Wrong("F2, S1", absl::StrCat("generation ", generation, " was told after ",
                                 told_generation_));
  }
  told_generation_ = generation;
  telling_.store(false, std::memory_order_relaxed);
}

// ---- AsyncRead ----

void AsyncRead::CheckEnd() const {
  const int ended = ended_;
  if (ended == (cancelled_ ? 0 : 1)) return;
  Broken("R8, R11", absl::StrCat("a callback ran ", ended, " times",
                                 cancelled_ ? " and was cancelled" : ""));
}

// ---- Instance ----

Instance::Instance(const Config& config)
    : name_(config.name),
      checks_(
          std::make_shared<Checks>(config.name, config.policy, config.totals)),
      source_(std::make_shared<FaultySource>(config.seed, config.late,
                                             checks_->schedule())) {
  Refreshable<Token>::Options options;
  options.executor = config.executor;
  options.policy = config.policy;
  options.observer = std::make_shared<ObserverOf>(checks_);
  options.on_token_changed = [checks = checks_,
                              hook = config.hook](const TokenLease& lease) {
    checks->Published(lease);
    if (hook) hook();
  };
  options.jitter_seed = config.seed;
  auto created = Refreshable<Token>::Create(source_, std::move(options));
  if (!created.ok()) {
    Broken("E6", created.status().ToString());
    std::abort();
  }
  refreshable_ = *std::move(created);
}

Instance::~Instance() {
  const uint64_t last_call = source_->last_call();
  refreshable_ = nullptr;
  source_->CheckOvertaken("E1", last_call);
}

bool Instance::Accounted() const {
  return checks_->schedule()->calls() == refreshable_->stats().attempts_started;
}

LeaseOr Instance::Get(absl::Duration timeout, Checks::Where where) {
  // With kAtTheEnd, another thread may destroy this instance during the read.
  // `checks` then keeps `used` alive.
  const std::shared_ptr<Checks> checks =
      where == Checks::Where::kAtTheEnd ? checks_ : nullptr;
  Checks& used = *checks_;
  const Checks::Before before = used.Look();
  LeaseOr lease = refreshable_->Get(timeout);
  used.Read(before, timeout, where, lease);
  return lease;
}

LeaseOr Instance::TryGet() {
  const Checks::Before before = checks_->Look();
  LeaseOr lease = refreshable_->TryGet();
  checks_->Read(before, absl::ZeroDuration(), Checks::Where::kTry, lease);
  return lease;
}

std::shared_ptr<AsyncRead> Instance::GetAsync(absl::Duration timeout,
                                              absl::AnyInvocable<void()> then) {
  auto read = std::make_shared<AsyncRead>();
  AtEnd gone([read] { read->gone_.store(true, std::memory_order_release); });
  read->id_ = refreshable_->GetAsync(
      timeout,
      [read, timeout, gone = std::move(gone), then = std::move(then),
       checks = checks_, before = checks_->Look()](LeaseOr lease) mutable {
        ++read->ended_;
        checks->Read(before, timeout, Checks::Where::kAtTheEnd, lease);
        if (then) then();
      });
  return read;
}

void Instance::Cancel(AsyncRead& read) {
  read.cancelled_ = refreshable_->Cancel(read.id_);
}

void Instance::Invalidate(const TokenLease& lease) {
  Schedule& schedule = *checks_->schedule();
  const uint64_t last_call = source_->last_call();
  const uint64_t moment = NextMoment();
  const int64_t resets = checks_->resets();
  schedule.Begin(Schedule::Permit::kAtOnce);
  const bool acted = refreshable_->Invalidate(lease.generation());
  schedule.End(Schedule::Permit::kAtOnce, acted);
  const Generation superseded(lease.generation().value() - 1);
  if (refreshable_->Invalidate(superseded)) {
    Broken("A1", absl::StrCat(name_, ": generation ", superseded.value(),
                              " was withdrawn after a later one was read"));
  }
  if (acted) {
    checks_->Withdrawn(lease, moment, resets);
    source_->CheckOvertaken("A2", last_call);
  }
  checks_->Raise(lease.generation().value() + 1);
}

void Instance::Install() {
  Schedule& schedule = *checks_->schedule();
  const uint64_t last_call = source_->last_call();
  schedule.Begin(Schedule::Permit::kAtOnce);
  const absl::StatusOr<Generation> installed =
      refreshable_->Install(Credential<Token>(Token(FaultySource::NewId()),
                                              Expiry::In(absl::Seconds(1))));
  schedule.End(Schedule::Permit::kAtOnce);
  if (!installed.ok()) {
    Broken("F9", absl::StrCat(name_, ": ", installed.status().ToString()));
    return;
  }
  checks_->Raise(installed->value());
  source_->CheckOvertaken("F9", last_call);
}

void Instance::Reset() {
  Schedule& schedule = *checks_->schedule();
  schedule.Begin(Schedule::Permit::kSooner);
  checks_->ResetBegins();
  refreshable_->Reset();
  checks_->ResetEnded();
  schedule.End(Schedule::Permit::kSooner);
}

void Instance::StartOutage(FaultySource::Mode mode) {
  outage_ = true;
  source_->set_mode(mode);
  checks_->schedule()->StartOutage();
}

void Instance::EndOutage() {
  checks_->schedule()->EndOutage();
  source_->set_mode(FaultySource::Mode::kMixed);
  outage_ = false;
}

}  // namespace refreshable_soak
