// SPDX-License-Identifier: Apache-2.0
//
// FormDecode: for the server. OAuth 2.0 uses this encoding in bodies and in
// client credentials.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace refreshable_examples {

// Decodes a name or value of application/x-www-form-urlencoded. Returns nullopt
// if `text` is not valid.
std::optional<std::string> FormDecode(absl::string_view text);

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_FORM_H_
