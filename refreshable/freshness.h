// SPDX-License-Identifier: Apache-2.0
//
// Freshness: whether a token is usable, and whether its refresh is due.

#ifndef REFRESHABLE_FRESHNESS_H_
#define REFRESHABLE_FRESHNESS_H_

#include <cstdint>
#include <ostream>

#include "absl/strings/string_view.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The state of the token that a Refreshable holds.
enum class Freshness : uint8_t {
  // There is no usable token: none has been published yet, or the last one has
  // expired or was withdrawn. A read needs a refresh, unless it may have an
  // expired token (`RefreshPolicy::max_stale_on_error`).
  kExpired,
  // The token is usable, but so old that a background refresh is due (if
  // `RefreshPolicy::background_refresh` is set).
  kStale,
  // The token is usable, and no refresh is due.
  kFresh,
};

constexpr absl::string_view FreshnessName(Freshness freshness) {
  switch (freshness) {
    case Freshness::kExpired:
      return "expired";
    case Freshness::kStale:
      return "stale";
    case Freshness::kFresh:
      return "fresh";
  }
  return "unknown";
}

template <typename Sink>
void AbslStringify(Sink& sink, Freshness freshness) {
  sink.Append(FreshnessName(freshness));
}

inline std::ostream& operator<<(std::ostream& os, Freshness freshness) {
  return os << FreshnessName(freshness);
}

}  // namespace refreshable

#endif  // REFRESHABLE_FRESHNESS_H_
