// SPDX-License-Identifier: Apache-2.0

#include "notes/session_source.h"

#include <sstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "refreshable/http_error.h"

namespace notes {

// [fetch]
void SessionSource::Fetch(const refreshable::FetchContext&,
                          refreshable::FetchDone<Session> done) {
  absl::StatusOr<Response> response =
      transport_->Send("POST", "/login", absl::StrCat("ApiKey ", api_key_));
  if (!response.ok()) return done(response.status());
  if (response->status != 200) {
    const std::vector<refreshable::HttpHeader> headers(
        response->headers.begin(), response->headers.end());
    return done(
        refreshable::HttpErrorToStatus(response->status, headers, absl::Now()));
  }
  Session session;
  int seconds = 0;
  std::istringstream body(response->body);
  if (!(body >> session.key >> session.shard >> seconds)) {
    return done(absl::InternalError("/login answered something else"));
  }
  done(refreshable::Credential<Session>(
      std::move(session), refreshable::Expiry::In(absl::Seconds(seconds))));
}
// [/fetch]

}  // namespace notes
