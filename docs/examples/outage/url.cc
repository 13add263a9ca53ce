// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/url.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace refreshable_examples {

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  const size_t scheme = text.find("://");
  const std::string name = absl::AsciiStrToLower(text.substr(0, scheme));
  if (scheme == absl::string_view::npos ||
      (name != "http" && name != "https")) {
    return absl::InvalidArgumentError(
        "not an address that starts with http:// or https://");
  }
#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
  if (name == "https") {
    return absl::InvalidArgumentError(
        "https needs cpp-httplib built with OpenSSL, and this one is not");
  }
#endif
  for (const char c : text) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError("there is a space in the address");
    }
  }
  const absl::string_view rest = text.substr(scheme + 3);
  const size_t end = rest.find_first_of("/?#");
  const absl::string_view authority = rest.substr(0, end);
  if (absl::StrContains(authority, "@")) {
    return absl::InvalidArgumentError(
        "a user name or secret does not belong into the address");
  }
  // A colon inside brackets belongs to an IPv6 address.
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  absl::string_view host = authority;
  if (colon != absl::string_view::npos &&
      (bracket == absl::string_view::npos || bracket < colon)) {
    host = authority.substr(0, colon);
    int port = 0;
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 ||
        port > 65535) {
      return absl::InvalidArgumentError("the port is not one of 1 to 65535");
    }
  }
  if (host.empty()) return absl::InvalidArgumentError("there is no host in it");
  Url url;
  url.origin = absl::StrCat(name, "://", authority);
  url.target = std::string(end == absl::string_view::npos ? absl::string_view()
                                                          : rest.substr(end));
  url.target = url.target.substr(0, url.target.find('#'));
  if (!absl::StartsWith(url.target, "/")) url.target.insert(0, "/");
  return url;
}

}  // namespace refreshable_examples
