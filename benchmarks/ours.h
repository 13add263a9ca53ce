// SPDX-License-Identifier: Apache-2.0
//
// Refreshable with the interface of baselines.h.

#ifndef REFRESHABLE_BENCHMARKS_OURS_H_
#define REFRESHABLE_BENCHMARKS_OURS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmarks/baselines.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"
#include "refreshable/token_source.h"

namespace refreshable_benchmarks {

// The system's clocks. After `set_back(d)`, `Now` is earlier by `d`, but the
// coarse clocks are not.
class ShiftedClock final : public refreshable::Clock {
 public:
  refreshable::Instant Now() const override {
    refreshable::Instant now = refreshable::SystemClock::Get().Now();
    now.wall -= back_;
    now.boot -= back_;
    return now;
  }
  refreshable::CoarseWallClock CoarseWall() const override {
    return refreshable::CoarseWallClock::System();
  }
  refreshable::CoarseBootClock CoarseBoot() const override {
    return refreshable::CoarseBootClock::System();
  }
  void set_back(absl::Duration back) { back_ = back; }

 private:
  absl::Duration back_ = absl::ZeroDuration();
};

// An executor that keeps its tasks and runs none, so that nothing else happens
// during a measurement.
class IdleExecutor final : public refreshable::Executor {
 public:
  bool Run(Task task) override { return Keep(std::move(task)); }
  refreshable::TimerId RunAfter(absl::Duration, Task task) override {
    Keep(std::move(task));
    return refreshable::TimerId{1};
  }
  bool Cancel(refreshable::TimerId) override { return true; }
  bool InExecutorThread() const override { return false; }
  const refreshable::Clock& clock() const override { return clock_; }
  void set_back(absl::Duration back) { clock_.set_back(back); }
  // Reserves memory for `tasks` tasks in total.
  void Reserve(size_t tasks) {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.reserve(tasks);
  }

 private:
  bool Keep(Task task) {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    return true;
  }
  ShiftedClock clock_;
  std::mutex mutex_;
  std::vector<Task> tasks_;
};

// A Refreshable whose reads are measured. It has no token until `Publish` is
// called, because its source always fails.
template <typename ExecutorType>
class RefreshableRead {
 public:
  using Refreshable = refreshable::Refreshable<std::string>;

  explicit RefreshableRead(
      std::shared_ptr<ExecutorType> executor = std::make_shared<ExecutorType>())
      : executor_(std::move(executor)) {
    auto created = Refreshable::Create(
        refreshable::BlockingSource<std::string>(
            []() -> absl::StatusOr<refreshable::Credential<std::string>> {
              return absl::UnavailableError("the source is down");
            }),
        {executor_.get()});
    if (!created.ok()) std::abort();
    refreshable_ = *std::move(created);
  }
  void Publish(std::string token) {
    const auto installed =
        refreshable_->Install(refreshable::Credential<std::string>(
            std::move(token), refreshable::Expiry::In(absl::Hours(1))));
    if (!installed.ok()) std::abort();
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() { return reader().Read(); }
  // A loop of reads uses a Reader. Unlike the `Read` above, the Reader's `Read`
  // does not load `RefreshableRead::refreshable_` each time.
  class Reader {
   public:
    explicit Reader(Refreshable& refreshable) : refreshable_(refreshable) {}
    ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
      absl::StatusOr<refreshable::Lease<std::string>> lease =
          refreshable_.Get();
      return lease.ok() ? lease->token()[0] : '\0';
    }

   private:
    Refreshable& refreshable_;
  };
  Reader reader() { return Reader(*refreshable_); }
  Refreshable& refreshable() { return *refreshable_; }
  ExecutorType& executor() { return *executor_; }

 private:
  std::shared_ptr<ExecutorType> executor_;
  std::unique_ptr<Refreshable> refreshable_;
};

class Fresh : public RefreshableRead<IdleExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, fresh";
  explicit Fresh(std::string token) { Publish(std::move(token)); }
  Fresh(std::string token, std::shared_ptr<IdleExecutor> executor)
      : RefreshableRead(std::move(executor)) {
    Publish(std::move(token));
  }
};

// The token is stale, because fifty minutes of its hour have passed. A refresh
// is queued, and the executor never runs it.
class Stale : public RefreshableRead<IdleExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, stale";
  explicit Stale(std::string token) {
    executor().set_back(absl::Minutes(50));
    Publish(std::move(token));
    executor().set_back(absl::ZeroDuration());
    if (Read() == '\0' || !refreshable().health().refreshing) std::abort();
  }
};

class VirtualTime : public RefreshableRead<refreshable::ManualExecutor> {
 public:
  static constexpr char kName[] = "Refreshable, fresh, in virtual time";
  explicit VirtualTime(std::string token) { Publish(std::move(token)); }
};

// A read through the hazard domain, without a Refreshable. It takes a slot by
// compare-and-swap, as `Get` does in a build without thread_local.
class SharedSlots {
 public:
  static constexpr char kName[] = "the read alone, without thread_local";
  explicit SharedSlots(std::string token) { Publish(std::move(token)); }
  ~SharedSlots() { Retire(nullptr); }
  void Publish(std::string token) { Retire(new Node(std::move(token))); }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const int64_t now = std::time(nullptr);
    const refreshable::internal::HazardHolder hold(
        refreshable::internal::HazardDomain::Current().TryProtectShared(cell_));
    const auto* const node = static_cast<const Node*>(hold.node());
    return now < node->entry.good_until ? node->entry.token[0] : '\0';
  }

 private:
  struct Node final : refreshable::internal::HazardNode {
    explicit Node(std::string token) : entry(MakeEntry(std::move(token))) {}
    const Entry entry;
  };
  void Retire(const Node* node) {
    refreshable::internal::HazardDomain::Current().Retire(cell_.exchange(node));
  }
  refreshable::internal::HazardCell cell_{nullptr};
};

}  // namespace refreshable_benchmarks

#endif  // REFRESHABLE_BENCHMARKS_OURS_H_
