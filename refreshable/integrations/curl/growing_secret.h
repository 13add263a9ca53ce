// SPDX-License-Identifier: Apache-2.0
//
// GrowingSecret: a buffer for the body of an answer. Private.

#ifndef REFRESHABLE_INTEGRATIONS_CURL_GROWING_SECRET_H_
#define REFRESHABLE_INTEGRATIONS_CURL_GROWING_SECRET_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {

// Grows up to `limit` bytes, and wipes every copy of the bytes that it makes.
// Not thread-safe.
class GrowingSecret {
 public:
  explicit GrowingSecret(size_t limit) : limit_(limit) {}
  GrowingSecret(const GrowingSecret&) = delete;
  GrowingSecret& operator=(const GrowingSecret&) = delete;
  ~GrowingSecret() { WipeMemory(bytes_.get(), size_); }

  // If there would be more than `limit` bytes, adds none and returns false.
  bool Append(const char* data, size_t n) {
    if (n > limit_ - size_) return false;
    if (n > capacity_ - size_) {
      const size_t capacity =
          std::max(size_ + n, std::min(limit_, 2 * capacity_ + 1024));
      std::unique_ptr<char[]> bytes(new char[capacity]);
      if (size_ > 0) std::memcpy(bytes.get(), bytes_.get(), size_);
      WipeMemory(bytes_.get(), size_);
      bytes_ = std::move(bytes);
      capacity_ = capacity;
    }
    if (n > 0) std::memcpy(bytes_.get() + size_, data, n);
    size_ += n;
    return true;
  }
  absl::string_view view() const { return {bytes_.get(), size_}; }

 private:
  const size_t limit_;
  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_INTEGRATIONS_CURL_GROWING_SECRET_H_
