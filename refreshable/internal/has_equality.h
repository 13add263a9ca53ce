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

// Whether two objects of type T can be compared with `operator==`. A container,
// optional, pair, tuple or variant may declare `operator==` though its elements
// have none, so the elements are checked. If a container's elements have the
// container's own type, that check would never end, so it is left out.
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

// Whether a Refreshable compares tokens with `operator==` if
// `Refreshable::Options::same_token` is null. For a Token that declares an
// `operator==` which does not compile, specialize TokenHasEquality as
// std::false_type.
template <typename Token>
struct TokenHasEquality : internal::HasEquality<Token> {};

}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_HAS_EQUALITY_H_
