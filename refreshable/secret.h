// SPDX-License-Identifier: Apache-2.0
//
// Secret: bytes that no printer shows and that are wiped when freed.

#ifndef REFRESHABLE_SECRET_H_
#define REFRESHABLE_SECRET_H_

#include <cstddef>
#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep

namespace refreshable {

// The bytes of a password, a key or a token. A Secret owns its bytes, and can
// be the `Token` of a Refreshable.
//
// Every printer (ostream, fmt, absl::StrCat and StrFormat, GoogleTest) shows
// "[secret]". The bytes are overwritten before they are freed. A caller who
// copies the bytes of `reveal()` must wipe the copy. The time of a comparison
// depends only on the sizes of the secrets.
//
// A value type, as thread-safe as std::string.
class Secret {
 public:
  Secret() = default;
  // Copies `bytes`. The caller must wipe the original.
  explicit Secret(absl::string_view bytes);
  // Returns a secret with a copy of `bytes`. Wipes the string, including its
  // spare capacity, and leaves it empty.
  static Secret TakeFrom(std::string& bytes);

  Secret(const Secret& other) : Secret(other.reveal()) {}
  // A moved-from secret is empty.
  Secret(Secret&& other) noexcept;
  Secret& operator=(const Secret& other);
  Secret& operator=(Secret&& other) noexcept;
  ~Secret();

  // The bytes are valid until the secret is changed or destroyed.
  absl::string_view reveal() const { return {bytes_.get(), size_}; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  friend bool operator==(const Secret& a, const Secret& b);
  friend bool operator!=(const Secret& a, const Secret& b) { return !(a == b); }

  template <typename Sink>
  friend void AbslStringify(Sink& sink, const Secret&) {
    sink.Append("[secret]");
  }
  friend std::ostream& operator<<(std::ostream& os, const Secret&) {
    return os << "[secret]";
  }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
};

// Overwrites `size` bytes at `data` with zeros. The compiler does not optimize
// this away.
void WipeMemory(void* data, size_t size);

}  // namespace refreshable

#endif  // REFRESHABLE_SECRET_H_
