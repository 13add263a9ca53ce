// SPDX-License-Identifier: Apache-2.0
//
// IdMap: finds objects by their ids. Private.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_ID_MAP_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_ID_MAP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace refreshable {
namespace executors_internal {

// A hash map from ids to elements, which the map owns. Each inserted element
// must have a greater id than all before it. T must have the members `uint64_t
// id` and `T* next_in_bucket`. The map links the elements of a bucket by
// `next_in_bucket`, which saves cache misses. Thread-compatible.
template <typename T>
class IdMap {
 public:
  IdMap() = default;
  IdMap(const IdMap&) = delete;
  IdMap& operator=(const IdMap&) = delete;
  ~IdMap() {
    for (T* element : buckets_) {
      while (element != nullptr) delete std::exchange(element, Next(element));
    }
  }

  size_t size() const { return size_; }

  // Makes room for one more element. If there is no memory, throws bad_alloc
  // and changes nothing.
  void Reserve() {
    if (2 * size_ < buckets_.size()) return;
    const int bits = buckets_.empty() ? 6 : 64 - shift_ + 1;
    std::vector<T*> old(size_t{1} << bits);
    old.swap(buckets_);
    shift_ = 64 - bits;
    for (T* element : old) {
      while (element != nullptr) Link(std::exchange(element, Next(element)));
    }
  }

  // `Reserve` must be called before each `Insert`.
  void Insert(std::unique_ptr<T> element) {
    Link(element.release());
    ++size_;
  }

  // Returns null if no element has this id.
  const T* Find(uint64_t id) const {
    if (buckets_.empty()) return nullptr;
    const T* element = buckets_[IndexOf(id)];
    while (element != nullptr && element->id != id) element = Next(element);
    return element;
  }

  // Removes and returns the element, or returns null if there is none.
  std::unique_ptr<T> Take(uint64_t id) {
    if (buckets_.empty()) return nullptr;
    T** link = &buckets_[IndexOf(id)];
    while (*link != nullptr && (*link)->id != id) {
      link = &(*link)->next_in_bucket;
    }
    if (*link == nullptr) return nullptr;
    --size_;
    return std::unique_ptr<T>(std::exchange(*link, Next(*link)));
  }

 private:
  static T* Next(const T* element) { return element->next_in_bucket; }
  // Each group of 64 consecutive ids has its buckets close together in memory.
  // The multiplication (Fibonacci hashing) spreads the groups evenly.
  size_t IndexOf(uint64_t id) const {
    return static_cast<size_t>(((id >> 6) * 0x9E3779B97F4A7C15 >> shift_) ^
                               (id & 63));
  }
  void Link(T* element) {
    T*& first = buckets_[IndexOf(element->id)];
    element->next_in_bucket = std::exchange(first, element);
  }

  std::vector<T*> buckets_;  // Empty, or of size 2^(64 - shift_).
  int shift_ = 64;
  size_t size_ = 0;
};

}  // namespace executors_internal
}  // namespace refreshable

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_ID_MAP_H_
