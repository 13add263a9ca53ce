// SPDX-License-Identifier: Apache-2.0
//
// Form encoding, which OAuth 2.0 uses in bodies and in client credentials.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace refreshable_examples {

// Encodes a name or value as application/x-www-form-urlencoded.
std::string FormEncode(absl::string_view text);

// Reverses FormEncode. Returns nullopt if `text` is not valid.
std::optional<std::string> FormDecode(absl::string_view text);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
