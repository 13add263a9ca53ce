// SPDX-License-Identifier: Apache-2.0
//
// FileRefreshTokenStore: keeps a refresh token in a file.

#ifndef REFRESHABLE_OAUTH2_FILE_REFRESH_TOKEN_STORE_H_
#define REFRESHABLE_OAUTH2_FILE_REFRESH_TOKEN_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {

// A store that is one file, which contains the bytes of the token and nothing
// else. (One line break at the end is ignored.) Only one program at a time may
// refresh with a file: two programs would present the same token, which a
// server may punish by ending the login. Another program may store the token of
// a new login in the file, or remove the file.
//
// `Store` writes a new file beside the old one, with mode 0600, flushes it to
// the disk, renames it over the old one, and flushes the folder. If the program
// crashes or the disk is full meanwhile, the old token is kept. A crash may
// leave the new file behind, whose name is that of the old one with seven more
// characters. The folder must exist. If the path is a symbolic link, the link
// is replaced, not the file it leads to.
//
// `Load` fails with FAILED_PRECONDITION if anybody but its owner may read or
// write the file, if it is not a regular file, or if it has more than 64 KiB.
// For a missing or empty file it fails with NOT_FOUND. The code of other
// failures is that of `absl::ErrnoToStatus`. Statuses name the path, and
// contain no byte of the file.
//
// For POSIX systems; elsewhere both calls fail with UNIMPLEMENTED. Thread-safe,
// except that `Store` must not be called concurrently (RefreshTokens does not).
class FileRefreshTokenStore final : public RefreshTokenStore {
 public:
  explicit FileRefreshTokenStore(std::string path);

  absl::StatusOr<Secret> Load() override;
  absl::Status Store(const Secret& refresh_token) override;

 private:
  const std::string path_;
};

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_FILE_REFRESH_TOKEN_STORE_H_
