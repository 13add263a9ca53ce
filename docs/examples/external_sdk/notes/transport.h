// SPDX-License-Identifier: Apache-2.0

#ifndef NOTES_TRANSPORT_H_
#define NOTES_TRANSPORT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace notes {

struct Response {
  int status = 0;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// The SDK's interface to HTTP, implemented with whatever client library the SDK
// uses. Thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;
  // Sends a request, and blocks until there is an answer. An error means that
  // there was no answer at all.
  virtual absl::StatusOr<Response> Send(const std::string& method,
                                        const std::string& path,
                                        const std::string& authorization) = 0;
};

}  // namespace notes

#endif  // NOTES_TRANSPORT_H_
