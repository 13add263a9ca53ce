// SPDX-License-Identifier: Apache-2.0
//
// TokenHasEquality: whether two tokens can be compared with `operator==`.

#ifndef REFRESHABLE_INTERNAL_HAS_EQUALITY_H_
#define REFRESHABLE_INTERNAL_HAS_EQUALITY_H_

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace refreshable {
namespace internal {

template <typename T, typename = void>
struct IsComparable : std::false_type {};
template <typename T>
struct IsComparable<T,
                    std::void_t<decltype(static_cast<bool>(
                        std::declval<const T&>() == std::declval<const T&>()))>>
    : std::true_type {};

// The standard library's containers declare `operator==` for every element
// type, even if the elements have none; using it then fails to compile. So the
// elements are checked first. (The class of a JSON value may be a container of
// itself. Its elements are not checked, since that would never end.)
template <typename T, typename = void>
struct HasEquality : IsComparable<T> {};
template <typename T>
struct HasEquality<
    T, std::void_t<
           typename T::value_type, decltype(std::declval<const T&>().begin()),
           std::enable_if_t<!std::is_same_v<typename T::value_type, T>>>>
    : std::conjunction<HasEquality<typename T::value_type>, IsComparable<T>> {};
template <typename T>
struct HasEquality<std::optional<T>> : HasEquality<T> {};
template <typename A, typename B>
struct HasEquality<std::pair<A, B>>
    : std::conjunction<HasEquality<std::remove_const_t<A>>,
                       HasEquality<std::remove_const_t<B>>> {};
template <typename... T>
struct HasEquality<std::tuple<T...>> : std::conjunction<HasEquality<T>...> {};
template <typename... T>
struct HasEquality<std::variant<T...>> : std::conjunction<HasEquality<T>...> {};

}  // namespace internal

// Whether `operator==` is used to compare tokens if
// `Refreshable::Options::same_token` is null. Detected automatically for most
// types. Specialize it as std::false_type for a Token that declares an
// `operator==` which does not compile.
template <typename Token>
struct TokenHasEquality : internal::HasEquality<Token> {};

}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_HAS_EQUALITY_H_
