// SPDX-License-Identifier: Apache-2.0
//
// What the soak has found wrong, the tokens that it deals in, and the figures
// of its process.

#ifndef BENCHMARKS_SOAK_LEDGER_H_
#define BENCHMARKS_SOAK_LEDGER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable_soak {

// `what` happened, which `clause` of docs/contract.md forbids. Prints the first
// few. Thread-safe.
void Broken(absl::string_view clause, absl::string_view what);
int64_t BrokenCount();

// A kibibyte that says whose it is. Knows whether it is used after its end.
class Token {
 public:
  explicit Token(uint64_t id);
  Token(Token&& other) noexcept;
  ~Token();

  uint64_t id() const { return id_; }
  bool Intact() const;

  // A moment of the wall clock by which it had been published; infinite future
  // until one is known.
  void NotePublished(absl::Time now) const;
  absl::Time published_by() const;

  // How many there are.
  static int64_t Live();

  friend bool operator==(const Token& a, const Token& b) {
    return a.id_ == b.id_;
  }

 private:
  static constexpr uint64_t kAlive = 0x5eadbeef;

  volatile uint64_t mark_ = kAlive;
  const uint64_t id_;
  std::string bytes_;
  mutable std::atomic<int64_t> published_by_{0};  // Nanoseconds since 1970.
};

// What the operating system says of this process. -1: it says nothing.
struct ProcessFigures {
  int64_t resident_kib = -1;
  int64_t heap_kib = -1;  // Allocated and not freed.
  int64_t threads = -1;

  static ProcessFigures Now();
};

// Whether the figures of memory are the program's own, and not mostly a
// sanitizer's.
bool MemoryFiguresCount();

}  // namespace refreshable_soak

#endif  // BENCHMARKS_SOAK_LEDGER_H_
