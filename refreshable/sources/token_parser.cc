// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/token_parser.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace refreshable {
namespace internal {

absl::StatusOr<absl::string_view> TokenText(absl::string_view bytes) {
  while (!bytes.empty() && (bytes.back() == '\n' || bytes.back() == '\r')) {
    bytes.remove_suffix(1);
  }
  if (bytes.empty()) {
    return absl::InvalidArgumentError("holds nothing but line ends");
  }
  if (std::any_of(bytes.begin(), bytes.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError(
        "holds a control character or more than one line, which the default "
        "parser refuses");
  }
  return bytes;
}

absl::Status ParserFailure(const absl::Status& status, bool show) {
  return absl::Status(
      status.code(),
      absl::StrCat("was refused by the parser: ",
                   absl::StatusCodeToString(status.code()), show ? ": " : "",
                   show ? status.message() : absl::string_view()));
}

bool IsNever(const Expiry& expiry) {
  return expiry.is_relative() ? expiry.lifetime() == absl::InfiniteDuration()
                              : expiry.time() == absl::InfiniteFuture();
}

absl::Status ValidateLifetime(absl::string_view source,
                              absl::Duration lifetime) {
  if (lifetime > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": lifetime must be positive, but is ",
                   absl::FormatDuration(lifetime)));
}

}  // namespace internal
}  // namespace refreshable
