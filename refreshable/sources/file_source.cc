// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/file_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace refreshable {
namespace internal {
namespace {

// How many times one call tries to read a file that is missing, or that changes
// while it is read. A file may seem to be missing while a link in its path is
// being replaced.
constexpr int kTries = 5;

struct timespec ModifiedAt(const struct stat& info) {
#ifdef __APPLE__
  return info.st_mtimespec;
#else
  return info.st_mtim;
#endif
}

// Returns whether somebody wrote into the file between two calls of Stat.
// Ignores the ctime: a rename changes it, but leaves the open file whole.
bool WasWritten(const struct stat& a, const struct stat& b) {
  return a.st_size != b.st_size ||
         ModifiedAt(a).tv_sec != ModifiedAt(b).tv_sec ||
         ModifiedAt(a).tv_nsec != ModifiedAt(b).tv_nsec;
}

// A file that is open for reading, or the error number with which opening it
// failed.
class OpenFile {
 public:
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  explicit OpenFile(const std::string& path) {
    do {
      fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
      error_ = fd_ < 0 ? errno : 0;
    } while (error_ == EINTR);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }

  int error() const { return error_; }
  // Returns 0 or an error number.
  int Stat(struct stat& info) const {
    return fstat(fd_, &info) == 0 ? 0 : errno;
  }
  // Reads to the end of the file, or until `bytes` has overflowed. Returns 0 or
  // an error number.
  int ReadAll(SecretBuffer& bytes) const {
    while (!bytes.overflowed()) {
      const ssize_t n = read(fd_, bytes.free_data(), bytes.free_size());
      if (n == 0) break;
      if (n > 0) {
        bytes.Commit(static_cast<size_t>(n));
      } else if (errno != EINTR) {
        return errno;
      }
    }
    return 0;
  }

 private:
  int fd_ = -1;
  int error_ = 0;
};

struct Reading {
  absl::Status status;
  bool again = false;  // Whether reading again at once may succeed.
};

Reading SystemError(int error, const std::string& path) {
  return {TokenFileSystemError(error, path),
          error == ENOENT || error == ESTALE};
}

Reading ReadOnce(const std::string& path, SecretBuffer& bytes,
                 const std::function<void()>& after_reading) {
  const auto fail = [&](absl::StatusCode code, absl::string_view what) {
    return Reading{TokenFileError(code, path, what)};
  };
  const OpenFile file(path);
  if (file.error() != 0) return SystemError(file.error(), path);
  struct stat before;
  struct stat after;
  if (const int e = file.Stat(before)) return SystemError(e, path);
  if (S_ISDIR(before.st_mode)) {
    return fail(absl::StatusCode::kFailedPrecondition, "is a directory");
  }
  if (!S_ISREG(before.st_mode)) {
    return fail(absl::StatusCode::kFailedPrecondition, "is not a regular file");
  }
  if (const int e = file.ReadAll(bytes)) return SystemError(e, path);
  if (after_reading != nullptr) after_reading();
  if (const int e = file.Stat(after)) return SystemError(e, path);
  if (WasWritten(before, after)) {
    return {TokenFileError(absl::StatusCode::kAborted, path,
                           "is being written; it changed during each reading"),
            /*again=*/true};
  }
  if (bytes.overflowed()) {
    return fail(absl::StatusCode::kFailedPrecondition,
                absl::StrCat("has more than ", bytes.size() - 1, " bytes"));
  }
  if (bytes.size() == 0) {
    return fail(absl::StatusCode::kUnavailable, "is empty");
  }
  return {};
}

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case ELOOP:
    case ENAMETOOLONG:
    case ENOTDIR:
    case ENXIO:  // A socket.
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status ValidateRereadAfter(absl::Duration reread_after) {
  if (reread_after > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("FileSource: reread_after must be positive, but is ",
                   absl::FormatDuration(reread_after)));
}

absl::Status ValidateTokenFile(const std::string& path, size_t max_bytes) {
  if (path.empty()) {
    return absl::InvalidArgumentError("FileSource: path is empty");
  }
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("FileSource: path has a NUL byte");
  }
  if (max_bytes < 1 || max_bytes > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("FileSource: max_bytes must be 1 to ", kMaxTokenBytes,
                     ", but is ", max_bytes));
  }
  return absl::OkStatus();
}

absl::Status TokenFileError(absl::StatusCode code, const std::string& path,
                            absl::string_view what) {
  return absl::Status(
      code,
      absl::StrCat("token file ", absl::Utf8SafeCEscape(path), " ", what));
}

absl::Status TokenFileSystemError(int error_number, const std::string& path) {
  const absl::Status described = absl::ErrnoToStatus(
      error_number, absl::StrCat("token file ", absl::Utf8SafeCEscape(path),
                                 " cannot be read"));
  return absl::Status(CodeOf(error_number), described.message());
}

absl::Status ReadTokenFile(const std::string& path, SecretBuffer& bytes,
                           const std::function<void()>& after_reading) {
  Reading reading;
  for (int i = 0; i < kTries; ++i) {
    bytes.Clear();
    reading = ReadOnce(path, bytes, after_reading);
    if (!reading.again) break;
  }
  return reading.status;
}

}  // namespace internal
}  // namespace refreshable
