// SPDX-License-Identifier: Apache-2.0
//
// The soak's record of broken promises, its tokens, and its figures of the
// process.

#ifndef REFRESHABLE_TESTS_SOAK_LEDGER_H_
#define REFRESHABLE_TESTS_SOAK_LEDGER_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable_soak {

// Reports that `what` happened and breaks `clause`: a clause of
// docs/contract.md, or a rule of the soak in words. Only the first 20 reports
// are printed. Thread-safe.
void Broken(absl::string_view clause, absl::string_view what);
int64_t BrokenCount();

// Returns a number for the present moment. Later calls return greater numbers.
// The comments of the soak call this number a moment.
uint64_t NextMoment();

// A token with 1 KiB of bytes. `Intact()` returns false if the token has been
// destroyed.
class Token {
 public:
  // What `asked()` returns if the constructor got no `asked`.
  static constexpr uint64_t kNotAsked = std::numeric_limits<uint64_t>::max();

  // `asked` is the moment at which the source was called for the token. The
  // attempt started earlier.
  explicit Token(uint64_t id, uint64_t asked = kNotAsked);
  Token(Token&& other) noexcept;
  ~Token();

  uint64_t id() const { return id_; }
  bool Intact() const;
  uint64_t asked() const { return asked_; }
  // Returns the moment at which the token was made, before it was returned or
  // installed.
  uint64_t made() const { return made_; }

  // Notes that the token was published at the wall time `now` or earlier.
  // Without a note, `published_by()` returns the infinite future.
  void NotePublished(absl::Time now) const;
  absl::Time published_by() const;

  // Returns the number of living tokens.
  static int64_t Live();

  friend bool operator==(const Token& a, const Token& b) {
    return a.id_ == b.id_;
  }

 private:
  static constexpr uint64_t kAlive = 0x5eadbeef;

  volatile uint64_t mark_ = kAlive;
  const uint64_t id_;
  const uint64_t asked_;
  const uint64_t made_;
  std::string bytes_;
  mutable std::atomic<int64_t> published_by_{0};  // Nanoseconds since 1970.
};

// The figures that the operating system reports about this process. A figure is
// -1 if the system does not report it, or if a sanitizer causes most of it.
struct ProcessFigures {
  int64_t resident_kib = -1;
  int64_t threads = -1;

  static ProcessFigures Now();
};

}  // namespace refreshable_soak

#endif  // REFRESHABLE_TESTS_SOAK_LEDGER_H_
