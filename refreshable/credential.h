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

// When a token expires: never, at a moment of the wall clock, or when a
// lifetime has passed. A value.
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

  // The token expires `lifetime` after the start of the attempt that returned
  // it. For a token that `Install` is given, the lifetime counts from the call
  // of `Install`. This is `expires_in` of RFC 6749, section 5.1. The server
  // counts from a later moment than the start of the attempt, so the token is
  // never used for too long. `absl::InfiniteDuration()` means never.
  static Expiry In(absl::Duration lifetime) {
    Expiry expiry;
    expiry.lifetime_ = lifetime;
    expiry.relative_ = true;
    return expiry;
  }

  bool is_relative() const { return relative_; }
  // Wall time; the infinite future if the token never expires. Meaningful only
  // if `!is_relative()`.
  absl::Time time() const { return time_; }
  // Infinite if the token never expires. Meaningful only if `is_relative()`.
  absl::Duration lifetime() const { return lifetime_; }

 private:
  Expiry() = default;

  absl::Time time_ = absl::InfiniteFuture();
  absl::Duration lifetime_ = absl::InfiniteDuration();
  bool relative_ = false;
};

// Writes "never", the time in RFC 3339 form (UTC), or "in 1h".
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
