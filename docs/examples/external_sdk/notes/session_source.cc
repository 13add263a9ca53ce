// SPDX-License-Identifier: Apache-2.0

#include "notes/session_source.h"

#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace notes {

// [fetch]
void SessionSource::Fetch(const refreshable::FetchContext&,
                          refreshable::FetchDone<Session> done) {
  absl::StatusOr<Response> response =
      transport_->Send("POST", "/login", absl::StrCat("ApiKey ", api_key_));
  if (!response.ok()) return done(response.status());
  if (response->status >= 500) {  // UNAVAILABLE is retried.
    return done(absl::UnavailableError(
        absl::StrCat("/login answered ", response->status)));
  }
  if (response->status != 200) {  // PERMISSION_DENIED is not.
    return done(absl::PermissionDeniedError(
        absl::StrCat("/login answered ", response->status)));
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
