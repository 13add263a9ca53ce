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

// A store that keeps the token in one file. The file contains the bytes of the
// token and nothing else. (`Load` ignores one line break at the end.) Only one
// program at a time may refresh with a file: if two present the same token, the
// server may end the login. Another program may store the token of a new login
// in the file, or remove the file.
//
// `Store` writes a new file with mode 0600 in the folder of the old file,
// flushes the new file, renames it over the old file, and flushes the folder.
// If the program crashes before the rename, or the disk is full, the old token
// is kept. A crash may leave the new file behind. Its name is that of the old
// file and seven more characters. The folder must exist. If the path is a
// symbolic link, the link is replaced, not the file it leads to.
//
// Errors:
//   - NOT_FOUND: `Load` finds no file, or an empty file.
//   - FAILED_PRECONDITION: `Load` finds something other than a regular file, a
//     file with more than 64 KiB, or a file whose mode gives any permission to
//     the group or to others.
//   - INVALID_ARGUMENT: `Store` is given a token with more than 64 KiB.
//   - UNIMPLEMENTED: the system is Windows.
//   - The code of `absl::ErrnoToStatus`, if a call of the system fails.
// No status contains a byte of a token.
//
// Thread-safe, except that two threads must not call `Store` at the same time.
// Both methods block while the file system does.
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
