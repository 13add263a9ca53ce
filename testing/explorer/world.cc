// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "refreshable/event.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/refresh_error.h"
#include "refreshable/testing/schedule_world.h"

namespace refreshable_testing {
namespace schedule {

using refreshable::BootTime;
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

// If one call of `AdvanceBy` runs more tasks and timers than this, the schedule
// fails as an endless loop.
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

// Passes everything to the world's executor, but lets the explorer decide what
// runs while a blocking read waits.
class World::Driver final : public refreshable::Executor {
 public:
  explicit Driver(World* world) : world_(world) {}
  bool Run(Task task) override { return base().Run(std::move(task)); }
  bool RunBlocking(Task task) override {
    world_->OnSubmit();
    return base().RunBlocking(std::move(task));
  }
  TimerId RunAfter(absl::Duration delay, Task task) override {
    return base().RunAfter(delay, std::move(task));
  }
  bool Cancel(TimerId id) override { return base().Cancel(id); }
  bool InExecutorThread() const override { return base().InExecutorThread(); }
  bool DriveUntil(absl::FunctionRef<bool()> done, BootTime deadline) override {
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
      oracle_(std::make_shared<Oracle>(policy_, &executor_.clock())),
      source_(std::make_shared<Source>(this)) {
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
    oracle_->OnLease(lease, Late());
    BackIn();
  };
  options.jitter_seed = 1;
  token_ = *Token::Create(source_, std::move(options));
  alive_ = token_.get();
}

World::~World() { Destroy(); }

// ---- What a step may do ----

void World::CancelRead(size_t index) {
  if (index >= readers_.size()) return;
  Reader& reader = readers_[index];
  const bool pending = reader.ended == 0 && !reader.cancelled;
  const bool cancelled = token_->Cancel(reader.id);
  Expect(cancelled == pending, "R8: Cancel says wrongly what it did");
  if (cancelled) reader.cancelled = true;
}

void World::Invalidate() {
  NoteHandled();
  const bool held =
      oracle_->generation().value() > 0 && oracle_->invalidated().empty();
  const auto live =
      std::find_if(held_.begin(), held_.end(), [this](const Call& call) {
        return Live(call) && call.epoch == oracle_->epoch();
      });
  // A2: the running attempt goes on if it was told that a server rejected this
  // token.
  const bool serves = held && running_told_ && live != held_.end() &&
                      Now().boot < live->start.boot + policy_.attempt_timeout;
  oracle_->BeforeInvalidate(token_->health().refreshing, serves);
  if (serves) live->epoch = oracle_->epoch() + 1;
  const bool acted = token_->Invalidate(oracle_->generation());
  Expect(acted == held, "A1: Invalidate says wrongly what it did");
}

void World::InvalidateOld() {
  const uint64_t current = oracle_->generation().value();
  if (current == 0) return;
  NoteHandled();
  oracle_->BeforeInvalidate(token_->health().refreshing, /*serves=*/false);
  Expect(!token_->Invalidate(refreshable::Generation(current - 1)),
         "A1: an old generation was withdrawn");
}

void World::StepWall(absl::Duration d) {
  oracle_->BeforeWallStep();
  if (!oracle_->Servable()) {
    for (Reader& reader : readers_) reader.was_unservable = true;
  }
  executor_.StepWall(d);
  oracle_->AfterWallStep();
}

void World::Install(absl::Duration lifetime) {
  NoteHandled();
  std::string token = NewToken();
  oracle_->Offer(token, lifetime, std::nullopt);
  const auto installed = token_->Install(
      Credential<std::string>(std::move(token), Expiry::In(lifetime)));
  Expect(installed.ok() == (lifetime > absl::ZeroDuration()),
         "F9: Install says wrongly what it did");
  if (installed.ok() && !destroyed()) {
    Expect(*installed == oracle_->generation(),
           "F9: Install names another generation");
    Expect(!token_->health().refreshing, "F9: the flight outlasts an Install");
  }
}

void World::Reset() {
  NoteHandled();
  oracle_->OnReset();
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

void World::RunPending(size_t index) {
  const bool timer = executor_.PendingSteps()[index].kind == Kind::kTimer;
  const bool late = Late();
  const size_t calls = held_.size();
  RunOrLose(index, /*lose=*/false);
  if (timer || !late || calls != held_.size()) return NoteHandled();
  ran_at_ = Now().boot;
}

void World::LosePending(size_t index) {
  const bool timer = executor_.PendingSteps()[index].kind == Kind::kTimer;
  (timer ? lost_timer_ : lost_task_) = true;
  RunOrLose(index, /*lose=*/true);
  NoteHandled();
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
  NoteHandled();
  Call call = TakeCall(index);
  if (destroyed() || answer.result == nullptr) {
    const int failed = oracle_->Count(EventKind::kAttemptFailed);
    const bool fails = !destroyed() && !call.context.cancelled();
    { const FetchDone<std::string> dropped = std::move(call.done); }
    Expect(!fails || oracle_->Count(EventKind::kAttemptFailed) == failed + 1,
           "E3: a call that was dropped did not fail");
    discards_ += destroyed() || fails ? 0 : 1;
    return;
  }
  absl::StatusOr<Credential<std::string>> result = answer.result(*this);
  bool good = result.ok();
  bool same = false;
  if (good) {
    const absl::Duration life = result->expiry.lifetime();
    oracle_->Offer(result->token, life, call.start);
    good =
        !oracle_->Refuses(result->token) && life > Now().boot - call.start.boot;
    same = result->token == oracle_->token();
  }
  const bool overtaken = call.epoch != oracle_->epoch();
  const bool discarded =
      overtaken || call.forgotten || (call.context.cancelled() && !good);
  // A11: the attempt was told of a rejection, and brought the same token.
  const bool unchanged =
      good && !discarded && same && call.context.rejected().value() > 0;
  const bool published = good && !discarded && !unchanged;
  const int unchanged_before = oracle_->Count(EventKind::kTokenUnchanged);
  const bool late = Late();
  const std::string before = discarded ? Visible(late) : "";
  const auto generation = oracle_->generation();
  const int failed = oracle_->Count(EventKind::kAttemptFailed);
  discards_ += discarded ? 1 : 0;
  call.done(std::move(result));
  oracle_->Offer("", absl::ZeroDuration(), std::nullopt);
  if (destroyed()) return;
  if (discarded) {
    Expect(Visible(late) == before,
           "F2: an answer to a call that was overtaken changed something");
  } else if (published) {
    Expect(oracle_->generation() == generation.Next(),
           "F1, F6: an answer in time was not published");
  } else if (unchanged) {
    Expect(
        oracle_->generation() == generation &&
            oracle_->Count(EventKind::kTokenUnchanged) == unchanged_before + 1,
        "A11: the token that was rejected came again, and was published");
  } else {
    Expect(oracle_->Count(EventKind::kAttemptFailed) == failed + 1,
           "B6: a failure was not told once");
  }
}

std::string World::NewToken() { return absl::StrCat("t", ++tokens_); }

bool World::RunFirst(BootTime until) {
  const auto steps = executor_.PendingSteps();
  if (steps.empty() || steps.front().due > until) return false;
  if (++busy_ > kBusy) {
    oracle_->Fail("a loop that does not end");
    return false;
  }
  RunOrLose(0, /*lose=*/false);
  return true;
}

void World::AdvanceBy(absl::Duration d) {
  const BootTime until = Now().boot + d;
  busy_ = 0;
  while (RunFirst(until)) {
  }
  Pass(std::max(absl::ZeroDuration(), until - Now().boot));
}

void World::Hold(absl::Duration lifetime) {
  ReadAsync();
  RunUntilIdle();
  AnswerCall(0, Succeed(lifetime));
  RunUntilIdle();
}

// ---- What the Refreshable does ----

void World::OnEvent(const refreshable::Event& event) {
  oracle_->OnEvent(event);
  BackIn();
  if (event.kind == EventKind::kAttemptStarted) OnStarted(event);
  if (event.kind == EventKind::kAttemptFailed) OnFailed(event);
  const bool answered = event.kind == EventKind::kTokenPublished ||
                        event.kind == EventKind::kTokenUnchanged;
  if (answered) failed_ = queued_ = 0;
  const bool lost =
      event.kind == EventKind::kAttemptAbandoned && !event.status.ok();
  if (lost && queued_ > 0) --queued_;
  if (lost && !lost_task_) {
    Expect(Queue().first_task + policy_.attempt_timeout <= Now().boot,
           "E2: an attempt ended that the executor may yet run in time");
  }
  for (Reader& reader : readers_) {
    if (!Waits(reader)) continue;
    if (answered) reader.may_rejoin = true;
    if (lost) reader.saw_loss = reader.may_fail = true;
    if (event.kind == EventKind::kTokenInvalidated &&
        (oracle_->Exhausted() || Spent(reader))) {
      reader.may_fail = true;
    }
    if (answered || lost || event.kind == EventKind::kTokenInvalidated) {
      reader.joins = false;
    }
  }
}

// No read has been told of this failure yet.
void World::OnFailed(const refreshable::Event& event) {
  failed_ = event.attempt;
  const bool by_rejection = oracle_->running_by() != Oracle::ByRejection::kNo;
  // A8: if the failed attempt was told of a rejection, the reads that rejected
  // the token end. Otherwise they look for a token again.
  const bool told = running_told_ || by_rejection || told_ != Told::kNo;
  Expect(!absl::StrContains(event.status.message(), "was not called") ||
             !MayCall(),
         "F6, B8: the source was not called, and might have been");
  ends_ = oracle_->Exhausted() ||
          oracle_->running_by() == Oracle::ByRejection::kYes ||
          refreshable::ClassifyFailure(event.status) ==
              refreshable::FailureClass::kPermanent;
  const bool degrades = policy_.max_stale_on_error > absl::ZeroDuration();
  for (Reader& reader : readers_) {
    if (!Waits(reader)) continue;
    reader.joins = false;
    if (reader.rejecting && oracle_->Rejects(reader.rejected)) {
      // A read may be the first to notice that the attempt timed out. Such a
      // read came too late to join the attempt. It is being made (`calling`),
      // or looks for a token again in a task (`in_task_`).
      const bool too_late = reader.calling || in_task_;
      (told || too_late ? reader.may_fail : reader.may_rejoin) = true;
      continue;
    }
    if (!reader.calling) ++reader.saw_failures;
    // A read that is being made may have come too late to join the attempt.
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
  oracle_->OnFetch();
  BackIn();
  const refreshable::Generation told = context.rejected();
  if (oracle_->TellsRejected() || told_ == Told::kYes) {
    Expect(told == oracle_->generation(),
           "A3, A8: an attempt was not told of the rejection");
  } else if (told_ == Told::kNo && !lost_task_) {
    Expect(told.value() == 0, "A3: an attempt was told of a rejection");
  }
  running_told_ = told.value() > 0;
  if (queued_ > 0) --queued_;
  Expect(MayCall(), "F6: the source was called beyond the bound");
  const int unanswered = Unanswered();
  beyond_ += unanswered >= policy_.max_abandoned_calls ? 1 : 0;
  last_call_ = Now().boot;
  held_.push_back({std::move(done), context, oracle_->epoch(), Now()});
  if (at_end_) {
    AnswerCall(held_.size() - 1, Succeed());
  } else if (inside_.has_value()) {
    AnswerCall(held_.size() - 1, *inside_);
  }
}

// Called while the Refreshable runs user code. E5: it holds no lock then. If it
// held one, the call of `stats` would hang.
void World::BackIn() {
  if (alive_ != nullptr) alive_->stats();
}

}  // namespace schedule
}  // namespace refreshable_testing
