// SPDX-License-Identifier: Apache-2.0

#include "refreshable/health.h"

#include "refreshable/credential.h"

namespace refreshable {

std::ostream& operator<<(std::ostream& os, const Health& health) {
  os << health.freshness << ", generation " << health.generation << ", expires "
     << Expiry::At(health.expires_at);
  if (health.rejected) os << ", rejected";
  if (health.refreshing) os << ", refreshing";
  if (health.waiters > 0) os << ", waiters " << health.waiters;
  if (health.failures > 0) {
    os << ", failures " << health.failures
       << " (last: " << internal::Quoted(health.last_cause)
       << "), next attempt " << Expiry::At(health.next_attempt);
  }
  if (health.exhausted) os << ", exhausted";
  if (health.fatal) os << ", fatal";
  return os;
}

std::ostream& operator<<(std::ostream& os, const Stats& stats) {
  return os << "attempts_started=" << stats.attempts_started
            << " attempts_failed=" << stats.attempts_failed
            << " attempts_abandoned=" << stats.attempts_abandoned
            << " attempts_discarded=" << stats.attempts_discarded
            << " tokens_published=" << stats.tokens_published
            << " tokens_invalidated=" << stats.tokens_invalidated
            << " tokens_rejected=" << stats.tokens_rejected
            << " tokens_unchanged=" << stats.tokens_unchanged;
}

}  // namespace refreshable
