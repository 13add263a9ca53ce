// SPDX-License-Identifier: Apache-2.0

#include "refreshable/credential.h"

namespace refreshable {

namespace {

std::ostream& WriteExpiry(std::ostream& os, const Expiry& expiry) {
  if (expiry.is_relative()) {
    if (expiry.lifetime() == absl::InfiniteDuration()) return os << "never";
    return os << "in " << absl::FormatDuration(expiry.lifetime());
  }
  if (expiry.time() == absl::InfiniteFuture()) return os << "never";
  return os << absl::FormatTime(absl::RFC3339_full, expiry.time(),
                                absl::UTCTimeZone());
}

}  // namespace

std::ostream& operator<<(std::ostream& os, const Expiry& expiry) {
  WriteExpiry(os, expiry);
  if (expiry.refresh_in() == absl::InfiniteDuration()) return os;
  return os << ", refresh in " << absl::FormatDuration(expiry.refresh_in());
}

}  // namespace refreshable
