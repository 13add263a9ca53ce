// SPDX-License-Identifier: Apache-2.0
//
// SecretBuffer: a bounded buffer for bytes that hold a token. Private.

#ifndef REFRESHABLE_SOURCES_SECRET_BUFFER_H_
#define REFRESHABLE_SOURCES_SECRET_BUFFER_H_

#include <cstddef>
#include <memory>

#include "absl/strings/string_view.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace internal {

// The largest permitted value of `FileSource::Options::max_bytes` and of
// `Command::max_output_bytes`.
inline constexpr size_t kMaxTokenBytes = 16 << 20;

// A buffer for up to `limit` bytes, and one more to notice an overflow. It
// never moves the bytes, so it leaves no copies behind. It wipes the bytes when
// it is cleared or destroyed. Not thread-safe.
class SecretBuffer {
 public:
  explicit SecretBuffer(size_t limit)
      : limit_(limit), bytes_(new char[limit + 1]) {}
  SecretBuffer(const SecretBuffer&) = delete;
  SecretBuffer& operator=(const SecretBuffer&) = delete;
  ~SecretBuffer() { Clear(); }

  // The free part of the buffer. It is empty only after an overflow.
  char* free_data() { return bytes_.get() + size_; }
  size_t free_size() const { return limit_ + 1 - size_; }
  // Adds the first `n` bytes of the free part. Requires: n <= free_size().
  void Commit(size_t n) { size_ += n; }
  void Clear() {
    WipeMemory(bytes_.get(), size_);
    size_ = 0;
  }

  size_t size() const { return size_; }
  bool overflowed() const { return size_ > limit_; }
  absl::string_view view() const { return {bytes_.get(), size_}; }

 private:
  const size_t limit_;
  const std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_SECRET_BUFFER_H_
