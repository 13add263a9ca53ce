// SPDX-License-Identifier: Apache-2.0
//
// IsNullFunction: whether a function that a user passed is null.
// FunctionArgument: the type of a parameter for such a function.

#ifndef REFRESHABLE_INTERNAL_NULL_FUNCTION_H_
#define REFRESHABLE_INTERNAL_NULL_FUNCTION_H_

#include <cstddef>
#include <type_traits>
#include <utility>

namespace refreshable {
namespace internal {

template <typename Function, typename = void>
struct ComparesToNull : std::false_type {};
template <typename Function>
struct ComparesToNull<Function,
                      std::void_t<decltype(static_cast<bool>(
                          std::declval<const Function&>() == nullptr))>>
    : std::true_type {};

// Whether a Function can be null. A lambda without captures cannot, although it
// can be compared with nullptr. The first condition excludes it: no lambda is
// constructible from nullptr.
template <typename Function>
inline constexpr bool kCanBeNull =
    std::conjunction_v<std::is_constructible<Function, std::nullptr_t>,
                       ComparesToNull<Function>>;

template <typename Function>
bool IsNullFunction([[maybe_unused]] const Function& function) {
  if constexpr (kCanBeNull<Function>) {
    return function == nullptr;
  } else {
    return false;
  }
}

// The type of a parameter that takes a function. The parameter is null if the
// caller passes null or an empty std::function. `Function` is an
// absl::AnyInvocable, which by itself would not be null for an empty
// std::function.
template <typename Function>
class FunctionArgument {
 public:
  template <
      typename T,
      std::enable_if_t<!std::is_same_v<std::decay_t<T>, FunctionArgument> &&
                           std::is_convertible_v<T, Function>,
                       int> = 0>
  FunctionArgument(T&& function)  // NOLINT(google-explicit-constructor)
      : function_(IsNullFunction(function)
                      ? Function()
                      : Function(std::forward<T>(function))) {}

  bool is_null() const { return function_ == nullptr; }
  // Leaves this object null.
  Function Take() { return std::move(function_); }

 private:
  Function function_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_NULL_FUNCTION_H_
