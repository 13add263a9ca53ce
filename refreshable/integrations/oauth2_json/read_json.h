// SPDX-License-Identifier: Apache-2.0
//
// ReadJson: reads the answers of OAuth 2.0 servers with nlohmann_json.

#ifndef REFRESHABLE_INTEGRATIONS_OAUTH2_JSON_READ_JSON_H_
#define REFRESHABLE_INTEGRATIONS_OAUTH2_JSON_READ_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "refreshable/oauth2/answer.h"

namespace refreshable {
namespace oauth2 {

// Reads the JSON object (RFC 8259) in `body`, and returns those members for
// which AnswerFields has a field. Use this function as `SourceOptions::reader`.
//
// If a member occurs more than once, the last one counts. Members of nested
// objects do not count. A byte order mark is skipped.
//
// Returns INVALID_ARGUMENT if the body is not exactly one JSON object, if a
// string in it is not valid UTF-8, if objects and arrays are nested more than
// 64 deep, or if a number is too large for a `long double`. The message
// contains nothing of the body.
//
// Thread-safe. Never blocks. Throws only if there is no memory. nlohmann_json
// copies parts of the body, which may be secrets, into buffers that it does not
// wipe.
absl::StatusOr<AnswerFields> ReadJson(absl::string_view body);

namespace internal {

// Returns the number `text` with a point as its decimal separator.
// nlohmann_json may pass on the separator of the program's locale instead.
std::string JsonNumber(std::string text);

}  // namespace internal

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_INTEGRATIONS_OAUTH2_JSON_READ_JSON_H_
