// SPDX-License-Identifier: Apache-2.0
//
// CopiedPtr: a std::unique_ptr whose copy owns a copy of the object.

#ifndef REFRESHABLE_INTERNAL_COPIED_PTR_H_
#define REFRESHABLE_INTERNAL_COPIED_PTR_H_

#include <memory>
#include <utility>

namespace refreshable {
namespace internal {

// Meant for a member that is usually null.
template <typename T>
class CopiedPtr : public std::unique_ptr<T> {
 public:
  CopiedPtr() = default;
  CopiedPtr(const CopiedPtr& other) : std::unique_ptr<T>(Copy(other)) {}
  CopiedPtr(CopiedPtr&&) noexcept = default;
  CopiedPtr& operator=(const CopiedPtr& other) {
    std::unique_ptr<T>::operator=(Copy(other));
    return *this;
  }
  CopiedPtr& operator=(CopiedPtr&&) noexcept = default;
  using std::unique_ptr<T>::operator=;

 private:
  static std::unique_ptr<T> Copy(const CopiedPtr& other) {
    return other != nullptr ? std::make_unique<T>(*other) : nullptr;
  }
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_COPIED_PTR_H_
