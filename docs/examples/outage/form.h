// SPDX-License-Identifier: Apache-2.0
//
// FormDecode: decodes application/x-www-form-urlencoded, the encoding of client
// credentials in OAuth 2.0.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace refreshable_examples {

// Decodes application/x-www-form-urlencoded, the encoding of client credentials
// in OAuth 2.0. Returns nullopt if a percent sign is not followed by two
// hexadecimal digits.
std::optional<std::string> FormDecode(absl::string_view text);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
