// SPDX-License-Identifier: Apache-2.0
//
// The soak's threads, and the state that they share.

#ifndef REFRESHABLE_TESTS_SOAK_CLIENTS_H_
#define REFRESHABLE_TESTS_SOAK_CLIENTS_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/executors/executor.h"
#include "refreshable/policy.h"
#include "refreshable/tests/soak/instance.h"
#include "refreshable/tests/soak/source.h"

namespace refreshable_soak {

// A set of places where threads leave leases for each other. Thread-safe.
class Exchange {
 public:
  static constexpr size_t kPlaces = 48;

  // Swaps `lease` with the lease at `place` (modulo kPlaces), and checks the
  // token that came. Either lease may be empty.
  void Swap(size_t place, std::optional<TokenLease>& lease);
  void Clear();

 private:
  absl::Mutex mutex_;
  std::vector<std::optional<TokenLease>> places_ ABSL_GUARDED_BY(mutex_) =
      std::vector<std::optional<TokenLease>>(kPlaces);
};

// A gate at which the clients wait while it is closed. A waiting client holds
// no lease. Thread-safe.
class Gate {
 public:
  bool closed() const { return closed_.load(std::memory_order_relaxed); }
  // Returns how many clients wait at the gate.
  int arrived() const;
  void Close();
  void Open();
  // Waits until the gate is open.
  void Pass();

 private:
  mutable absl::Mutex mutex_;
  std::atomic<bool> closed_{false};  // Written under the lock.
  int arrived_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The state that the threads share. Its parts are thread-safe.
struct World {
  // `roomy` has no limits; `tight` refuses some tasks and timers.
  refreshable::Executor* roomy = nullptr;
  refreshable::Executor* tight = nullptr;
  LateAnswers* late = nullptr;
  std::vector<std::unique_ptr<Instance>> instances;
  Totals totals;
  Exchange exchange;
  Gate gate;
  std::atomic<bool> stop{false};
};

// Returns a policy with short times. `kind` modulo 6 selects a variant.
refreshable::RefreshPolicy FastPolicy(uint64_t kind);

// The work of one of the soak's threads.
class Client {
 public:
  enum class Kind {
    kReader,   // Reads; sometimes invalidates, installs or resets.
    kLives,    // Creates Refreshables, and destroys them in several ways.
    kWeather,  // Makes endpoints fail and recover.
  };
  Client(Kind kind, int number, uint64_t seed, World* world);

  // Works until `World::stop` is true. Must be called on the client's own
  // thread.
  void Run();

  // The thread that monitors the clients calls these methods.
  const std::string& name() const { return name_; }
  int64_t operations() const {
    return operations_.load(std::memory_order_relaxed);
  }
  const char* operation() const {
    return operation_.load(std::memory_order_relaxed);
  }
  bool at_gate() const { return at_gate_.load(std::memory_order_relaxed); }
  bool finished() const { return finished_.load(std::memory_order_relaxed); }

 private:
  uint64_t Random(uint64_t below) { return random_() % below; }
  // Notes what the client does now. This is reported if the client gets stuck.
  void Doing(const char* operation);
  Instance& AnyInstance();
  absl::Duration AnyTimeout();
  void Keep(LeaseOr lease);
  void Began(std::shared_ptr<AsyncRead> read);
  void Sweep(size_t at_most);
  void HoldNothing();

  void Operate();
  void ReadSomehow();
  void Disturb(refreshable::BootTime now);
  void Spawn();
  void ChangeWeather();

  void Live();
  Instance::Config LifeConfig();
  void EndWithReadsPending();
  void EndUnderBlockedReaders();
  void EndInCallback();
  void EndInHook();

  const Kind kind_;
  const std::string name_;
  World* const world_;
  std::mt19937_64 random_;
  std::atomic<int64_t> operations_{0};
  std::atomic<const char*> operation_{"start"};
  std::atomic<bool> at_gate_{false};
  std::atomic<bool> finished_{false};
  refreshable::BootTime next_disturbance_;
  std::vector<TokenLease> held_;
  std::deque<std::shared_ptr<AsyncRead>> pending_;
};

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_CLIENTS_H_
