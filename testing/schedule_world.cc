// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/schedule_world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "refreshable/event.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/refresh_error.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::Credential;
using refreshable::EventKind;
using refreshable::Expiry;
using refreshable::FetchContext;
using refreshable::FetchDone;
using refreshable::Freshness;
using refreshable::ManualExecutor;
using refreshable::TimerId;
using Kind = ManualExecutor::PendingStep::Kind;

namespace {

// More steps than this in a row are considered an endless loop.
constexpr int kBusy = 10000;

}  // namespace

Answer Succeed(absl::Duration lifetime) {
  std::string name = "succeed";
  if (lifetime != absl::Seconds(400)) {
    absl::StrAppend(&name, " for ", absl::FormatDuration(lifetime));
  }
  return {std::move(name), [=](World& world) {
            return Credential<std::string>(world.NewToken(),
                                           Expiry::In(lifetime));
          }};
}

class World::Source final : public refreshable::TokenSource<std::string> {
 public:
  explicit Source(World* world) : world_(world) {}
  void Fetch(const FetchContext& context,
             FetchDone<std::string> done) override {
    world_->OnFetch(context, std::move(done));
  }

 private:
  World* const world_;
};

// The world's executor, but the explorer decides what a blocking read runs.
class World::Driver final : public refreshable::Executor {
 public:
  explicit Driver(World* world) : world_(world) {}
  bool Run(Task task) override { return base().Run(std::move(task)); }
  TimerId RunAfter(absl::Duration delay, Task task) override {
    return base().RunAfter(delay, std::move(task));
  }
  bool Cancel(TimerId id) override { return base().Cancel(id); }
  bool InExecutorThread() const override { return base().InExecutorThread(); }
  bool DriveUntil(absl::FunctionRef<bool()> done,
                  absl::Duration deadline) override {
    return world_->Drive(done, deadline);
  }
  const refreshable::Clock& clock() const override { return base().clock(); }

 private:
  ManualExecutor& base() const { return world_->executor_; }

  World* const world_;
};

World::World(refreshable::RefreshPolicy policy)
    : policy_([&] {
        policy.jitter = 0;
        return policy;
      }()),
      executor_of_token_(std::make_unique<Driver>(this)),
      referee_(std::make_shared<Referee>(policy_, &executor_.clock())),
      source_(std::make_shared<Source>(this)) {
  // Passes events to the world.
  class Observer final : public refreshable::Observer {
   public:
    explicit Observer(World* world) : world_(world) {}
    void OnEvent(const refreshable::Event& event) override {
      world_->OnEvent(event);
    }

   private:
    World* const world_;
  };
  Token::Options options;
  options.executor = executor_of_token_.get();
  options.policy = policy_;
  options.observer = std::make_shared<Observer>(this);
  options.on_token_changed = [this](const auto& lease) {
    referee_->OnLease(lease, Late());
    BackIn();
  };
  options.jitter_seed = 1;
  token_ = *Token::Create(source_, std::move(options));
  alive_ = token_.get();
}

World::~World() { Destroy(); }

// ---- What a step may do ----

void World::ReadAsync(absl::Duration timeout, std::optional<int> max_retries) {
  read_at_ = Now().since_boot;
  ReadAround([&] {
    const size_t index = readers_.size();
    readers_.emplace_back();
    readers_[index].deadline = Now().since_boot + timeout;
    readers_[index].max_retries = max_retries;
    readers_[index].usable = referee_->Usable();
    // A read that is served at once is retried when its callback is due.
    readers_[index].may_rejoin =
        referee_->Usable() || policy_.max_stale_on_error > absl::ZeroDuration();
    readers_[index].generation = referee_->generation();
    // B5: the read may fail between refreshes, or if its retries are spent.
    readers_[index].may_fail =
        token_->health().refreshing
            ? Spent(readers_[index])
            : referee_->failures() > 0 && !referee_->Permitted();
    Token::ReadOptions options;
    options.timeout = timeout;
    options.max_retries = max_retries;
    readers_[index].id = token_->GetAsync(
        options,
        [this, index](LeaseOr lease) { OnOutcome(index, std::move(lease)); });
    readers_[index].calling = false;
    readers_[index].served = referee_->Servable();
    Joined(Retries(readers_[index]));
  });
}

void World::ReadBlocking(absl::Duration timeout) {
  read_at_ = Now().since_boot;
  if (timeout > absl::ZeroDuration()) Joined(policy_.retry.max_retries);
  const auto read = [&] {
    const absl::Duration deadline = Now().since_boot + timeout;
    blocked_.push_back(deadline);
    const LeaseOr lease = token_->Get(timeout);
    blocked_.pop_back();
    CheckOutcome(lease, deadline, Late());
    if (!lease.ok()) Joined(policy_.retry.max_retries);
  };
  if (timeout <= absl::ZeroDuration()) return ReadAround(read);
  read();
}

// R2, R3: a read that may start a refresh does so. (While a timer is late, a
// read may look only at the wall clock and find nothing to do.)
void World::ReadAround(absl::FunctionRef<void()> read) {
  const bool wanted =
      referee_->Fresh() == Freshness::kExpired ||
      (referee_->Fresh() == Freshness::kStale && policy_.background_refresh);
  const bool starts = wanted && referee_->Permitted() && takes_tasks_ &&
                      takes_timers_ && !Late() && !token_->health().refreshing;
  read();
  if (starts && !destroyed() && !token_->health().refreshing) {
    referee_->Complain("R2, R3: a read that may start a refresh did not");
  }
}

void World::CancelRead(size_t index) {
  if (index >= readers_.size()) return;
  Reader& reader = readers_[index];
  const bool pending = reader.ended == 0 && !reader.cancelled;
  const bool cancelled = token_->Cancel(reader.id);
  Expect(cancelled == pending, "R8: Cancel says wrongly what it did");
  if (cancelled) reader.cancelled = true;
}

void World::Invalidate() {
  Asked();
  const bool held =
      referee_->generation().value() > 0 && referee_->rejected().empty();
  referee_->BeforeInvalidate(token_->health().refreshing);
  const bool acted = token_->Invalidate(referee_->generation());
  Expect(acted == held, "A1: Invalidate says wrongly what it did");
}

void World::InvalidateOld() {
  const uint64_t current = referee_->generation().value();
  if (current == 0) return;
  Asked();
  referee_->BeforeInvalidate(token_->health().refreshing);
  Expect(!token_->Invalidate(refreshable::Generation(current - 1)),
         "A1: an old generation was withdrawn");
}

void World::Install(absl::Duration lifetime) {
  Asked();
  std::string token = NewToken();
  referee_->Offer(token, lifetime, std::nullopt);
  const auto installed = token_->Install(
      Credential<std::string>(std::move(token), Expiry::In(lifetime)));
  Expect(installed.ok() == (lifetime > absl::ZeroDuration()),
         "F9: Install says wrongly what it did");
  if (installed.ok() && !destroyed()) {
    Expect(*installed == referee_->generation(),
           "F9: Install names another generation");
    Expect(!token_->health().refreshing, "F9: the flight outlasts an Install");
  }
}

void World::Reset() {
  Asked();
  referee_->OnReset();
  for (Call& call : held_) call.forgotten = call.forgotten || !Live(call);
  beyond_ = 0;
  token_->Reset();
}

void World::TakeTasks(bool take) {
  takes_tasks_ = take;
  if (!take) lost_task_ = true;
  executor_.set_refuse_runs(!take);
}

void World::TakeTimers(bool take) {
  takes_timers_ = take;
  executor_.set_refuse_timers(!take);
  if (!take) lost_timer_ = true;
}

void World::Joined(int max_retries) {
  if (!referee_->Servable()) joined_.insert({max_retries, {step_, -1}});
}

// A task without a visible effect may have been the callback of one of these
// reads, whose token had been withdrawn. A refused callback runs with the next
// operation.
void World::NoteCallback(const ManualExecutor::PendingStep& step) {
  if (referee_->Servable() || (step.kind == Kind::kTimer && !lost_task_)) {
    return;
  }
  const Origin origin =
      step.kind == Kind::kTimer ? Origin{step_, -1} : origins_[step.id];
  for (const Reader& reader : readers_) {
    if (Waits(reader) && reader.may_rejoin) {
      joined_.insert({Retries(reader), origin});
    }
  }
}

void World::RunOrLose(size_t index, bool lose) {
  const ManualExecutor::PendingStep step = executor_.PendingSteps()[index];
  const int visible = visible_;
  if (lost_task_) NoteCallback(step);
  if (lose) {
    executor_.DropPending(index);
  } else {
    executor_.RunPending(index);
  }
  if (visible == visible_) NoteCallback(step);
}

void World::RunPending(size_t index) {
  const bool timer = executor_.PendingSteps()[index].kind == Kind::kTimer;
  const bool late = Late();
  const size_t calls = held_.size();
  RunOrLose(index, /*lose=*/false);
  if (timer || !late || calls != held_.size()) return Asked();
  ran_at_ = Now().since_boot;
}

void World::LosePending(size_t index) {
  const bool timer = executor_.PendingSteps()[index].kind == Kind::kTimer;
  (timer ? lost_timer_ : lost_task_) = true;
  RunOrLose(index, /*lose=*/true);
  Asked();
}

void World::Destroy() {
  token_.reset();
  alive_ = nullptr;
}

World::Call World::TakeCall(size_t index) {
  Call call = std::move(held_[index]);
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
  if (!call.forgotten) beyond_ = 0;
  return call;
}

void World::AnswerCall(size_t index, const Answer& answer) {
  if (index >= held_.size()) return;
  Asked();
  Call call = TakeCall(index);
  if (destroyed() || answer.result == nullptr) {
    const int failures = referee_->failures();
    const bool fails = !destroyed() && !call.context.cancelled();
    { const FetchDone<std::string> dropped = std::move(call.done); }
    Expect(!fails || referee_->failures() == failures + 1,
           "E3: a call that was dropped did not fail");
    discards_ += destroyed() || fails ? 0 : 1;
    return;
  }
  absl::StatusOr<Credential<std::string>> result = answer.result(*this);
  bool good = result.ok();
  if (good) {
    const absl::Duration life = result->expiry.lifetime();
    referee_->Offer(result->token, life, call.start);
    good = !referee_->Refuses(result->token) &&
           life > Now().since_boot - call.start.since_boot;
  }
  const bool overtaken = call.epoch != referee_->epoch();
  const bool discarded =
      overtaken || call.forgotten || (call.context.cancelled() && !good);
  const bool published = good && !discarded;
  const bool late = Late();
  const std::string before = discarded ? Visible(late) : "";
  const auto generation = referee_->generation();
  const int failures = referee_->failures();
  discards_ += discarded ? 1 : 0;
  call.done(std::move(result));
  referee_->Offer("", absl::ZeroDuration(), std::nullopt);
  if (destroyed()) return;
  if (discarded) {
    Expect(Visible(late) == before,
           "F2: an answer to a call that was overtaken changed something");
  } else if (published) {
    Expect(referee_->generation() == generation.Next(),
           "F1, F6: an answer in time was not published");
  } else {
    Expect(referee_->failures() == failures + 1,
           "B6: a failure was not counted once");
  }
}

std::string World::NewToken() { return absl::StrCat("t", ++tokens_); }

bool World::RunFirst(absl::Duration until) {
  const auto steps = executor_.PendingSteps();
  if (steps.empty() || steps.front().due > until) return false;
  if (++busy_ > kBusy) {
    referee_->Complain("a loop that does not end");
    return false;
  }
  RunOrLose(0, /*lose=*/false);
  return true;
}

void World::AdvanceBy(absl::Duration d) {
  const absl::Duration until = Now().since_boot + d;
  busy_ = 0;
  while (RunFirst(until)) {
  }
  Pass(std::max(absl::ZeroDuration(), until - Now().since_boot));
}

bool World::Drive(absl::FunctionRef<bool()> done, absl::Duration deadline) {
  if (Now().since_boot >= deadline) return true;
  while (!done() && Now().since_boot <= deadline) {
    if (driver_ != nullptr && !at_end_) {
      if (!driver_()) break;
    } else if (!RunFirst(deadline)) {
      if (deadline < absl::InfiniteDuration()) {
        Pass(deadline - Now().since_boot);
      }
      break;
    }
  }
  return true;
}

void World::Hold(absl::Duration lifetime) {
  ReadAsync();
  RunUntilIdle();
  AnswerCall(0, Succeed(lifetime));
  RunUntilIdle();
}

// ---- What the Refreshable does ----

void World::OnEvent(const refreshable::Event& event) {
  referee_->OnEvent(event);
  BackIn();
  if (event.kind == EventKind::kAttemptStarted) OnStarted(event);
  if (event.kind == EventKind::kAttemptFailed) OnFailed(event);
  if (event.kind == EventKind::kTokenPublished) failed_ = 0;
  const bool lost =
      event.kind == EventKind::kAttemptAbandoned && !event.status.ok();
  if (lost && !lost_task_) {
    Expect(Queue().first_task + policy_.attempt_timeout <= Now().since_boot,
           "E2: an attempt ended that the executor may yet run in time");
  }
  for (Reader& reader : readers_) {
    if (!Waits(reader)) continue;
    if (event.kind == EventKind::kTokenPublished) reader.may_rejoin = true;
    if (lost) reader.saw_loss = reader.may_fail = true;
    if (event.kind == EventKind::kTokenInvalidated &&
        (referee_->Exhausted() || Spent(reader))) {
      reader.may_fail = true;
    }
  }
}

// The refresh has decided what to do next, but no read has been told.
void World::OnFailed(const refreshable::Event& event) {
  failed_ = event.attempt;
  Expect(!absl::StrContains(event.status.message(), "was not called") ||
             !MayCall(),
         "F6, B8: the source was not called, and might have been");
  ends_ = referee_->Exhausted() || refreshable::ClassifyFailure(event.status) ==
                                       refreshable::FailureClass::kPermanent;
  const bool degrades = policy_.max_stale_on_error > absl::ZeroDuration();
  for (Reader& reader : readers_) {
    if (!Waits(reader)) continue;
    if (!reader.calling) ++reader.saw_failures;
    // A read that is being made may have caused this event, too late to join.
    if (ends_ || reader.calling || failed_ > Retries(reader)) {
      reader.may_fail = true;
    }
    if (degrades) reader.may_rejoin = true;
  }
}

void World::OnStarted(const refreshable::Event& event) {
  if (event.attempt == 1) failed_ = 0;
  if (failed_ == 0) return;
  Expect(!ends_, "B2, B7: a refresh goes on that has to end");
  int most = blocked_.empty() ? 0 : policy_.retry.max_retries;
  for (const Join& join : joined_) most = std::max(most, join.first);
  Expect(failed_ <= most, "B1, B3: more retries than anybody asked for");
}

void World::OnFetch(const FetchContext& context, FetchDone<std::string> done) {
  ++visible_;
  referee_->OnFetch();
  BackIn();
  Expect(MayCall(), "F6: the source was called beyond the bound");
  const int unanswered = Unanswered();
  beyond_ += unanswered >= policy_.max_abandoned_calls ? 1 : 0;
  last_call_ = Now().since_boot;
  held_.push_back({std::move(done), context, referee_->epoch(), Now()});
  if (at_end_) {
    AnswerCall(held_.size() - 1, Succeed());
  } else if (inside_.has_value()) {
    AnswerCall(held_.size() - 1, *inside_);
  }
}

void World::OnOutcome(size_t reader, LeaseOr lease) {
  Reader& r = readers_[reader];
  ++visible_;
  Expect(++r.ended == 1, "B5: a read ended twice");
  Expect(!r.cancelled, "R8: a cancelled read was called back");
  Expect(!r.calling, "R11: a callback ran inside its GetAsync");
  Expect(alive_ != nullptr, "E1: a callback ran after the destructor");
  Expect(lease.ok() || destroyed() || lost_timer_ || !r.usable ||
             !referee_->Usable() || r.generation != referee_->generation(),
         "B4: a read of a usable token failed");
  Expect(!refreshable::GetRefreshError(lease.status()).has_value() ||
             r.may_fail || r.may_rejoin || lost_task_ || lost_timer_ ||
             r.deadline < absl::InfiniteDuration(),
         "B1, B5: a read failed before its retries were spent");
  CheckOutcome(lease, r.deadline, /*late=*/false);
  BackIn();
}

void World::CheckOutcome(const LeaseOr& lease, absl::Duration deadline,
                         bool late) {
  if (lease.ok()) return referee_->OnLease(*lease, late);
  const absl::Status& status = lease.status();
  const auto error = refreshable::GetRefreshError(status);
  if (error.has_value()) {
    Expect(error->fatal == refreshable::IsFatal(status),
           "B7: an error is fatal, and is not");
    Expect(error->fatal || error->failures > 0 || !status.ok(),
           "B5: an error without a cause");
  } else if (absl::IsDeadlineExceeded(status)) {
    Expect(Now().since_boot >= deadline,
           "R7: DEADLINE_EXCEEDED before the deadline");
  } else if (absl::IsCancelled(status)) {
    Expect(destroyed(), "E1: CANCELLED, and not destroyed");
  } else {
    Expect(lost_timer_,
           absl::StrCat("B5: a read ended with ", status.ToString()));
  }
}

// Calls the Refreshable from user code, where no lock may be held (E5).
void World::BackIn() {
  if (alive_ != nullptr) alive_->stats();
}

}  // namespace schedule
}  // namespace refreshable_testing
