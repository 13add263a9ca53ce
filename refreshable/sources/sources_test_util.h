// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the sources share.

#ifndef REFRESHABLE_SOURCES_SOURCES_TEST_UTIL_H_
#define REFRESHABLE_SOURCES_SOURCES_TEST_UTIL_H_

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/generation.h"
#include "refreshable/token_source.h"

namespace refreshable {

// A new folder, which the destructor removes with its content.
class TempFolder {
 public:
  TempFolder() {
    std::string name = testing::TempDir() + "/sources_XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { std::filesystem::remove_all(path_); }

  std::string path(absl::string_view name) const {
    return absl::StrCat(path_, "/", name);
  }

 private:
  std::string path_;
};

inline void WriteFile(const std::string& path, absl::string_view content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  ASSERT_TRUE(file.flush()) << path;
}

// The parts of a FetchContext that a test can choose.
struct AskOptions {
  Generation rejected;
  absl::Duration timeout = absl::InfiniteDuration();
  std::shared_ptr<std::atomic<bool>> cancelled =
      std::make_shared<std::atomic<bool>>(false);

  FetchContext context() const {
    return FetchContext(RefreshReason::kFirst, /*attempt=*/1, rejected, timeout,
                        cancelled);
  }
};

// Returns the answer of `source`, or INTERNAL if it does not answer inside
// `Fetch`.
template <typename Token>
absl::StatusOr<Credential<Token>> Ask(TokenSource<Token>& source,
                                      const AskOptions& options = {}) {
  absl::StatusOr<Credential<Token>> answer = absl::InternalError("no answer");
  source.Fetch(
      options.context(),
      FetchDone<Token>([&answer](absl::StatusOr<Credential<Token>>&& r) {
        answer = std::move(r);
      }));
  return answer;
}

}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_SOURCES_TEST_UTIL_H_
