// SPDX-License-Identifier: Apache-2.0
//
// Freshness: what a token is good for at a given moment.

#ifndef REFRESHABLE_FRESHNESS_H_
#define REFRESHABLE_FRESHNESS_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <ostream>

#include "absl/strings/string_view.h"

namespace refreshable {

// The three states of what a Refreshable holds.
enum class Freshness {
  // Nothing usable: no token yet, or it has expired or was withdrawn. A read
  // has to wait for a refresh.
  kExpired,
  // Usable, and old enough that a refresh in the background is due.
  kStale,
  // Usable, and nothing is due.
  kFresh,
};

// "expired", "stale" or "fresh".
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
