// SPDX-License-Identifier: Apache-2.0
//
// UsableFor and FreshFor: clause F4 (docs/contract.md) as arithmetic, for tests
// that compute what the library must do. The library does not use this file, so
// that the tests notice a mistake in the library's arithmetic.

#ifndef REFRESHABLE_MACHINE_TOKEN_AGES_TEST_UTIL_H_
#define REFRESHABLE_MACHINE_TOKEN_AGES_TEST_UTIL_H_

#include <algorithm>
#include <optional>

namespace refreshable {
namespace internal {

// The ages at which a token that lives for `life` stops being usable and fresh,
// without jitter. `margin`, `explicit_window` and `max_window` are the policy's
// `expiry_margin`, `stale_window` and `max_stale_window`. `hint` is the age at
// which the source would like the token to be replaced. `Time` is
// absl::Duration, or a number of milliseconds.
template <typename Time>
Time UsableFor(Time life, Time margin) {
  return life - std::min(margin, life / 4);
}
template <typename Time>
Time FreshFor(Time life, Time margin, std::optional<Time> explicit_window,
              Time max_window, std::optional<Time> hint = std::nullopt) {
  if (hint.has_value() && *hint < UsableFor(life, margin)) {
    return std::max(*hint, life / 4);
  }
  const Time window = explicit_window.has_value()
                          ? std::min(*explicit_window, life * 3 / 4)
                          : std::min(life / 2, max_window);
  return std::min(UsableFor(life, margin), life - window);
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_TOKEN_AGES_TEST_UTIL_H_
