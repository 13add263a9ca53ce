// SPDX-License-Identifier: Apache-2.0
//
// FileSource: a source that reads a token from a file that another process
// replaces now and then.

#ifndef REFRESHABLE_SOURCES_FILE_SOURCE_H_
#define REFRESHABLE_SOURCES_FILE_SOURCE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/sources/secret_buffer.h"
#include "refreshable/sources/token_parser.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

absl::Status ValidateTokenFile(const std::string& path, size_t max_bytes);

absl::Status ValidateRereadAfter(absl::Duration reread_after);

// Returns an error whose message names the file, followed by `what`.
absl::Status TokenFileError(absl::StatusCode code, const std::string& path,
                            absl::string_view what);
// Returns the error for `error_number`, with which a system call on the file
// failed.
absl::Status TokenFileSystemError(int error_number, const std::string& path);

// Reads all of the file into `bytes`. If the file is missing or changes during
// the reading, reads again at once. There are at most five readings. Returns OK
// if `bytes` is the whole file and not empty; otherwise one of the errors that
// FileSource lists. `after_reading` is for tests, and may be null. Each reading
// calls it before the check that the file has not changed.
absl::Status ReadTokenFile(const std::string& path, SecretBuffer& bytes,
                           const std::function<void()>& after_reading);

}  // namespace internal

// A source that reads its token from a file at each call. The file may be a
// projected Kubernetes secret or service account token.
//
//   refreshable::FileSource<refreshable::Secret>::Options options;
//   options.path = "/var/run/secrets/tokens/api";
//   auto source =
//       refreshable::FileSource<refreshable::Secret>::Create(options);
//   if (!source.ok()) return source.status();
//   auto token = refreshable::Refreshable<refreshable::Secret>::Create(
//       *source, {&executor});
//
// How to replace the file: write another file and rename it to `path`, or
// replace a symbolic link in the path, as Kubernetes does. A reading then gets
// all of the old token or all of the new token.
//
// If a writer writes into the file itself, the source may read an incomplete
// token. It notices only if the file's size or time stamp changes during the
// reading, if the file is empty, or if the parser refuses the bytes.
//
// How often the file is read: by default, a token is stale after about one
// minute and expires after two. So the file is read about once a minute while
// its token is in use. `lifetime` and `reread_after` set these times. After a
// rejection (`ReadOptions::rejected`), the file is read sooner.
//
// Errors, none of which contains anything of the file:
//
//   UNAVAILABLE          transient: the file is missing or empty, cannot be
//                        read, or is refused by the parser. A writer may not
//                        have finished it.
//   ABORTED              transient: the file changed during each of several
//                        readings.
//   PERMISSION_DENIED    permanent: this program may not read the file.
//   FAILED_PRECONDITION  permanent: the file is a directory or something else
//                        that is not a regular file, it has more than
//                        `max_bytes`, or the path is not valid.
//
// Thread-safe. `Fetch` blocks as long as the file system does. It refuses a
// FIFO or a device at once. For POSIX systems.
template <typename Token>
class FileSource final : public TokenSource<Token> {
 public:
  struct Options {
    // Not empty. A relative path is resolved anew for each reading.
    std::string path;
    // The lifetime of a token for which `parse` states no expiry, counted from
    // the start of the attempt. Positive. If infinite, the token never expires:
    // the file is read again only if the token is rejected or withdrawn.
    absl::Duration lifetime = absl::Minutes(2);
    // How long after the start of an attempt its token becomes stale. The file
    // is then read again if the token is in use. Positive. A finite value is
    // passed to `Expiry::WithRefreshIn`, whose limits apply. If the value is
    // infinite, the stale window of the policy decides. But if `parse` calls
    // `WithRefreshIn`, the value from `parse` counts instead.
    absl::Duration reread_after = absl::InfiniteDuration();
    // If null, the default parser of token_parser.h is used.
    TokenParser<Token> parse = nullptr;
    // Whether errors contain the parser's message. If so, that message must
    // contain nothing of the file.
    bool show_parser_message = false;
    // The most bytes that the file may have: at least 1, at most 16 MiB.
    size_t max_bytes = 64 * 1024;
  };

  // Does not look at the file. Fails with INVALID_ARGUMENT if an option is
  // invalid.
  static absl::StatusOr<std::shared_ptr<TokenSource<Token>>> Create(
      Options options) {
    absl::Status status =
        internal::ValidateTokenFile(options.path, options.max_bytes);
    status.Update(internal::ValidateLifetime("FileSource", options.lifetime));
    status.Update(internal::ValidateRereadAfter(options.reread_after));
    status.Update(internal::ValidateParser("FileSource", options.parse));
    if (!status.ok()) return status;
    return std::shared_ptr<TokenSource<Token>>(
        new FileSource(std::move(options)));
  }

  void Fetch(const FetchContext&, FetchDone<Token> done) override {
    done(Read());
  }

 private:
  explicit FileSource(Options options) : options_(std::move(options)) {}

  absl::StatusOr<Credential<Token>> Read() {
    internal::SecretBuffer bytes(options_.max_bytes);
    const absl::Status status =
        internal::ReadTokenFile(options_.path, bytes, nullptr);
    if (!status.ok()) return status;
    absl::StatusOr<Credential<Token>> result =
        internal::ParseToken(options_.parse, options_.show_parser_message,
                             options_.lifetime, bytes.view());
    if (result.ok()) {
      if (result->expiry.refresh_in() == absl::InfiniteDuration()) {
        result->expiry = result->expiry.WithRefreshIn(options_.reread_after);
      }
      return result;
    }
    return internal::TokenFileError(absl::StatusCode::kUnavailable,
                                    options_.path, result.status().message());
  }

  const Options options_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_FILE_SOURCE_H_
