// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/form.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace refreshable_examples {

std::optional<std::string> FormDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out.push_back(' ');
    } else if (text[i] == '%') {
      if (i + 2 >= text.size() || !absl::ascii_isxdigit(text[i + 1]) ||
          !absl::ascii_isxdigit(text[i + 2])) {
        return std::nullopt;
      }
      uint32_t byte = 0;
      // Cannot fail: both characters are hexadecimal digits.
      static_cast<void>(absl::SimpleHexAtoi(text.substr(i + 1, 2), &byte));
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace refreshable_examples
