// SPDX-License-Identifier: Apache-2.0
//
// Patterns, used by programs without this library, for reads that come while
// there is no token. Each is in its simplest correct form, with the constructor
//
//   explicit Pattern(Endpoint* endpoint);
//
// and one or two of these methods, which are thread-safe:
//
//   // Starts a read that blocks no thread. When the refresh fails, `told` is
//   // called with the error.
//   void Join(std::function<void(const absl::Status&)> told);
//
//   // Reads, and blocks the calling thread until the refresh fails. Returns
//   // the error.
//   absl::Status Wait();
//
//   // Reads after a refresh has failed and before the next attempt is due.
//   // Returns the error at once.
//   absl::Status Read();

#ifndef REFRESHABLE_BENCHMARKS_WAITING_BASELINES_H_
#define REFRESHABLE_BENCHMARKS_WAITING_BASELINES_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "refreshable/executors/clock.h"

namespace refreshable_benchmarks {

// Each call waits until `Fail` is called, and then fails.
class Endpoint {
 public:
  using Done = std::function<void(const absl::Status&)>;

  // Does not block. Calls `done` with the error when the call fails.
  void Call(Done done) {
    ++calls_;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!failing_) {
        waiting_.push_back(std::move(done));
        return;
      }
    }
    done(Failure());
  }
  absl::Status BlockingCall() {
    ++calls_;
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return failing_; });
    return Failure();
  }
  // Fails the calls that wait and, from now on, each new call.
  void Fail() {
    std::vector<Done> waiting;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      failing_ = true;
      waiting.swap(waiting_);
    }
    changed_.notify_all();
    for (Done& done : waiting) done(Failure());
  }
  // From now on, new calls wait for `Fail`.
  void Hold() {
    std::lock_guard<std::mutex> lock(mutex_);
    failing_ = false;
  }
  int64_t calls() const { return calls_; }

  static absl::Status Failure() {
    return absl::UnavailableError("the token endpoint answers 503");
  }

 private:
  std::atomic<int64_t> calls_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool failing_ = false;
  std::vector<Done> waiting_;
};

// ---- Reads that block no thread ----

// The floor, which does the least that any pattern must do. The first read
// calls the endpoint. The thread that ends this call runs all callbacks.
class CallbackList {
 public:
  static constexpr char kName[] = "floor: list of callbacks";
  explicit CallbackList(Endpoint* endpoint) : endpoint_(endpoint) {}

  void Join(Endpoint::Done told) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(told));
      if (waiting_.size() > 1) return;
    }
    endpoint_->Call([this](const absl::Status& status) {
      std::vector<Endpoint::Done> waiting;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        waiting.swap(waiting_);
      }
      for (Endpoint::Done& told : waiting) told(status);
    });
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  std::vector<Endpoint::Done> waiting_;
};

// Each read calls the endpoint, as in a cache without single flight.
class EachCalls {
 public:
  static constexpr char kName[] = "each calls the endpoint";
  explicit EachCalls(Endpoint* endpoint) : endpoint_(endpoint) {}

  void Join(Endpoint::Done told) { endpoint_->Call(std::move(told)); }
  absl::Status Wait() { return endpoint_->BlockingCall(); }

 private:
  Endpoint* const endpoint_;
};

// ---- Reads that block their thread ----

// The floor: one thread calls the endpoint, and the others wait.
class NotifyAll {
 public:
  static constexpr char kName[] = "floor: condition variable, notify_all";
  explicit NotifyAll(Endpoint* endpoint) : endpoint_(endpoint) {}

  absl::Status Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t flight = flight_;
    if (calling_) {
      changed_.wait(lock, [&] { return flight_ != flight; });
      return outcome_;
    }
    calling_ = true;
    lock.unlock();
    const absl::Status outcome = endpoint_->BlockingCall();
    lock.lock();
    calling_ = false;
    ++flight_;
    outcome_ = outcome;
    changed_.notify_all();
    return outcome;
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool calling_ = false;
  int64_t flight_ = 0;
  absl::Status outcome_;
};

class SharedFuture {
 public:
  static constexpr char kName[] = "shared_future";
  explicit SharedFuture(Endpoint* endpoint) : endpoint_(endpoint) {}

  absl::Status Wait() {
    std::promise<absl::Status> promise;
    std::shared_future<absl::Status> future;
    bool first = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      first = !flight_.valid();
      if (first) flight_ = promise.get_future().share();
      future = flight_;
    }
    if (first) {
      absl::Status outcome = endpoint_->BlockingCall();
      {
        std::lock_guard<std::mutex> lock(mutex_);
        flight_ = {};
      }
      promise.set_value(std::move(outcome));
    }
    return future.get();
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
  std::shared_future<absl::Status> flight_;
};

// A thread holds a mutex during its call of the endpoint. When the call has
// failed, the next thread calls the endpoint again.
class LockedCall {
 public:
  static constexpr char kName[] = "mutex held over the call";
  explicit LockedCall(Endpoint* endpoint) : endpoint_(endpoint) {}

  absl::Status Wait() {
    std::lock_guard<std::mutex> lock(mutex_);
    return endpoint_->BlockingCall();
  }

 private:
  Endpoint* const endpoint_;
  std::mutex mutex_;
};

// ---- Between two attempts ----

// The floor: each read returns a copy of the last failure.
class RememberedFailure {
 public:
  static constexpr char kName[] = "floor: mutex, copy the status";
  explicit RememberedFailure(Endpoint*)
      : failure_(Endpoint::Failure()),
        due_(refreshable::SystemClock::Get().Now().boot + absl::Hours(1)) {}

  ABSL_ATTRIBUTE_ALWAYS_INLINE absl::Status Read() {
    const refreshable::BootTime now =
        refreshable::SystemClock::Get().Now().boot;
    std::lock_guard<std::mutex> lock(mutex_);
    return now < due_ ? failure_ : absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  const absl::Status failure_;
  const refreshable::BootTime due_;
};

}  // namespace refreshable_benchmarks

#endif  // REFRESHABLE_BENCHMARKS_WAITING_BASELINES_H_
