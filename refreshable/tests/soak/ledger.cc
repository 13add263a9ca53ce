// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/soak/ledger.h"

#include <cstdio>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/base/config.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace refreshable_soak {
namespace {

constexpr int64_t kPrinted = 20;

std::atomic<int64_t> broken{0};
std::atomic<int64_t> live_tokens{0};
std::atomic<uint64_t> moments{0};

char ByteOf(uint64_t id) { return static_cast<char>('a' + id % 26); }

}  // namespace

void Broken(absl::string_view clause, absl::string_view what) {
  if (++broken > kPrinted) return;
  const std::string line = absl::StrCat("BROKEN ", clause, ": ", what, "\n");
  std::fputs(line.c_str(), stdout);
  std::fflush(stdout);
}

int64_t BrokenCount() { return broken; }

uint64_t NextMoment() { return ++moments; }

Token::Token(uint64_t id, uint64_t asked)
    : id_(id), asked_(asked), made_(NextMoment()), bytes_(1024, ByteOf(id)) {
  ++live_tokens;
}

Token::Token(Token&& other) noexcept
    : id_(other.id_),
      asked_(other.asked_),
      made_(other.made_),
      bytes_(std::move(other.bytes_)) {
  ++live_tokens;
}

Token::~Token() {
  mark_ = 0;
  --live_tokens;
}

bool Token::Intact() const {
  return mark_ == kAlive && bytes_.size() == 1024 &&
         bytes_.front() == ByteOf(id_) && bytes_.back() == ByteOf(id_);
}

void Token::NotePublished(absl::Time now) const {
  published_by_.store(absl::ToUnixNanos(now), std::memory_order_relaxed);
}

absl::Time Token::published_by() const {
  const int64_t nanos = published_by_.load(std::memory_order_relaxed);
  return nanos == 0 ? absl::InfiniteFuture() : absl::FromUnixNanos(nanos);
}

int64_t Token::Live() { return live_tokens; }

ProcessFigures ProcessFigures::Now() {
  ProcessFigures figures;
#ifdef __GLIBC__
  malloc_trim(0);  // Without this, freed memory may count as resident.
#endif
  std::ifstream status("/proc/self/status");
  for (std::string name, value; status >> name;) {
    int64_t* const figure = name == "VmRSS:"     ? &figures.resident_kib
                            : name == "Threads:" ? &figures.threads
                                                 : nullptr;
    if (figure != nullptr && status >> value) {
      if (!absl::SimpleAtoi(value, figure)) *figure = -1;
    }
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || \
    defined(ABSL_HAVE_THREAD_SANITIZER) || defined(ABSL_HAVE_MEMORY_SANITIZER)
  figures.resident_kib = -1;
#endif
  return figures;
}

}  // namespace refreshable_soak
