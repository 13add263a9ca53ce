// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/http_api.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "docs/examples/outage/oauth_server.h"
#include "httplib.h"
#include "nlohmann/json.hpp"

namespace refreshable_examples {
namespace {

// Returns why the API has answered 401 with this body.
ApiResult Rejection(const std::string& body) {
  const auto answer = nlohmann::json::parse(body, /*cb=*/nullptr,
                                            /*allow_exceptions=*/false);
  if (!answer.is_object()) return ApiResult::kRejected;
  const auto it = answer.find("error_description");
  if (it == answer.end() || !it->is_string()) return ApiResult::kRejected;
  const auto description = it->get<std::string>();
  if (description == kTokenExpired) return ApiResult::kExpired;
  if (description == kTokenRevoked) return ApiResult::kRevoked;
  return ApiResult::kRejected;
}

}  // namespace

Api HttpApi(const Url& url, absl::Duration timeout) {
  auto http = std::make_shared<httplib::Client>(url.origin);
  http->set_keep_alive(true);
  http->set_tcp_nodelay(true);
  http->set_connection_timeout(absl::ToChronoMicroseconds(timeout));
  http->set_read_timeout(absl::ToChronoMicroseconds(timeout));
  return [http, target = url.target](const std::string& token) {
    const httplib::Result answer =
        http->Get(target, {{"Authorization", absl::StrCat("Bearer ", token)}});
    if (!answer) return ApiResult::kUnreachable;
    if (answer->status == 401) return Rejection(answer->body);
    return answer->status >= 200 && answer->status < 300 ? ApiResult::kOk
                                                         : ApiResult::kFailed;
  };
}

}  // namespace refreshable_examples
