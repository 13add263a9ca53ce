// SPDX-License-Identifier: Apache-2.0
//
// Credential: a token and when it expires, as a token source returns it.

#ifndef REFRESHABLE_CREDENTIAL_H_
#define REFRESHABLE_CREDENTIAL_H_

#include <ostream>
#include <utility>

#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/internal/printing.h"

namespace refreshable {

// When a token expires, perhaps with a hint when it should be replaced. A value
// type.
class Expiry {
 public:
  // The token is valid until it is replaced or invalidated.
  static Expiry Never() { return Expiry(); }

  // The token is expired at `time` and later (RFC 7519, section 4.1.4: "on or
  // after"). `absl::InfiniteFuture()` means never.
  static Expiry At(absl::Time time) {
    Expiry expiry;
    expiry.time_ = time;
    return expiry;
  }

  // The token expires when `lifetime` has passed. Meant for the `expires_in` of
  // OAuth 2.0 (RFC 6749, section 5.1). `absl::InfiniteDuration()` means never.
  //
  // For a token from a source, the lifetime counts from the start of the
  // attempt. For `Install`, the lifetime counts from that call.
  static Expiry In(absl::Duration lifetime) {
    Expiry expiry;
    expiry.lifetime_ = lifetime;
    expiry.relative_ = true;
    return expiry;
  }

  // Returns the same expiry with a hint: the token should be replaced when
  // `refresh_in` has passed, counted from the same moment as the lifetime of
  // `In`. The hint replaces the policy's stale window: the token becomes stale
  // at the time of the hint or, because of jitter, somewhat earlier.
  //
  // No token becomes stale before a quarter of the time from its publication to
  // its expiry has passed. A hint before or shortly after that moment is moved
  // later, to leave room for the jitter.
  //
  // A hint has no effect if it is zero or less, if the token never expires, or
  // if the token is no longer usable by then (`RefreshPolicy::expiry_margin`).
  Expiry WithRefreshIn(absl::Duration refresh_in) const {
    Expiry expiry = *this;
    expiry.refresh_in_ = refresh_in > absl::ZeroDuration()
                             ? refresh_in
                             : absl::InfiniteDuration();
    return expiry;
  }

  bool is_relative() const { return relative_; }
  // When the token expires, in wall time; the infinite future if never.
  // Meaningful only if `!is_relative()`.
  absl::Time time() const { return time_; }
  // The lifetime given to `In`; infinite if the token never expires. Meaningful
  // only if `is_relative()`.
  absl::Duration lifetime() const { return lifetime_; }
  // The hint given to `WithRefreshIn`, always positive; infinite if there is
  // none.
  absl::Duration refresh_in() const { return refresh_in_; }

 private:
  Expiry() = default;

  absl::Time time_ = absl::InfiniteFuture();
  absl::Duration lifetime_ = absl::InfiniteDuration();
  absl::Duration refresh_in_ = absl::InfiniteDuration();
  bool relative_ = false;
};

// Writes "never", the time in RFC 3339 form (UTC), or the lifetime as "in 1h".
// If there is a hint, ", refresh in 30m" follows.
std::ostream& operator<<(std::ostream& os, const Expiry& expiry);
template <typename Sink>
void AbslStringify(Sink& sink, const Expiry& expiry) {
  sink.Append(internal::Streamed(expiry));
}

// What a token source returns: the token, and when it expires.
//
// `Token` must be move-constructible, and its destructor must not throw. A
// published token is read by many threads at the same time and is never
// modified.
template <typename Token>
struct Credential {
  Credential(Token t, Expiry e) : token(std::move(t)), expiry(e) {}

  // Writes nothing of the token.
  friend std::ostream& operator<<(std::ostream& os, const Credential& c) {
    return os << "Credential(expires " << c.expiry << ")";
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const Credential& c) {
    sink.Append(internal::Streamed(c));
  }

  Token token;
  Expiry expiry;
};

}  // namespace refreshable

#endif  // REFRESHABLE_CREDENTIAL_H_
