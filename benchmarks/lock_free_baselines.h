// SPDX-License-Identifier: Apache-2.0
//
// Patterns whose reads usually take no lock, and which free the tokens that
// they replace, each in its simplest correct form. They have the interface of
// baselines.h and these drawbacks:
//
//   ThreadLocalCopy  A thread may use a token only until its next read. A
//                    thread that stops reading keeps an old token alive. Each
//                    thread keeps the token of only one instance.
//   RcuQuiescent     A thread may use a token only until the end of the read. A
//                    publisher waits for every other thread that has ever read,
//                    until the thread makes another read or ends.
//   RcuFence         A publisher waits for each reader that is inside a read.
//                    Each read makes a full fence.
//   HazardFence      A thread can use one token at a time. An old token that is
//                    in use is freed only by a later publication or the
//                    destructor. Each read makes a full fence.

#ifndef REFRESHABLE_BENCHMARKS_LOCK_FREE_BASELINES_H_
#define REFRESHABLE_BENCHMARKS_LOCK_FREE_BASELINES_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "benchmarks/baselines.h"

namespace refreshable_benchmarks {

// Storage with one `Data` for each thread. A thread's first call of `Mine`
// gives the thread a `Data` and calls `Data::Enter`. When the thread ends,
// `Data::Leave` is called, and another thread may get the same `Data`. `Enter`
// and `Leave` run under the lock that `All` takes. A `Data` is never freed.
template <typename Data>
class PerThread {
 public:
  ABSL_ATTRIBUTE_ALWAYS_INLINE static Data& Mine() {
    Data* const mine = mine_;
    return ABSL_PREDICT_TRUE(mine != nullptr) ? *mine : Enter();
  }
  // Returns null if this thread has not called `Mine`.
  static Data* MineIfAny() { return mine_; }
  // Returns every `Data` that a thread has or has had.
  static std::vector<Data*> All() {
    std::lock_guard<std::mutex> lock(mutex());
    return all();
  }

 private:
  // The alignment gives each thread cache lines of its own.
  struct alignas(128) Line {
    Data data;
  };
  struct Membership {
    Membership() {
      std::lock_guard<std::mutex> lock(mutex());
      if (free().empty()) {
        all().push_back(&(new Line)->data);
        mine_ = all().back();
      } else {
        mine_ = free().back();
        free().pop_back();
      }
      mine_->Enter();
    }
    ~Membership() {
      std::lock_guard<std::mutex> lock(mutex());
      mine_->Leave();
      free().push_back(std::exchange(mine_, nullptr));
    }
  };

  ABSL_ATTRIBUTE_NOINLINE static Data& Enter() {
    thread_local const Membership membership;
    return *mine_;
  }
  static std::mutex& mutex() {
    static auto* const mutex = new std::mutex;
    return *mutex;
  }
  static std::vector<Data*>& all() {
    static auto* const all = new std::vector<Data*>;
    return *all;
  }
  static std::vector<Data*>& free() {
    static auto* const free = new std::vector<Data*>;
    return *free;
  }

  inline static thread_local Data* mine_ = nullptr;
};

// Each thread keeps a copy of a shared_ptr to the token, and the token's
// version. If the ThreadLocalCopy that the thread reads has another version,
// the thread copies the shared_ptr again, under a lock.
class ThreadLocalCopy {
 public:
  static constexpr char kName[] = "thread-local copy, version counter";
  explicit ThreadLocalCopy(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    // Versions are unique among all instances, because a thread has one copy
    // for all of them. Otherwise the thread could mistake one instance's token
    // for another's.
    static std::atomic<uint64_t> last_version{0};
    auto entry = std::make_shared<const Entry>(MakeEntry(std::move(token)));
    std::lock_guard<std::mutex> lock(mutex_);
    entry_.swap(entry);
    version_.store(++last_version, std::memory_order_release);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Copy& copy = PerThread<Copy>::Mine();
    if (ABSL_PREDICT_FALSE(copy.version !=
                           version_.load(std::memory_order_acquire))) {
      Renew(copy);
    }
    return IsGood(*copy.entry) ? copy.entry->token[0] : '\0';
  }

 private:
  struct Copy {
    uint64_t version = 0;
    std::shared_ptr<const Entry> entry;

    void Enter() {}
    void Leave() {
      version = 0;
      entry = nullptr;
    }
  };

  ABSL_ATTRIBUTE_NOINLINE void Renew(Copy& copy) {
    std::lock_guard<std::mutex> lock(mutex_);
    copy.version = version_.load(std::memory_order_relaxed);
    copy.entry = entry_;
  }

  std::atomic<uint64_t> version_{0};
  std::mutex mutex_;
  std::shared_ptr<const Entry> entry_;
};

// The current grace period of both kinds of RCU below; never zero. A publisher
// begins a new period, and waits until no thread uses a token that it read in
// an earlier period.
inline std::atomic<uint64_t> grace_period{1};

// RCU in which a reader is quiescent (uses no token) after each read. A reader
// announces this by storing the current grace period, once in each period. The
// announcement needs no fence.
class RcuQuiescent {
 public:
  static constexpr char kName[] = "RCU, quiescent after each read";
  explicit RcuQuiescent(std::string token) { Publish(std::move(token)); }
  RcuQuiescent(const RcuQuiescent&) = delete;
  RcuQuiescent& operator=(const RcuQuiescent&) = delete;
  ~RcuQuiescent() { delete entry_.load(); }
  void Publish(std::string token) {
    const Entry* const old =
        entry_.exchange(new Entry(MakeEntry(std::move(token))));
    const uint64_t target = ++grace_period;
    Thread* const mine = Threads::MineIfAny();
    // A thread takes the lock of `All` in its first read, before it loads
    // `entry_`. If the list from `All` lacks a thread, that thread takes the
    // lock after `All`, and so will load the new entry.
    for (const Thread* thread : Threads::All()) {
      if (thread == mine) continue;
      while (thread->seen.load(std::memory_order_acquire) < target) {
        std::this_thread::yield();
      }
    }
    delete old;
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Thread& mine = Threads::Mine();
    const Entry* const entry = entry_.load(std::memory_order_acquire);
    const char byte = IsGood(*entry) ? entry->token[0] : '\0';
    const uint64_t period = grace_period.load(std::memory_order_acquire);
    if (ABSL_PREDICT_FALSE(mine.seen.load(std::memory_order_relaxed) !=
                           period)) {
      mine.seen.store(period, std::memory_order_release);
    }
    return byte;
  }

 private:
  // `seen` is the grace period that the thread saw last. If the thread has
  // ended, `seen` is the largest number.
  struct Thread {
    std::atomic<uint64_t> seen{0};

    void Enter() { seen = grace_period.load(); }
    void Leave() { seen = std::numeric_limits<uint64_t>::max(); }
  };
  using Threads = PerThread<Thread>;

  std::atomic<const Entry*> entry_{nullptr};
};

// RCU whose readers announce the beginning and the end of each read. The
// announcement of the beginning needs a full fence.
class RcuFence {
 public:
  static constexpr char kName[] = "RCU, a fence for each read";
  explicit RcuFence(std::string token) { Publish(std::move(token)); }
  RcuFence(const RcuFence&) = delete;
  RcuFence& operator=(const RcuFence&) = delete;
  ~RcuFence() { delete entry_.load(); }
  void Publish(std::string token) {
    const Entry* const old =
        entry_.exchange(new Entry(MakeEntry(std::move(token))));
    const uint64_t target = ++grace_period;
    for (const Thread* thread : Threads::All()) {
      for (;;) {
        const uint64_t inside = thread->inside.load();
        if (inside == 0 || inside >= target) break;
        std::this_thread::yield();
      }
    }
    delete old;
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Thread& mine = Threads::Mine();
    // This store and the next load are sequentially consistent, and so act as
    // the full fence.
    mine.inside.store(grace_period.load(std::memory_order_acquire));
    const Entry* const entry = entry_.load();
    const char byte = IsGood(*entry) ? entry->token[0] : '\0';
    mine.inside.store(0, std::memory_order_release);
    return byte;
  }

 private:
  // `inside` is the grace period in which the current read began, or zero if
  // the thread is not inside a read.
  struct Thread {
    std::atomic<uint64_t> inside{0};

    void Enter() {}
    void Leave() {}
  };
  using Threads = PerThread<Thread>;

  std::atomic<const Entry*> entry_{nullptr};
};

// Hazard pointers: a reader announces the entry that it uses, makes a full
// fence, and checks that the entry is still the published one.
class HazardFence {
 public:
  static constexpr char kName[] = "hazard pointer, a fence for each read";
  explicit HazardFence(std::string token) { Publish(std::move(token)); }
  HazardFence(const HazardFence&) = delete;
  HazardFence& operator=(const HazardFence&) = delete;
  ~HazardFence() {
    for (const Entry* entry : retired_) delete entry;
    delete entry_.load();
  }
  void Publish(std::string token) {
    const Entry* const old =
        entry_.exchange(new Entry(MakeEntry(std::move(token))));
    std::lock_guard<std::mutex> lock(mutex_);
    if (old != nullptr) retired_.push_back(old);
    const std::vector<Thread*> threads = Threads::All();
    std::vector<const Entry*> used;
    used.reserve(threads.size());
    for (const Thread* thread : threads) {
      used.push_back(thread->uses.load());
    }
    const auto unused =
        std::partition(retired_.begin(), retired_.end(), [&](const Entry* e) {
          return std::find(used.begin(), used.end(), e) != used.end();
        });
    std::for_each(unused, retired_.end(), [](const Entry* e) { delete e; });
    retired_.erase(unused, retired_.end());
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Thread& mine = Threads::Mine();
    const Entry* entry = entry_.load(std::memory_order_relaxed);
    for (;;) {
      // This store and the next load are sequentially consistent, and so act as
      // the full fence.
      mine.uses.store(entry);
      const Entry* const again = entry_.load();
      if (ABSL_PREDICT_TRUE(again == entry)) break;
      entry = again;
    }
    const char byte = IsGood(*entry) ? entry->token[0] : '\0';
    mine.uses.store(nullptr, std::memory_order_release);
    return byte;
  }

 private:
  struct Thread {
    std::atomic<const Entry*> uses{nullptr};

    void Enter() {}
    void Leave() {}
  };
  using Threads = PerThread<Thread>;

  std::atomic<const Entry*> entry_{nullptr};
  std::mutex mutex_;
  std::vector<const Entry*> retired_;
};

}  // namespace refreshable_benchmarks

#endif  // REFRESHABLE_BENCHMARKS_LOCK_FREE_BASELINES_H_
