// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "docs/examples/rejections/play.h"
#include "docs/examples/rejections/servers.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {
namespace {

using refreshable::Lease;
using refreshable::ManualExecutor;
using refreshable::Refreshable;

// The thread that calls `Run` moves the time and runs the executor's tasks.
// There is one round for each second of the play. In each round, each caller
// makes one call. If a round takes longer than a second, the next round begins
// at once.
class ThreadedProgram {
 public:
  explicit ThreadedProgram(const Play& play)
      : play_(play),
        servers_(play, &executor_),
        token_(servers_.MakeRefreshable()) {}

  Outcome Run() {
    for (int i = 0; i < play_.callers; ++i) {
      threads_.emplace_back([this] {
        for (int64_t round = 1; AwaitRound(round); ++round) {
          const absl::Duration start = servers_.Elapsed();
          servers_.OnGoodCall(
              start, Call([&](Token token) { return servers_.Serve(token); }));
          Finish();
        }
      });
    }
    if (play_.bad_period < absl::InfiniteDuration()) {
      threads_.emplace_back([this] {
        absl::Duration next = play_.bad_period;
        for (int64_t round = 1; AwaitRound(round); ++round) {
          if (servers_.Elapsed() >= next) {
            Call([](Token) { return 401; });
            next += play_.bad_period;
          }
          Finish();
        }
      });
    }
    for (int64_t second = 0; absl::Seconds(second) < play_.length; ++second) {
      const absl::Duration left = absl::Seconds(second) - servers_.Elapsed();
      if (left > absl::ZeroDuration()) executor_.AdvanceBy(left);
      PlayRound();
    }
    {
      absl::MutexLock lock(&mutex_);
      over_ = true;
      changed_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
    return servers_.outcome();
  }

 private:
  template <typename Server>
  int Call(Server server) {
    return refreshable::CallWithToken(
               *token_, {},
               [&](const Lease<Token>& lease) { return server(lease.token()); },
               [](int status) { return status == 401; })
        .value_or(0);
  }

  // Returns false if the simulation ends before `round` begins.
  bool AwaitRound(int64_t round) {
    absl::MutexLock lock(&mutex_);
    while (round_ < round && !over_) changed_.Wait(&mutex_);
    return round_ >= round;
  }
  void Finish() {
    absl::MutexLock lock(&mutex_);
    --calling_;
  }
  int64_t calling() const {
    absl::MutexLock lock(&mutex_);
    return calling_;
  }

  // Returns when all threads have finished the round.
  void PlayRound() {
    {
      absl::MutexLock lock(&mutex_);
      ++round_;
      calling_ = static_cast<int64_t>(threads_.size());
      changed_.SignalAll();
    }
    for (;;) {
      executor_.RunUntilIdle();
      const int64_t calling = this->calling();
      if (calling == 0) return;
      // The time moves only if all threads that have not finished the round
      // wait for the endpoint.
      const absl::Duration left = servers_.NextAnswer() - servers_.Elapsed();
      if (left > absl::ZeroDuration() && token_->health().waiters == calling) {
        executor_.AdvanceBy(left);
      } else {
        std::this_thread::yield();
      }
    }
  }

  const Play play_;
  ManualExecutor executor_;
  Servers servers_;
  const std::unique_ptr<Refreshable<Token>> token_;
  std::vector<std::thread> threads_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  int64_t round_ ABSL_GUARDED_BY(mutex_) = 0;
  // The number of threads that have not finished this round.
  int64_t calling_ ABSL_GUARDED_BY(mutex_) = 0;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

Outcome PlayWithThreads(const Play& play) {
  return ThreadedProgram(play).Run();
}

}  // namespace refreshable_examples
