// SPDX-License-Identifier: Apache-2.0
//
// ScriptedSource: a token source that a test controls.

#ifndef REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_
#define REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/token_source.h"

namespace refreshable_testing {

// The script of a token source: the answers to its calls, which are numbered
// from 0. Each call takes the next prepared answer or, if there is none, the
// answer set by `Always`. Answers are given before `Fetch` returns, but a timer
// gives those of AnswerAfter and AlwaysAfter. A call that finds no answer is
// held until the test answers it, by its number. Held calls can be answered in
// any order:
//
//   ManualExecutor executor;
//   ScriptedSource<std::string> source(&executor.clock());
//   auto token = *Refreshable<std::string>::Create(source.Share(),
//                                                  {&executor});
//   source.Answer("t1", absl::Minutes(10));
//   EXPECT_THAT(token->Get(), HoldsToken("t1"));
//   executor.AdvanceBy(absl::Minutes(6));
//   EXPECT_THAT(token->Get(), HoldsToken("t1"));  // Stale: a call is queued.
//   executor.RunUntilIdle();                      // The call is held as no. 1.
//   source.Release(1, "t2", absl::Minutes(10));
//   EXPECT_THAT(token->Get(), HoldsToken("t2"));
//
// Thread-safe. The destructor drops the held calls, and later calls are dropped
// too. Declare the script before the Refreshable.
template <typename Token>
class ScriptedSource {
 public:
  using Result = absl::StatusOr<refreshable::Credential<Token>>;
  using Function = std::function<Result(const refreshable::FetchContext&)>;

  // When a token of the script expires.
  class Life {
   public:
    // `lifetime` counts from the start of the attempt.
    Life(absl::Duration lifetime)  // NOLINT(google-explicit-constructor)
        : expiry_(refreshable::Expiry::In(lifetime)) {}
    Life(refreshable::Expiry expiry)  // NOLINT(google-explicit-constructor)
        : expiry_(expiry) {}

    refreshable::Expiry expiry() const { return expiry_; }

   private:
    refreshable::Expiry expiry_;
  };

  struct Call {
    refreshable::FetchContext context;
    // The time when `Fetch` was called, or Instant() if the script has no
    // clock.
    refreshable::Instant start;
  };

  // If `clock` is not null, each call records its start by `clock`, which must
  // outlive the script.
  explicit ScriptedSource(const refreshable::Clock* clock = nullptr)
      : core_(std::make_shared<Core>(clock, nullptr)) {}
  // Each call records its start by the clock of `executor`, whose timers give
  // the answers of AnswerAfter and AlwaysAfter. `executor` must outlive the
  // script.
  explicit ScriptedSource(refreshable::Executor* executor)
      : core_(std::make_shared<Core>(&executor->clock(), executor)) {}
  ScriptedSource(const ScriptedSource&) = delete;
  ScriptedSource& operator=(const ScriptedSource&) = delete;
  ~ScriptedSource() { core_->Close(); }

  // Returns the source to pass to `Refreshable::Create`, the same each time.
  std::shared_ptr<refreshable::TokenSource<Token>> Share() const {
    return core_;
  }

  // Prepares one answer: a token with its lifetime or expiry, a credential, or
  // a status.
  void Answer(Token token, Life life) { Answer(Make(std::move(token), life)); }
  void Answer(Result result) {
    core_->Prepare(Return(std::move(result)), std::nullopt);
  }
  // Prepares one answer. The call that takes it is answered by a timer of the
  // executor after `delay`, even if the attempt was abandoned. Until then the
  // call is held, and the test may release or drop it. If the executor refuses
  // the timer, the call is dropped. If the script has no executor, the test
  // fails.
  void AnswerAfter(absl::Duration delay, Token token, Life life) {
    AnswerAfter(delay, Make(std::move(token), life));
  }
  void AnswerAfter(absl::Duration delay, Result result) {
    core_->Prepare(Return(std::move(result)), delay);
  }
  // Prepares one answer: what `function` returns for the call's context. No
  // lock is held while `function` runs. It may block, throw and read the
  // Refreshable, but must not wait for the attempt that it answers.
  void AnswerWith(Function function) {
    core_->Prepare(std::move(function), std::nullopt);
  }
  // Prepares one hold in place of an answer: the call that takes it is held,
  // even if `Always` has set an answer.
  void Hold() { core_->Prepare(nullptr, std::nullopt); }

  // Sets the answer to every call that finds no prepared answer. Replaces the
  // answer that was set before.
  void Always(Token token, Life life) { Always(Make(std::move(token), life)); }
  void Always(Result result) {
    core_->SetAlways({ReturnAgain(std::move(result)), std::nullopt});
  }
  void AlwaysWith(Function function) {
    core_->SetAlways({std::move(function), std::nullopt});
  }
  // Like `Always`, but a timer gives the answer `delay` after each call, as
  // with AnswerAfter.
  void AlwaysAfter(absl::Duration delay, Token token, Life life) {
    AlwaysAfter(delay, Make(std::move(token), life));
  }
  void AlwaysAfter(absl::Duration delay, Result result) {
    core_->SetAlways({ReturnAgain(std::move(result)), delay});
  }
  // Undoes `Always`, AlwaysWith and AlwaysAfter.
  void AlwaysHold() { core_->SetAlways({}); }

  // Answers call `index` on the calling thread. If the call is not held, the
  // test fails.
  void Release(size_t index, Token token, Life life) {
    Release(index, Make(std::move(token), life));
  }
  void Release(size_t index, Result result) {
    auto done = core_->Take(index);
    if (done.has_value()) (*done)(std::move(result));
  }
  // Destroys the `FetchDone` of call `index` without calling it. If the call is
  // not held, the test fails.
  void Drop(size_t index) { core_->Take(index); }

  // Returns all calls that have come so far.
  std::vector<Call> calls() const {
    absl::MutexLock lock(&core_->mutex_);
    return core_->calls_;
  }
  size_t call_count() const {
    absl::MutexLock lock(&core_->mutex_);
    return core_->calls_.size();
  }
  // Returns the start time of each call, counted from the construction of the
  // script. Requires that the script has a clock.
  std::vector<absl::Duration> start_times() const {
    std::vector<absl::Duration> times;
    for (const Call& call : calls()) {
      times.push_back(call.start.boot - core_->origin_);
    }
    return times;
  }

  // Blocks until at least `count` calls have come.
  void AwaitCalls(size_t count) const {
    absl::MutexLock lock(&core_->mutex_);
    while (core_->calls_.size() < count) core_->called_.Wait(&core_->mutex_);
  }

 private:
  using Done = refreshable::FetchDone<Token>;
  using Once = absl::AnyInvocable<Result(const refreshable::FetchContext&)>;
  // An answer, given by a timer if `delay` is set, and by `Fetch` otherwise.
  template <typename F>
  struct Timed {
    F function = nullptr;  // If null, the call is held.
    std::optional<absl::Duration> delay;
  };

  class Core final : public refreshable::TokenSource<Token>,
                     public std::enable_shared_from_this<Core> {
   public:
    Core(const refreshable::Clock* clock, refreshable::Executor* executor)
        : clock_(clock), executor_(executor), origin_(Now().boot) {}

    void Fetch(const refreshable::FetchContext& context, Done done) override {
      Timed<Once> answer;
      size_t index = 0;
      std::optional<Done> at_once;
      {
        absl::MutexLock lock(&mutex_);
        if (closed_) return;
        index = calls_.size();
        calls_.push_back({context, Now()});
        held_.emplace_back();
        called_.SignalAll();
        if (!prepared_.empty()) {
          answer = std::move(prepared_.front());
          prepared_.pop_front();
        } else if (always_ != nullptr) {
          answer.function = [always =
                                 always_](const refreshable::FetchContext& c) {
            return always->function(c);
          };
          answer.delay = always_->delay;
        }
        std::optional<Done>& keeper =
            answer.function && !answer.delay.has_value() ? at_once
                                                         : held_.back();
        keeper.emplace(std::move(done));
      }
      if (at_once.has_value()) return (*at_once)(answer.function(context));
      if (!answer.function) return;
      const bool accepted =
          executor_->RunAfter(
              *answer.delay, [weak = this->weak_from_this(), index, context,
                              function = std::move(answer.function)]() mutable {
                std::optional<Done> held;
                if (const auto core = weak.lock()) {
                  held = core->TakeIfHeld(index);
                }
                if (held.has_value()) (*held)(function(context));
              }) != refreshable::TimerId::kNone;
      if (!accepted) TakeIfHeld(index);
    }

    void Prepare(Once answer, std::optional<absl::Duration> delay) {
      if (!MayDelay(delay)) return;
      absl::MutexLock lock(&mutex_);
      prepared_.push_back({std::move(answer), delay});
    }

    void SetAlways(Timed<Function> answer) {
      if (!MayDelay(answer.delay)) return;
      auto always = answer.function == nullptr
                        ? nullptr
                        : std::make_shared<Timed<Function>>(std::move(answer));
      absl::MutexLock lock(&mutex_);
      always_.swap(always);
    }

    std::optional<Done> TakeIfHeld(size_t index) {
      std::optional<Done> done;
      absl::MutexLock lock(&mutex_);
      if (index < held_.size() && held_[index].has_value()) {
        done.emplace(*std::move(held_[index]));
        held_[index].reset();
      }
      return done;
    }

    std::optional<Done> Take(size_t index) {
      std::optional<Done> done = TakeIfHeld(index);
      if (!done.has_value()) {
        absl::MutexLock lock(&mutex_);
        ADD_FAILURE() << "ScriptedSource: call " << index << " is not held; "
                      << calls_.size() << " calls so far";
      }
      return done;
    }

    // Drops all held and all later calls. A held call may own this source,
    // which owns the call. Dropping the call breaks that cycle.
    void Close() {
      std::vector<std::optional<Done>> dropped;
      absl::MutexLock lock(&mutex_);
      closed_ = true;
      dropped.swap(held_);
    }

   private:
    friend class ScriptedSource;

    bool MayDelay(std::optional<absl::Duration> delay) const {
      if (!delay.has_value() || executor_ != nullptr) return true;
      ADD_FAILURE() << "ScriptedSource: an answer after a time needs the "
                       "constructor that takes an executor";
      return false;
    }
    refreshable::Instant Now() const {
      return clock_ == nullptr ? refreshable::Instant{} : clock_->Now();
    }

    const refreshable::Clock* const clock_;
    refreshable::Executor* const executor_;  // May be null.
    const refreshable::BootTime origin_;
    mutable absl::Mutex mutex_;
    mutable absl::CondVar called_;
    bool closed_ ABSL_GUARDED_BY(mutex_) = false;
    std::deque<Timed<Once>> prepared_ ABSL_GUARDED_BY(mutex_);
    std::shared_ptr<Timed<Function>> always_ ABSL_GUARDED_BY(mutex_);
    std::vector<Call> calls_ ABSL_GUARDED_BY(mutex_);
    // The `FetchDone` of each call; nullopt if the call is not held.
    std::vector<std::optional<Done>> held_ ABSL_GUARDED_BY(mutex_);
  };

  static Result Make(Token token, Life life) {
    return refreshable::Credential<Token>(std::move(token), life.expiry());
  }
  static Once Return(Result result) {
    return [result = std::move(result)](const auto&) mutable {
      return std::move(result);
    };
  }
  static Function ReturnAgain(Result result) {
    return [result = std::move(result)](const auto&) { return result; };
  }

  const std::shared_ptr<Core> core_;
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_
