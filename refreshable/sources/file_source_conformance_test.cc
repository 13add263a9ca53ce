// SPDX-License-Identifier: Apache-2.0
//
// Tests FileSource with the conformance suite for token sources.

#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "refreshable/sources/file_source.h"
#include "refreshable/sources/sources_test_util.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/token_source_conformance.h"

namespace refreshable {
namespace {

constexpr absl::Duration kLifetime = absl::Minutes(5);

// A file with one token and its expiry. While the rig stalls, the parser waits,
// as if the file system hung.
class FileRig : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  FileRig() { Heal(); }
  ~FileRig() override { Heal(); }

  std::shared_ptr<TokenSource<std::string>> Make() override {
    FileSource<std::string>::Options options;
    options.path = path_;
    options.lifetime = kLifetime;
    options.parse = [this](absl::string_view bytes) { return Parse(bytes); };
    return *FileSource<std::string>::Create(options);
  }

  bool Fail() override { return std::remove(path_.c_str()) == 0; }
  bool Stall() override {
    absl::MutexLock lock(&mutex_);
    return stalling_ = true;
  }
  void AwaitStalled(int calls) override {
    absl::MutexLock lock(&mutex_);
    while (stalled_ < calls) changed_.Wait(&mutex_);
  }
  void Heal() override {
    Write();
    absl::MutexLock lock(&mutex_);
    stalling_ = false;
    changed_.SignalAll();
  }
  bool IssuesNewTokens() override { return false; }

 protected:
  virtual absl::StatusOr<Credential<std::string>> Parse(
      absl::string_view bytes) {
    absl::MutexLock lock(&mutex_);
    if (stalling_) ++stalled_;
    changed_.SignalAll();
    while (stalling_) changed_.Wait(&mutex_);
    const std::vector<std::string> parts = absl::StrSplit(bytes, ' ');
    int64_t seconds;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[1], &seconds)) {
      return absl::InvalidArgumentError(absl::StrCat("not two: ", bytes));
    }
    return Credential<std::string>(parts[0],
                                   Expiry::At(absl::FromUnixSeconds(seconds)));
  }
  // Replaces the file with one that has another token.
  void Write() {
    const int n = ++last_;
    const std::string next = folder_.path(absl::StrCat("next", n));
    WriteFile(next, absl::StrCat("token-", n, " 32503680000"));
    ASSERT_EQ(std::rename(next.c_str(), path_.c_str()), 0);
  }

 private:
  const TempFolder folder_;
  const std::string path_ = folder_.path("token");
  std::atomic<int> last_{0};
  absl::Mutex mutex_;
  absl::CondVar changed_;
  bool stalling_ ABSL_GUARDED_BY(mutex_) = false;
  int stalled_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A file that gets a new token each time it is read. The parser states no
// expiry.
class RotatingFileRig final : public FileRig {
 public:
  std::optional<absl::Duration> Lifetime() override { return kLifetime; }
  bool IssuesNewTokens() override { return true; }

 private:
  absl::StatusOr<Credential<std::string>> Parse(
      absl::string_view bytes) override {
    auto result = FileRig::Parse(bytes);
    if (result.ok()) result->expiry = Expiry::Never();
    Write();
    return result;
  }
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(
    File, TokenSourceConformanceTest,
    testing::Values(
        TokenSourceSubject{"FileSource",
                           [] { return std::make_unique<FileRig>(); }},
        TokenSourceSubject{"FileSourceOfARotatedFile",
                           [] { return std::make_unique<RotatingFileRig>(); }}),
    refreshable_testing::SubjectName());

}  // namespace
}  // namespace refreshable
