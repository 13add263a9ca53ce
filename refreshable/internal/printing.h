// SPDX-License-Identifier: Apache-2.0
//
// What the printers of the public values share.

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

// What operator<< writes.
template <typename Value>
std::string Streamed(const Value& value) {
  std::ostringstream os;
  os << value;
  return os.str();
}

// In quotes, on one line whatever it holds.
inline std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

// Code and message; not the payloads, which may hold anything.
inline std::string Quoted(const absl::Status& status) {
  return Quoted(status.ToString(absl::StatusToStringMode::kWithNoExtraData));
}

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_PRINTING_H_
