// SPDX-License-Identifier: Apache-2.0
//
// Functions that the printers of the public values share.

#ifndef REFRESHABLE_INTERNAL_PRINTING_H_
#define REFRESHABLE_INTERNAL_PRINTING_H_

#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace refreshable {
namespace internal {

template <typename Value>
std::string Streamed(const Value& value) {
  std::ostringstream os;
  os << value;
  return os.str();
}

// Returns `text` in quotes, escaped so that it is one line.
inline std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

// Leaves out the payloads, because they may contain anything, even a secret.
inline std::string Quoted(const absl::Status& status) {
  return Quoted(status.ToString(absl::StatusToStringMode::kWithNoExtraData));
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_PRINTING_H_
