// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/file_refresh_token_store.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

#ifndef _WIN32
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#endif

namespace refreshable {
namespace oauth2 {

FileRefreshTokenStore::FileRefreshTokenStore(std::string path)
    : path_(std::move(path)) {}

#ifdef _WIN32

absl::StatusOr<Secret> FileRefreshTokenStore::Load() {
  return absl::UnimplementedError("FileRefreshTokenStore needs POSIX");
}

absl::Status FileRefreshTokenStore::Store(const Secret& /*refresh_token*/) {
  return absl::UnimplementedError("FileRefreshTokenStore needs POSIX");
}

#else

namespace {

constexpr size_t kMaxBytes = 64 * 1024;

// A file descriptor, or -1. The destructor closes it.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }

  int fd() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  // Returns false if closing failed: what was written may then be lost.
  bool Close() {
    const int fd = std::exchange(fd_, -1);
    return close(fd) == 0;
  }

 private:
  int fd_;
};

absl::Status Errno(absl::string_view what, absl::string_view path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path));
}

absl::Status Refused(absl::string_view path, absl::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the refresh token file ", path, " ", why));
}

bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Flushes `folder`, so that a rename in it survives a crash. Returns OK even if
// the file system cannot flush folders.
absl::Status FlushFolder(const std::string& folder) {
  const File file(open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (!file.ok()) return Errno("cannot open the folder", folder);
  if (fsync(file.fd()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    return Errno("cannot flush the folder", folder);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Secret> FileRefreshTokenStore::Load() {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const File file(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  // Opening a socket fails with ENXIO, for which Errno would return NOT_FOUND.
  if (!file.ok() && errno == ENXIO) {
    return Refused(path_, "is not a regular file");
  }
  if (!file.ok()) return Errno("cannot open the refresh token file", path_);
  struct stat stat = {};
  if (fstat(file.fd(), &stat) != 0) {
    return Errno("cannot examine the refresh token file", path_);
  }
  if (!S_ISREG(stat.st_mode)) return Refused(path_, "is not a regular file");
  if ((stat.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Refused(path_, "may be read or written by others; chmod 600 it");
  }
  std::string bytes(kMaxBytes + 1, '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = read(file.fd(), &bytes[size], bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const absl::Status status =
          Errno("cannot read the refresh token file", path_);
      WipeMemory(&bytes[0], bytes.size());
      return status;
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  absl::string_view token = absl::string_view(bytes).substr(0, size);
  if (absl::ConsumeSuffix(&token, "\n")) absl::ConsumeSuffix(&token, "\r");
  const Secret secret(token);
  WipeMemory(&bytes[0], bytes.size());
  if (size > kMaxBytes) {
    return Refused(path_, absl::StrCat("has more than ", kMaxBytes, " bytes"));
  }
  if (secret.empty()) {
    return absl::NotFoundError(
        absl::StrCat("the refresh token file ", path_, " is empty"));
  }
  return secret;
}

absl::Status FileRefreshTokenStore::Store(const Secret& refresh_token) {
  if (refresh_token.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the refresh token has more than ", kMaxBytes, " bytes"));
  }
  std::string temporary = absl::StrCat(path_, ".XXXXXX");
  // mkostemp makes a file with mode 0600.
  File file(mkostemp(&temporary[0], O_CLOEXEC));
  if (!file.ok()) return Errno("cannot create a file beside", path_);
  absl::Status status;
  if (!WriteAll(file.fd(), refresh_token.reveal()) || fsync(file.fd()) != 0 ||
      !file.Close()) {
    status = Errno("cannot write the file", temporary);
  } else if (rename(temporary.c_str(), path_.c_str()) != 0) {
    status = Errno("cannot replace the refresh token file", path_);
  } else {
    return FlushFolder(FolderOf(path_));
  }
  unlink(temporary.c_str());
  return status;
}

#endif

}  // namespace oauth2
}  // namespace refreshable
