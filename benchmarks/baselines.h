// SPDX-License-Identifier: Apache-2.0
//
// Patterns by which programs cache a token without this library, each in its
// simplest correct form. All patterns are thread-safe and have this interface:
//
//   explicit Pattern(std::string token);   // The token is good for an hour.
//   void Publish(std::string token);
//   char Read();  // Checks that the token is good, gets it as users of the
//                 // pattern do, and reads one byte. Always inlined.
//   static constexpr char kName[];
//
// Patterns that follow an SDK or gRPC, as their comments say, read
// std::chrono::system_clock. The others read a cheaper clock, time(2).

#ifndef REFRESHABLE_BENCHMARKS_BASELINES_H_
#define REFRESHABLE_BENCHMARKS_BASELINES_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/synchronization/mutex.h"

namespace refreshable_benchmarks {

struct Entry {
  std::string token;
  int64_t good_until = 0;  // Seconds since 1970.
};

inline Entry MakeEntry(std::string token) {
  return Entry{std::move(token), std::time(nullptr) + 3600};
}

inline bool IsGood(const Entry& entry) {
  return std::time(nullptr) < entry.good_until;
}

inline bool IsBeforeBySystemClock(int64_t good_until) {
  return std::chrono::system_clock::now() <
         std::chrono::system_clock::from_time_t(good_until);
}
inline bool IsGoodBySystemClock(const Entry& entry) {
  return IsBeforeBySystemClock(entry.good_until);
}

// The floor: a read does the least that a correct read must do. `Publish` never
// frees the entry that it replaces.
class PointerAndTime {
 public:
  static constexpr char kName[] = "floor: pointer, time()";
  explicit PointerAndTime(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    entry_.store(new Entry(MakeEntry(std::move(token))),
                 std::memory_order_release);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const Entry* const entry = entry_.load(std::memory_order_acquire);
    return IsGood(*entry) ? entry->token[0] : '\0';
  }

 private:
  std::atomic<const Entry*> entry_{nullptr};
};

// One mutex, under which a reader checks the token and copies the string.
// (google-cloud-cpp does so, but copies more.)
class MutexCopy {
 public:
  static constexpr char kName[] = "mutex, copy the string";
  explicit MutexCopy(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    std::lock_guard<std::mutex> lock(mutex_);
    std::swap(entry_, entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    std::string copy;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (IsGoodBySystemClock(entry_)) copy = entry_.token;
    }
    return copy[0];
  }

 private:
  std::mutex mutex_;
  Entry entry_;
};

// One mutex, under which a reader refreshes the token if necessary and copies
// all its data (as in google-cloud-cpp).
class MutexHeldDuringRefresh {
 public:
  static constexpr char kName[] = "mutex held during the refresh, copy all";
  explicit MutexHeldDuringRefresh(std::string token) {
    Publish(std::move(token));
  }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    std::lock_guard<std::mutex> lock(mutex_);
    std::swap(entry_, entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const Entry copy = Get();
    return copy.token[0];
  }

 private:
  ABSL_ATTRIBUTE_ALWAYS_INLINE Entry Get() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!IsGoodBySystemClock(entry_)) Refresh();
    return entry_;
  }
  // Never called here, because the token is good for an hour.
  ABSL_ATTRIBUTE_NOINLINE void Refresh() {
    entry_ = MakeEntry(std::move(entry_.token));
  }

  std::mutex mutex_;
  Entry entry_;
};

class SharedMutexCopy {
 public:
  static constexpr char kName[] = "shared_mutex, copy the string";
  explicit SharedMutexCopy(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    std::unique_lock<std::shared_mutex> lock(mutex_);
    std::swap(entry_, entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    std::string copy;
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      if (IsGood(entry_)) copy = entry_.token;
    }
    return copy[0];
  }

 private:
  std::shared_mutex mutex_;
  Entry entry_;
};

// A reader-writer lock, taken once to check the token and again to copy it (as
// in the AWS SDK for C++ of 2018).
class SharedMutexTwice {
 public:
  static constexpr char kName[] = "shared_mutex twice, copy the string";
  explicit SharedMutexTwice(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    std::unique_lock<std::shared_mutex> lock(mutex_);
    std::swap(entry_, entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      if (!IsGoodBySystemClock(entry_)) return '\0';
    }
    std::shared_lock<std::shared_mutex> lock(mutex_);
    const std::string copy = entry_.token;
    return copy[0];
  }

 private:
  std::shared_mutex mutex_;
  Entry entry_;
};

// One lock guards a map from scope and tenant to a token. Each token has a lock
// of its own (as in the Azure SDK for C++).
class MapOfItems {
 public:
  static constexpr char kName[] = "map, two shared_mutexes, copy the string";
  explicit MapOfItems(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    std::shared_ptr<Item> item;
    {
      std::unique_lock<std::shared_mutex> lock(mutex_);
      std::shared_ptr<Item>& slot = items_[{kScope, kTenant}];
      if (slot == nullptr) slot = std::make_shared<Item>();
      item = slot;
    }
    std::unique_lock<std::shared_mutex> lock(item->mutex);
    std::swap(item->entry, entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const std::pair<std::string, std::string> key(kScope, kTenant);
    std::shared_ptr<Item> item;
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      item = items_.find(key)->second;
    }
    std::string copy;
    {
      std::shared_lock<std::shared_mutex> lock(item->mutex);
      if (IsGoodBySystemClock(item->entry)) copy = item->entry.token;
    }
    return copy[0];
  }

 private:
  static constexpr char kScope[] = "https://storage.example.com/.default";
  static constexpr char kTenant[] = "4f2c7a1e-0000-4000-8000-000000000000";
  struct Item {
    std::shared_mutex mutex;
    Entry entry;
  };
  std::shared_mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Item>> items_;
};

class MutexSharedPtr {
 public:
  static constexpr char kName[] = "mutex, copy a shared_ptr";
  explicit MutexSharedPtr(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    auto entry = std::make_shared<const Entry>(MakeEntry(std::move(token)));
    std::lock_guard<std::mutex> lock(mutex_);
    entry_.swap(entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    std::shared_ptr<const Entry> entry;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      entry = entry_;
    }
    return IsGood(*entry) ? entry->token[0] : '\0';
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<const Entry> entry_;
};

// One mutex, under which a reader increments the reference count of the token's
// bytes (as in gRPC).
class MutexSlice {
 public:
  static constexpr char kName[] = "mutex, ref-counted slice";
  explicit MutexSlice(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    Entry entry = MakeEntry(std::move(token));
    Slice slice(std::move(entry.token));
    std::lock_guard<std::mutex> lock(mutex_);
    slice_.swap(slice);
    good_until_ = entry.good_until;
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Slice slice;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (IsBeforeBySystemClock(good_until_)) Slice(slice_).swap(slice);
    }
    return slice.size() > 0 ? slice.data()[0] : '\0';
  }

 private:
  class Slice {
   public:
    Slice() = default;
    explicit Slice(std::string bytes)
        : shared_(new Shared(std::move(bytes))),
          data_(shared_->bytes.data()),
          size_(shared_->bytes.size()) {}
    Slice(const Slice& other)
        : shared_(other.shared_), data_(other.data_), size_(other.size_) {
      if (shared_ != nullptr) {
        shared_->owners.fetch_add(1, std::memory_order_relaxed);
      }
    }
    Slice& operator=(const Slice&) = delete;
    ~Slice() {
      if (shared_ != nullptr &&
          shared_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        delete shared_;
      }
    }
    void swap(Slice& other) {
      std::swap(shared_, other.shared_);
      std::swap(data_, other.data_);
      std::swap(size_, other.size_);
    }
    const char* data() const { return data_; }
    size_t size() const { return size_; }

   private:
    struct Shared {
      explicit Shared(std::string b) : bytes(std::move(b)) {}
      std::atomic<int64_t> owners{1};
      const std::string bytes;
    };
    Shared* shared_ = nullptr;
    const char* data_ = nullptr;
    size_t size_ = 0;
  };

  std::mutex mutex_;
  Slice slice_;
  int64_t good_until_ = 0;
};

class AbslMutexSharedPtr {
 public:
  static constexpr char kName[] = "absl::Mutex, copy a shared_ptr";
  explicit AbslMutexSharedPtr(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    auto entry = std::make_shared<const Entry>(MakeEntry(std::move(token)));
    absl::MutexLock lock(&mutex_);
    entry_.swap(entry);
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    std::shared_ptr<const Entry> entry;
    {
      absl::MutexLock lock(&mutex_);
      entry = entry_;
    }
    return IsGood(*entry) ? entry->token[0] : '\0';
  }

 private:
  absl::Mutex mutex_;
  std::shared_ptr<const Entry> entry_;
};

// One mutex, under which a reader checks the token and copies a pointer (as in
// Databricks' SDK for Go). Nothing is freed, because Go has a garbage
// collector.
class MutexPointer {
 public:
  static constexpr char kName[] = "mutex, copy a pointer, free nothing";
  explicit MutexPointer(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    const auto* const entry = new Entry(MakeEntry(std::move(token)));
    std::lock_guard<std::mutex> lock(mutex_);
    entry_ = entry;
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const Entry* entry = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (IsGoodBySystemClock(*entry_)) entry = entry_;
    }
    return entry != nullptr ? entry->token[0] : '\0';
  }

 private:
  std::mutex mutex_;
  const Entry* entry_ = nullptr;
};

// A reader loads a pointer (as in Databricks' SDK for Java, where the field is
// volatile). Nothing is freed, because Java has a garbage collector.
class VolatileRead {
 public:
  static constexpr char kName[] = "volatile read, free nothing";
  explicit VolatileRead(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    entry_ = new Entry(MakeEntry(std::move(token)));
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const Entry* const entry = entry_;
    return IsGoodBySystemClock(*entry) ? entry->token[0] : '\0';
  }

 private:
  // Sequentially consistent by default, like a volatile field in Java.
  std::atomic<const Entry*> entry_{nullptr};
};

// In libstdc++, std::atomic_load and std::atomic_store of a shared_ptr take a
// lock from a pool.
class AtomicSharedPtr {
 public:
  static constexpr char kName[] = "atomic shared_ptr";
  explicit AtomicSharedPtr(std::string token) { Publish(std::move(token)); }
  void Publish(std::string token) {
    std::atomic_store(
        &entry_, std::make_shared<const Entry>(MakeEntry(std::move(token))));
  }
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const std::shared_ptr<const Entry> entry = std::atomic_load(&entry_);
    return IsGood(*entry) ? entry->token[0] : '\0';
  }

 private:
  std::shared_ptr<const Entry> entry_;
};

}  // namespace refreshable_benchmarks

#endif  // REFRESHABLE_BENCHMARKS_BASELINES_H_
