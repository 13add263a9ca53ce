// SPDX-License-Identifier: Apache-2.0
//
// ScriptedSource: a token source that does what a test says.

#ifndef REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_
#define REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

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
#include "refreshable/token_source.h"

namespace refreshable_testing {

// Scripts the calls of a token source. Each call takes the first answer that
// was prepared and not taken yet, and gives it before `Fetch` returns; failing
// that, the one for `Always`; failing that, the call is held until the test
// answers it, in whatever order it likes:
//
//   ManualExecutor executor;
//   ScriptedSource<std::string> source(&executor.clock());
//   auto token = *Refreshable<std::string>::Create(source.Share(),
//                                                  {&executor});
//   source.Answer("t1", absl::Minutes(10));
//   EXPECT_THAT(token->Get(), HoldsToken("t1"));
//   executor.AdvanceBy(absl::Minutes(6));
//   EXPECT_THAT(token->Get(), HoldsToken("t1"));  // Stale: call 1 is queued,
//   executor.RunUntilIdle();                      // ... and held.
//   source.Release(1, "t2", absl::Minutes(10));
//   EXPECT_THAT(token->Get(), HoldsToken("t2"));
//
// Calls are numbered from 0 in the order in which they come. Thread-safe. When
// the script is destroyed, calls still held are dropped unanswered, and so is
// every later one: declare it before the Refreshable.
template <typename Token>
class ScriptedSource {
 public:
  using Result = absl::StatusOr<refreshable::Credential<Token>>;
  using Function = std::function<Result(const refreshable::FetchContext&)>;

  struct Call {
    refreshable::FetchContext context;
    // When `Fetch` was entered; on no clock, its default.
    refreshable::Instant start;
  };

  // `clock`, if given, stamps the calls; it must outlive the script.
  explicit ScriptedSource(const refreshable::Clock* clock = nullptr)
      : core_(std::make_shared<Core>(clock)) {}
  ScriptedSource(const ScriptedSource&) = delete;
  ScriptedSource& operator=(const ScriptedSource&) = delete;
  ~ScriptedSource() { core_->Close(); }

  // What to give to `Refreshable::Create`. All that is returned is one source.
  std::shared_ptr<refreshable::TokenSource<Token>> Share() const {
    return core_;
  }

  // Prepares one answer: a token and its lifetime, a credential, or a status.
  void Answer(Token token, absl::Duration lifetime) {
    Answer(Make(std::move(token), lifetime));
  }
  void Answer(Result result) {
    core_->Prepare([result = std::move(result)](const auto&) mutable {
      return std::move(result);
    });
  }
  // Prepares one call of `function`, whose result is the answer. It may block,
  // throw, and read the Refreshable. It is called without a lock.
  void AnswerWith(Function function) { core_->Prepare(std::move(function)); }
  // Prepares one call that is held, for when other answers follow or `Always`
  // is set.
  void Hold() { core_->Prepare(nullptr); }

  // What every call gets that finds nothing prepared, until said otherwise.
  void Always(Token token, absl::Duration lifetime) {
    Always(Make(std::move(token), lifetime));
  }
  void Always(Result result) {
    core_->SetAlways(
        [result = std::move(result)](const auto&) { return result; });
  }
  void AlwaysWith(Function function) { core_->SetAlways(std::move(function)); }
  // From now on such calls are held again.
  void AlwaysHold() { core_->SetAlways(nullptr); }

  // Answers call `index`, in the calling thread. Requires that it is held:
  // the test fails otherwise.
  void Release(size_t index, Token token, absl::Duration lifetime) {
    Release(index, Make(std::move(token), lifetime));
  }
  void Release(size_t index, Result result) {
    auto done = core_->Take(index);
    if (done.has_value()) (*done)(std::move(result));
  }
  // Destroys the `FetchDone` of call `index` without calling it. Requires that
  // it is held.
  void Drop(size_t index) { core_->Take(index); }

  // The calls so far.
  std::vector<Call> calls() const {
    absl::MutexLock lock(&core_->mutex_);
    return core_->calls_;
  }
  size_t call_count() const {
    absl::MutexLock lock(&core_->mutex_);
    return core_->calls_.size();
  }
  // When each started, since the script was constructed. Requires a clock.
  std::vector<absl::Duration> start_times() const {
    std::vector<absl::Duration> times;
    for (const Call& call : calls()) {
      times.push_back(call.start.since_boot - core_->origin_);
    }
    return times;
  }

  // Blocks until `count` calls have come, for tests with threads.
  void AwaitCalls(size_t count) const {
    absl::MutexLock lock(&core_->mutex_);
    while (core_->calls_.size() < count) core_->called_.Wait(&core_->mutex_);
  }

 private:
  using Done = refreshable::FetchDone<Token>;
  using Once = absl::AnyInvocable<Result(const refreshable::FetchContext&)>;

  class Core final : public refreshable::TokenSource<Token> {
   public:
    explicit Core(const refreshable::Clock* clock)
        : clock_(clock), origin_(Now().since_boot) {}

    void Fetch(const refreshable::FetchContext& context, Done done) override {
      Once answer;
      {
        absl::MutexLock lock(&mutex_);
        if (closed_) return;
        calls_.push_back({context, Now()});
        held_.emplace_back();
        called_.SignalAll();
        if (!prepared_.empty()) {
          answer = std::move(prepared_.front());
          prepared_.pop_front();
        } else if (always_ != nullptr) {
          answer = [always = always_](const refreshable::FetchContext& c) {
            return (*always)(c);
          };
        }
        if (!answer) {
          held_.back().emplace(std::move(done));
          return;
        }
      }
      done(answer(context));
    }

    void Prepare(Once answer) {
      absl::MutexLock lock(&mutex_);
      prepared_.push_back(std::move(answer));
    }

    void SetAlways(Function function) {
      auto always = function == nullptr
                        ? nullptr
                        : std::make_shared<Function>(std::move(function));
      absl::MutexLock lock(&mutex_);
      always_.swap(always);
    }

    std::optional<Done> Take(size_t index) {
      std::optional<Done> done;
      absl::MutexLock lock(&mutex_);
      if (index < held_.size() && held_[index].has_value()) {
        done.emplace(*std::move(held_[index]));
        held_[index].reset();
      } else {
        ADD_FAILURE() << "ScriptedSource: call " << index << " is not held; "
                      << calls_.size() << " calls so far";
      }
      return done;
    }

    // Breaks the circle of a held call that owns what owns this source.
    void Close() {
      std::vector<std::optional<Done>> dropped;
      absl::MutexLock lock(&mutex_);
      closed_ = true;
      dropped.swap(held_);
    }

   private:
    friend class ScriptedSource;

    refreshable::Instant Now() const {
      return clock_ == nullptr ? refreshable::Instant{} : clock_->Now();
    }

    const refreshable::Clock* const clock_;
    const absl::Duration origin_;
    mutable absl::Mutex mutex_;
    mutable absl::CondVar called_;
    bool closed_ ABSL_GUARDED_BY(mutex_) = false;
    std::deque<Once> prepared_ ABSL_GUARDED_BY(mutex_);
    std::shared_ptr<Function> always_ ABSL_GUARDED_BY(mutex_);
    std::vector<Call> calls_ ABSL_GUARDED_BY(mutex_);
    // By call; what has been answered is empty.
    std::vector<std::optional<Done>> held_ ABSL_GUARDED_BY(mutex_);
  };

  static Result Make(Token token, absl::Duration lifetime) {
    return refreshable::Credential<Token>(std::move(token),
                                          refreshable::Expiry::In(lifetime));
  }

  const std::shared_ptr<Core> core_;
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_SCRIPTED_SOURCE_H_
