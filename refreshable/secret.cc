// SPDX-License-Identifier: Apache-2.0

#include "refreshable/secret.h"

#include <cstring>
#include <utility>

namespace refreshable {

void WipeMemory(void* data, size_t size) {
  // The compiler keeps writes through a volatile pointer.
  volatile char* bytes = static_cast<volatile char*>(data);
  for (size_t i = 0; i < size; ++i) bytes[i] = 0;
}

Secret::Secret(absl::string_view bytes)
    : bytes_(bytes.empty() ? nullptr : new char[bytes.size()]),
      size_(bytes.size()) {
  if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
}

Secret Secret::TakeFrom(std::string& bytes) {
  Secret secret{absl::string_view(bytes)};
  bytes.resize(bytes.capacity());  // Does not reallocate.
  WipeMemory(&bytes[0], bytes.size());
  bytes.clear();
  return secret;
}

Secret::Secret(Secret&& other) noexcept
    : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(const Secret& other) {
  if (this != &other) *this = Secret(other);
  return *this;
}

Secret& Secret::operator=(Secret&& other) noexcept {
  // `taken` wipes the replaced bytes when this function returns. A swap with
  // `other` would keep them until `other` is destroyed.
  Secret taken(std::move(other));
  std::swap(bytes_, taken.bytes_);
  std::swap(size_, taken.size_);
  return *this;
}

Secret::~Secret() { WipeMemory(bytes_.get(), size_); }

bool operator==(const Secret& a, const Secret& b) {
  if (a.size_ != b.size_) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size_; ++i) {
    difference |= static_cast<unsigned char>(a.bytes_[i] ^ b.bytes_[i]);
  }
  return difference == 0;
}

}  // namespace refreshable
