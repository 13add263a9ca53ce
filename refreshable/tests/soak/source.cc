// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/soak/source.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "refreshable/refresh_error.h"

namespace refreshable_soak {
namespace {

using refreshable::BootTime;
using refreshable::Credential;
using refreshable::Expiry;
using refreshable::FetchContext;
using refreshable::RefreshPolicy;
using refreshable::SystemClock;

BootTime BootNow() { return SystemClock::Get().Now().boot; }

// Returns how many calls may reach the source during an outage although their
// attempts started before the outage: the running attempt's call, and the calls
// of abandoned attempts.
int64_t AtTheEdge(const RefreshPolicy& policy) {
  return 1 + policy.max_abandoned_calls;
}

}  // namespace

// ---- LateAnswers ----

LateAnswers::LateAnswers() {
  for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { Work(); });
}

LateAnswers::~LateAnswers() {
  {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void LateAnswers::Add(absl::Duration delay, const FetchContext& context,
                      bool cancellable, absl::AnyInvocable<void()> answer) {
  absl::MutexLock lock(&mutex_);
  late_.push_back({BootNow() + delay, context, cancellable, std::move(answer)});
}

std::optional<LateAnswers::Late> LateAnswers::TakeDue() {
  const BootTime now = BootNow();
  const bool finished = finished_;
  const auto due =
      std::find_if(late_.begin(), late_.end(), [&](const Late& late) {
        return finished || now >= late.due ||
               (late.cancellable && late.context.cancelled());
      });
  if (due == late_.end()) return std::nullopt;
  Late late = std::move(*due);
  late_.erase(due);
  return late;
}

void LateAnswers::Work() {
  absl::MutexLock lock(&mutex_);
  while (!finished_ || !late_.empty()) {
    std::optional<Late> late = TakeDue();
    if (!late.has_value()) {
      mutex_.AwaitWithTimeout(absl::Condition(&finished_),
                              absl::Milliseconds(1));
      continue;
    }
    mutex_.Unlock();
    late->answer();
    late.reset();
    mutex_.Lock();
  }
}

// ---- Schedule ----

Schedule::Schedule(const RefreshPolicy& policy)
    : policy_(policy), marks_{Mark{BootNow(), 0, 0}} {}

void Schedule::Begin(Permit permit) {
  absl::MutexLock lock(&mutex_);
  ++begun_;
  if (permit == Permit::kAtOnce) ++exempt_;
}

void Schedule::End(Permit permit, bool acted) {
  absl::MutexLock lock(&mutex_);
  if (acted) {
    ++ended_;
    if (permit == Permit::kAtOnce) ++exempt_ended_;
  } else {
    --begun_;
    if (permit == Permit::kAtOnce) --exempt_;
  }
}

void Schedule::StartOutage() {
  absl::MutexLock lock(&mutex_);
  outage_ = Outage{BootNow(), calls_, ended_};
}

void Schedule::EndOutage() {
  absl::MutexLock lock(&mutex_);
  outage_.reset();
}

absl::Duration Schedule::Least(int64_t attempts, int64_t runs) const {
  const refreshable::RetryPolicy& retry = policy_.retry;
  absl::Duration least;
  absl::Duration wait = retry.initial_backoff;
  for (attempts -= runs; attempts > 0; attempts -= runs) {
    least += wait * (1 - policy_.jitter) * std::min(attempts, runs);
    wait = std::min(wait * retry.multiplier, retry.max_backoff);
  }
  return least;
}

void Schedule::OnAnswer(BootTime now) {
  absl::MutexLock lock(&mutex_);
  marks_.push_back({now, calls_, exempt_ended_});
  if (marks_.size() > 4) marks_.pop_front();
}

void Schedule::OnCall() {
  absl::MutexLock lock(&mutex_);
  ++calls_;
  const BootTime now = BootNow();
  for (const Mark& mark : marks_) {
    const int64_t attempts = calls_ - mark.calls;
    const int64_t exempt = exempt_ - mark.exempt_ended;
    if (now - mark.at < policy_.min_interval * (attempts - 1 - exempt)) {
      Broken("F4", absl::StrCat(attempts, " attempts, ", exempt,
                                " of them exempt, within ",
                                absl::FormatDuration(now - mark.at)));
    }
  }
  if (!outage_.has_value()) return;
  const absl::Duration length = now - outage_->start;
  const int64_t attempts = calls_ - outage_->calls - AtTheEdge(policy_);
  const int64_t runs = 1 + begun_ - outage_->ended;
  if (length < Least(attempts, runs)) {
    Broken("B1, B8", absl::StrCat(attempts, " attempts in ", runs,
                                  " runs within an outage of ",
                                  absl::FormatDuration(length)));
  }
}

int64_t Schedule::calls() const {
  absl::MutexLock lock(&mutex_);
  return calls_;
}

// ---- FaultySource ----

enum class FaultySource::Fault {
  kNone,
  kSlow,
  kLate,
  kUnavailable,
  kDenied,
  kThrottled,
  kHangs,
  kSilent,
  kStuck,
  kDrops,
  kThrows,
  kExpired,
  kSameToken,
  kTwice,
};

FaultySource::FaultySource(uint64_t seed, LateAnswers* late,
                           std::shared_ptr<Schedule> schedule)
    : late_(late), schedule_(std::move(schedule)), random_(seed) {}

uint64_t FaultySource::NewId() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

FaultySource::Call FaultySource::Enter(const FetchContext& context) {
  // Of a hundred calls, `part` have `fault`. The last entry of a table takes
  // the rest.
  struct Share {
    uint64_t part;
    Fault fault;
  };
  static constexpr Share kMixed[] = {
      {5, Fault::kUnavailable}, {2, Fault::kDenied},  {3, Fault::kThrottled},
      {4, Fault::kHangs},       {4, Fault::kSilent},  {3, Fault::kDrops},
      {3, Fault::kThrows},      {4, Fault::kExpired}, {6, Fault::kSameToken},
      {4, Fault::kTwice},       {10, Fault::kSlow},   {12, Fault::kLate},
      {100, Fault::kNone},
  };
  static constexpr Share kDown[] = {
      {15, Fault::kDenied},       {8, Fault::kThrottled}, {6, Fault::kHangs},
      {6, Fault::kDrops},         {6, Fault::kThrows},    {6, Fault::kExpired},
      {100, Fault::kUnavailable},
  };
  const Mode mode = mode_;
  schedule_->OnCall();
  absl::MutexLock lock(&mutex_);
  Call call{++last_call_, NextMoment(), Fault::kNone, random_()};
  const auto pick = [&](const Share* share) {
    for (uint64_t left = call.random % 100; left >= share->part; ++share) {
      left -= share->part;
    }
    return share->fault;
  };
  if (mode == Mode::kSilent) call.fault = Fault::kSilent;
  if (mode == Mode::kStuck) call.fault = Fault::kStuck;
  if (mode == Mode::kMixed) call.fault = pick(kMixed);
  if (mode == Mode::kDown) call.fault = pick(kDown);
  call.random /= 100;
  inside_.emplace(call.id, context);
  // The call of a superseded attempt is cancelled before the next call is made.
  if (const int64_t current = Current(); current > 1) {
    Broken("F1", absl::StrCat(current, " attempts at the same time"));
  }
  return call;
}

bool FaultySource::Leave(uint64_t call) {
  absl::MutexLock lock(&mutex_);
  const auto it = inside_.find(call);
  const bool waited_for = !it->second.cancelled();
  inside_.erase(it);
  return waited_for;
}

int64_t FaultySource::Current() const {
  return std::count_if(inside_.begin(), inside_.end(), [](const auto& inside) {
    return !inside.second.cancelled();
  });
}

bool FaultySource::busy() const {
  absl::MutexLock lock(&mutex_);
  return Current() > 0;
}

uint64_t FaultySource::last_call() const {
  absl::MutexLock lock(&mutex_);
  return last_call_;
}

void FaultySource::CheckOvertaken(const char* clause,
                                  uint64_t last_call) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, inside] : inside_) {
    if (id <= last_call && !inside.cancelled()) {
      Broken(clause, "an attempt was overtaken, and its source is not told");
    }
  }
}

Credential<Token> FaultySource::Good(const Call& call, bool same) {
  const uint64_t random = call.random;
  absl::MutexLock lock(&mutex_);
  if (!same || last_token_ == 0) last_token_ = NewId();
  const uint64_t kind = random % 64;
  absl::Duration life = absl::Milliseconds(100 + random / 64 % 1500);
  if (kind < 4) life = absl::Milliseconds(1 + random / 64 % 40);
  Expiry expiry = kind % 2 == 0
                      ? Expiry::In(life)
                      : Expiry::At(SystemClock::Get().Now().wall + life);
  if (kind == 63) expiry = Expiry::Never();
  return Credential<Token>(Token(last_token_, call.asked), expiry);
}

void FaultySource::Answer(const Call& call, Done& done, Done::Result result) {
  const BootTime now = BootNow();
  if (Leave(call.id)) schedule_->OnAnswer(now);
  // `done` may destroy the Instance of this source, so `this` is not used after
  // `done`.
  const std::shared_ptr<Schedule> schedule = schedule_;
  const bool ok = result.ok();
  if (ok) schedule->Begin(Schedule::Permit::kSooner);
  done(std::move(result));
  if (ok) schedule->End(Schedule::Permit::kSooner);
}

void FaultySource::AnswerLate(const Call& call, const FetchContext& context,
                              Done done, absl::Duration delay,
                              bool cancellable) {
  late_->Add(
      delay, context, cancellable,
      [self = shared_from_this(), call, done = std::move(done)]() mutable {
        self->Answer(call, done, self->Good(call));
      });
}

void FaultySource::Fetch(const FetchContext& context, Done done) {
  const Call call = Enter(context);
  const absl::Duration few_ms = absl::Microseconds(call.random % 5000);
  const absl::Duration long_after = context.timeout() * 2;
  switch (call.fault) {
    case Fault::kSlow:
      absl::SleepFor(few_ms);
      ABSL_FALLTHROUGH_INTENDED;
    case Fault::kNone:
      Answer(call, done, Good(call));
      return;
    case Fault::kSameToken:
      Answer(call, done, Good(call, /*same=*/true));
      return;
    case Fault::kTwice: {
      Done::Result again = Good(call);
      Answer(call, done, Good(call));
      done(std::move(again));
      return;
    }
    case Fault::kLate:
      AnswerLate(call, context, std::move(done), few_ms * 2, false);
      return;
    case Fault::kSilent:
      AnswerLate(call, context, std::move(done), long_after, true);
      return;
    case Fault::kStuck:
      AnswerLate(call, context, std::move(done), long_after * 4, false);
      return;
    case Fault::kHangs: {
      const BootTime end = BootNow() + long_after;
      while (!context.cancelled() && BootNow() < end) {
        absl::SleepFor(absl::Milliseconds(1));
      }
      Answer(call, done, absl::AbortedError("hung"));
      return;
    }
    case Fault::kUnavailable:
      Answer(call, done, absl::UnavailableError("down"));
      return;
    case Fault::kDenied:
      Answer(call, done, absl::PermissionDeniedError("no"));
      return;
    case Fault::kThrottled: {
      absl::Status status = absl::ResourceExhaustedError("later");
      // This Retry-After is longer than the longest backoff, as `Schedule`
      // assumes.
      refreshable::SetRetryAfter(absl::Milliseconds(200) + few_ms, status);
      Answer(call, done, std::move(status));
      return;
    }
    case Fault::kExpired:
      Leave(call.id);
      done(Credential<Token>(Token(NewId()), Expiry::In(-few_ms)));
      return;
    case Fault::kThrows:
      Leave(call.id);
#ifdef ABSL_HAVE_EXCEPTIONS
      throw std::runtime_error("a source may throw");
#else
      return;
#endif
    case Fault::kDrops:
      Leave(call.id);
      return;
  }
}

}  // namespace refreshable_soak
