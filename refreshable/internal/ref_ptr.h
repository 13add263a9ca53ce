// SPDX-License-Identifier: Apache-2.0
//
// RefPtr: a smart pointer to an object that counts its own references.

#ifndef REFRESHABLE_INTERNAL_REF_PTR_H_
#define REFRESHABLE_INTERNAL_REF_PTR_H_

#include <cstddef>
#include <utility>

namespace refreshable {
namespace internal {

// How a RefPtr counts. A specialization must have two static functions that
// take a T*. `Ref` adds a reference. `Unref` drops a reference, and destroys
// the object if that was the last one. `Ref` and `Unref` are not free
// functions. T may have a template argument of a user's type, so
// argument-dependent lookup could find a user's function.
template <typename T>
struct RefCount;

// Like std::shared_ptr, but the object counts its own references. A new object
// has no reference. T may be an incomplete type.
template <typename T>
class RefPtr {
 public:
  RefPtr() = default;
  RefPtr(std::nullptr_t) {}  // NOLINT: implicit, as with std::shared_ptr.
  explicit RefPtr(T* object) : object_(object) {
    if (object_ != nullptr) RefCount<T>::Ref(object_);
  }
  RefPtr(const RefPtr& other) noexcept : RefPtr(other.object_) {}
  RefPtr(RefPtr&& other) noexcept
      : object_(std::exchange(other.object_, nullptr)) {}
  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~RefPtr() {
    if (object_ != nullptr) RefCount<T>::Unref(object_);
  }

  T* operator->() const { return object_; }
  friend bool operator!=(const RefPtr& pointer, std::nullptr_t) {
    return pointer.object_ != nullptr;
  }

 private:
  T* object_ = nullptr;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_REF_PTR_H_
