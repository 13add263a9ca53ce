// SPDX-License-Identifier: Apache-2.0
//
// One Refreshable of the soak, its faulty source, and the checks of its reads.

#ifndef REFRESHABLE_TESTS_SOAK_INSTANCE_H_
#define REFRESHABLE_TESTS_SOAK_INSTANCE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/event.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/generation.h"
#include "refreshable/lease.h"
#include "refreshable/policy.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/soak/ledger.h"
#include "refreshable/tests/soak/source.h"

namespace refreshable_soak {

using TokenLease = refreshable::Lease<Token>;
using LeaseOr = absl::StatusOr<TokenLease>;

// The totals of all instances.
struct Totals {
  std::atomic<int64_t> leases{0};     // Reads that got a token.
  std::atomic<int64_t> refusals{0};   // Reads that ended with an error.
  std::atomic<int64_t> published{0};  // Tokens published in any way.
};

// Checks that one Refreshable keeps its promises. Thread-safe.
//
// Compares each outcome with what was known before the read, so that a delayed
// thread causes no false alarm. A wall clock that is set back may cause a false
// alarm. A Checks outlives its Refreshable, because callbacks run while the
// Refreshable is being destroyed.
class Checks {
 public:
  Checks(std::string name, const refreshable::RefreshPolicy& policy,
         Totals* totals);

  // What was known before a read.
  struct Before {
    refreshable::Instant now;
    uint64_t least = 0;  // The earliest generation that a read may get.
  };
  Before Look() const;

  // Where a read is made. This decides which errors the read may end with.
  enum class Where {
    kCaller,    // On a thread of the soak; the Refreshable lives on.
    kCallback,  // In a callback, where a read may fail instead of waiting.
    kAtTheEnd,  // Where the Refreshable may be destroyed during the read.
    kTry,       // In TryGet, which never waits.
  };
  // Checks the outcome of a read that started after `before` was taken.
  void Read(const Before& before, absl::Duration timeout, Where where,
            const LeaseOr& lease);
  // After this call, each read that starts must get `generation` or a later
  // generation.
  void Raise(uint64_t generation);
  // These must be called before and after each `Reset()`. After a reset, a
  // token that Invalidate has withdrawn may be published again (A1).
  void ResetBegins();
  void ResetEnded();
  // Returns how many resets have begun, or kResetting while one is running.
  int64_t resets() const;

  // Notes that Invalidate has withdrawn the token of `lease` at the moment
  // `since` or later. `resets` is what `resets()` returned before Invalidate
  // was called.
  void Withdrawn(const TokenLease& lease, uint64_t since, int64_t resets);

  // The Refreshable's hook calls `Published`, and its observer calls `Told`.
  void Published(const TokenLease& lease);
  void Told(const refreshable::Event& event);

  const std::shared_ptr<Schedule>& schedule() const { return schedule_; }

 private:
  // The publication or withdrawal of `generation` after the moment `since`. If
  // an attempt brought the token, the attempt began before the moment `asked`.
  // Otherwise `asked` is `Token::kNotAsked`.
  struct Change {
    uint64_t generation;
    uint64_t since;
    uint64_t asked;
  };
  static constexpr int64_t kResetting = -1;

  void NoteChange(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Wrong(const char* clause, const std::string& what) const;
  void CheckLease(const Before& before, const TokenLease& lease);
  void CheckRefusal(const Before& before, absl::Duration timeout, Where where,
                    const absl::Status& status);

  const std::string name_;
  const refreshable::RefreshPolicy policy_;
  Totals* const totals_;
  const std::shared_ptr<Schedule> schedule_;
  std::atomic<uint64_t> least_{0};
  std::atomic<bool> telling_{false};
  uint64_t told_generation_ = 0;  // No lock: observer calls never overlap.
  mutable absl::Mutex mutex_;
  uint64_t withdrawn_generation_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t withdrawn_token_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t resets_ ABSL_GUARDED_BY(mutex_) = 0;
  int resetting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Change> changes_ ABSL_GUARDED_BY(mutex_);  // The latest changes.
};

// One call of GetAsync. Either its callback runs once, or it is cancelled.
class AsyncRead {
 public:
  // Returns whether the library has destroyed the callback.
  bool gone() const { return gone_.load(std::memory_order_acquire); }
  // Requires that `gone()` is true.
  void CheckEnd() const;

 private:
  friend class Instance;

  std::atomic<int> ended_{0};
  std::atomic<bool> gone_{false};
  refreshable::WaiterId id_{};
  bool cancelled_ = false;
};

// One Refreshable under test. As thread-safe as a Refreshable.
class Instance {
 public:
  struct Config {
    std::string name;
    refreshable::RefreshPolicy policy;
    refreshable::Executor* executor = nullptr;
    uint64_t seed = 0;
    LateAnswers* late = nullptr;
    Totals* totals = nullptr;
    // If not null, runs after each publication.
    std::function<void()> hook = nullptr;
  };
  explicit Instance(const Config& config);
  ~Instance();
  // Returns whether the Refreshable has counted as many attempts as its source
  // has seen calls.
  bool Accounted() const;

  // These make a read and check its outcome.
  LeaseOr Get(absl::Duration timeout,
              Checks::Where where = Checks::Where::kCaller);
  LeaseOr TryGet();
  // The callback checks the outcome, and then calls `then` if that is not null.
  std::shared_ptr<AsyncRead> GetAsync(
      absl::Duration timeout, absl::AnyInvocable<void()> then = nullptr);
  void Cancel(AsyncRead& read);
  void Invalidate(const TokenLease& lease);
  void Install();
  void Reset();

  // During an outage, clients do not call Install or Invalidate, and call Reset
  // only to let pending reads end. But a client that checked `outage()` just
  // before the outage began may still make any of these calls.
  void StartOutage(FaultySource::Mode mode);
  void EndOutage();
  bool outage() const { return outage_; }

  const std::string& name() const { return name_; }
  FaultySource& source() { return *source_; }
  const refreshable::Refreshable<Token>& refreshable() const {
    return *refreshable_;
  }

 private:
  const std::string name_;
  const std::shared_ptr<Checks> checks_;
  const std::shared_ptr<FaultySource> source_;
  std::atomic<bool> outage_{false};
  std::unique_ptr<refreshable::Refreshable<Token>> refreshable_;
};

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_INSTANCE_H_
