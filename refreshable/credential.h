// SPDX-License-Identifier: Apache-2.0
//
// Credential: a token and when it expires, as a token source returns it.

#ifndef REFRESHABLE_CREDENTIAL_H_
#define REFRESHABLE_CREDENTIAL_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <ostream>
#include <utility>

#include "absl/time/time.h"
#include "refreshable/internal/printing.h"

namespace refreshable {

// When a token expires: never, at a moment of the wall clock, or after a
// lifetime. A value.
class Expiry {
 public:
  // The token is good until it is replaced or invalidated.
  static Expiry Never() { return Expiry(); }

  // The token is expired at `time` and later (RFC 7519, section 4.1.4: "on or
  // after"). `absl::InfiniteFuture()` means never.
  static Expiry At(absl::Time time) {
    Expiry expiry;
    expiry.time_ = time;
    return expiry;
  }

  // The token lives for `lifetime`: `expires_in` of RFC 6749, section 5.1. It
  // counts from the moment the attempt that brought the token started (for
  // `Install`: from that call), which errs on the safe side by one round trip.
  // `absl::InfiniteDuration()` means never.
  static Expiry In(absl::Duration lifetime) {
    Expiry expiry;
    expiry.lifetime_ = lifetime;
    expiry.relative_ = true;
    return expiry;
  }

  bool is_relative() const { return relative_; }
  // Meaningful if `!is_relative()`; infinite future if the token never expires.
  absl::Time time() const { return time_; }
  // Meaningful if `is_relative()`.
  absl::Duration lifetime() const { return lifetime_; }

 private:
  Expiry() = default;

  absl::Time time_ = absl::InfiniteFuture();
  absl::Duration lifetime_ = absl::InfiniteDuration();
  bool relative_ = false;
};

// "never", the time in RFC 3339, or "in 1h".
std::ostream& operator<<(std::ostream& os, const Expiry& expiry);
template <typename Sink>
void AbslStringify(Sink& sink, const Expiry& expiry) {
  sink.Append(internal::Streamed(expiry));
}

// What a token source returns: the token, and when it expires.
//
// `Token` must be move-constructible and destructible without throwing; once
// published it is read from many threads at the same time and never changed.
template <typename Token>
struct Credential {
  Credential(Token t, Expiry e) : token(std::move(t)), expiry(e) {}

  // Shows the expiry, and nothing of the token.
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
