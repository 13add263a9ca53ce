// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/file_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/failure_class.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"
#include "refreshable/sources/sources_test_util.h"
#include "refreshable/testing/exact_policy.h"
#include "refreshable/testing/matchers.h"

namespace refreshable {
namespace {

using ::refreshable_testing::ExactPolicy;
using ::refreshable_testing::FailsWith;
using ::refreshable_testing::HoldsToken;
using ::testing::HasSubstr;

constexpr char kPlanted[] = "planted-9f31";

using Source = FileSource<std::string>;
using Result = absl::StatusOr<Credential<std::string>>;

class FileSourceTest : public testing::Test {
 protected:
  Result Read(Source::Options options) {
    if (options.path.empty()) options.path = path_;
    return Ask(**Source::Create(options));
  }
  // Expects a failure of the class `kind`, whose message contains `what` and no
  // secret.
  void ExpectFailure(const Result& result, FailureClass kind,
                     const std::string& what) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(ClassifyFailure(result.status()), kind) << result.status();
    EXPECT_THAT(result.status().message(), HasSubstr(what));
    EXPECT_THAT(result.status().ToString(), Not(HasSubstr(kPlanted)));
  }

  const TempFolder folder_;
  const std::string path_ = folder_.path("token");
};

TEST_F(FileSourceTest, RefusesBadOptions) {
  const auto refuse = [](auto change) {
    Source::Options options;
    options.path = "token";
    change(options);
    return std::string(Source::Create(options).status().message());
  };
  EXPECT_EQ(refuse([](auto&) {}), "");
  EXPECT_EQ(refuse([](auto& o) { o.path = ""; }), "FileSource: path is empty");
  EXPECT_EQ(refuse([](auto& o) { o.path.push_back('\0'); }),
            "FileSource: path has a NUL byte");
  EXPECT_EQ(refuse([](auto& o) { o.lifetime = absl::ZeroDuration(); }),
            "FileSource: lifetime must be positive, but is 0");
  EXPECT_EQ(refuse([](auto& o) { o.lifetime = -absl::Seconds(1); }),
            "FileSource: lifetime must be positive, but is -1s");
  EXPECT_EQ(refuse([](auto& o) { o.reread_after = absl::ZeroDuration(); }),
            "FileSource: reread_after must be positive, but is 0");
  EXPECT_EQ(refuse([](auto& o) { o.max_bytes = 0; }),
            "FileSource: max_bytes must be 1 to 16777216, but is 0");
  EXPECT_NE(refuse([](auto& o) { o.max_bytes = -1; }), "");

  FileSource<int>::Options options;
  options.path = "token";
  EXPECT_EQ(
      FileSource<int>::Create(options).status(),
      absl::InvalidArgumentError("FileSource: parse is null, and there is no "
                                 "default parser for this Token"));
}

TEST_F(FileSourceTest, TheDefaultParserTakesTheTextOfTheFile) {
  for (const char* text : {"t1", "t1\n", "t1\r\n", "t1\n\n"}) {
    WriteFile(path_, text);
    const Result result = Read({});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->token, "t1");
    EXPECT_EQ(result->expiry.lifetime(), absl::Minutes(2));
  }
  FileSource<Secret>::Options options;
  options.path = path_;
  EXPECT_EQ(Ask(**FileSource<Secret>::Create(options))->token, Secret("t1"));
}

TEST_F(FileSourceTest, EveryUnusableFileHasAClearError) {
  const FailureClass transient = FailureClass::kTransient;
  const FailureClass permanent = FailureClass::kPermanent;
  ExpectFailure(Read({}), transient, "No such file");
  WriteFile(path_, "");
  ExpectFailure(Read({}), transient, "token is empty");
  WriteFile(path_, "\r\n\n");
  ExpectFailure(Read({}), transient, "holds nothing but line ends");
  WriteFile(path_, absl::StrCat(kPlanted, "\nX-Admin: 1"));
  ExpectFailure(Read({}), transient, "more than one line");
  WriteFile(path_, absl::StrCat(kPlanted, std::string(1, '\0')));
  ExpectFailure(Read({}), transient, "control character");

  Source::Options options;
  options.path = folder_.path("token/below");
  ExpectFailure(Read(options), permanent, "Not a directory");
  options.path = folder_.path("");
  ExpectFailure(Read(options), permanent, "is a directory");
  options.path = folder_.path("fifo");
  ASSERT_EQ(mkfifo(options.path.c_str(), 0600), 0);
  ExpectFailure(Read(options), permanent, "is not a regular file");
  options.path = "/dev/null";
  ExpectFailure(Read(options), permanent, "is not a regular file");
  options.path = folder_.path("loop");
  ASSERT_EQ(symlink("loop", options.path.c_str()), 0);
  ExpectFailure(Read(options), permanent, "symbolic links");
  // The message must escape a line break in the path.
  options.path = folder_.path("a\nb");
  ExpectFailure(Read(options), transient, "a\\nb");

  // No file is used here, because a test that runs as root may read every file.
  const absl::Status denied = internal::TokenFileSystemError(EACCES, path_);
  EXPECT_EQ(denied.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(denied.message(), HasSubstr("ermission denied"));
}

TEST_F(FileSourceTest, TheSizeIsBounded) {
  Source::Options options;
  options.max_bytes = 12;
  WriteFile(path_, kPlanted);
  EXPECT_TRUE(Read(options).ok());
  WriteFile(path_, absl::StrCat(kPlanted, "\n"));
  ExpectFailure(Read(options), FailureClass::kPermanent,
                "has more than 12 bytes");
}

TEST_F(FileSourceTest, AParserStatesTheExpiry) {
  Source::Options options;
  options.lifetime = absl::Minutes(7);
  Expiry expiry = Expiry::Never();
  options.parse = [&](absl::string_view bytes) -> Result {
    return Credential<std::string>(std::string(bytes), expiry);
  };
  WriteFile(path_, "a\nb");
  EXPECT_EQ(Read(options)->token, "a\nb");
  EXPECT_EQ(Read(options)->expiry.lifetime(), absl::Minutes(7));
  expiry = Expiry::At(absl::FromUnixSeconds(5));
  EXPECT_EQ(Read(options)->expiry.time(), absl::FromUnixSeconds(5));
  expiry = Expiry::In(absl::Minutes(1));
  EXPECT_EQ(Read(options)->expiry.lifetime(), absl::Minutes(1));
}

TEST_F(FileSourceTest, TheIntervalIsApartFromTheLifetime) {
  Source::Options options;
  WriteFile(path_, "t1");
  EXPECT_EQ(Read(options)->expiry.refresh_in(), absl::InfiniteDuration());
  options.reread_after = absl::Seconds(70);
  EXPECT_EQ(Read(options)->expiry.refresh_in(), absl::Seconds(70));
  EXPECT_EQ(Read(options)->expiry.lifetime(), absl::Minutes(2));
  // The parser's refresh_in counts even if the parser states no expiry.
  options.parse = [&](absl::string_view bytes) -> Result {
    return Credential<std::string>(
        std::string(bytes), Expiry::Never().WithRefreshIn(absl::Seconds(50)));
  };
  EXPECT_EQ(Read(options)->expiry.refresh_in(), absl::Seconds(50));
  EXPECT_EQ(Read(options)->expiry.lifetime(), absl::Minutes(2));
}

TEST_F(FileSourceTest, AParserMayRefuseAPartialFile) {
  Source::Options options;
  options.parse = [](absl::string_view bytes) -> Result {
    return absl::InvalidArgumentError(absl::StrCat("no JSON: ", bytes));
  };
  WriteFile(path_, kPlanted);
  ExpectFailure(Read(options), FailureClass::kTransient,
                "was refused by the parser: INVALID_ARGUMENT");
  options.parse = [](absl::string_view) -> Result {
    return absl::NotFoundError("no field \"token\"");
  };
  options.show_parser_message = true;
  ExpectFailure(Read(options), FailureClass::kTransient,
                "NOT_FOUND: no field \"token\"");
}

TEST_F(FileSourceTest, ReadsAgainIfTheFileIsWrittenMeanwhile) {
  WriteFile(path_, "half");
  internal::SecretBuffer bytes(100);
  int readings = 0;
  EXPECT_TRUE(internal::ReadTokenFile(path_, bytes, [&] {
                if (++readings <= 2) WriteFile(path_, "the whole token");
                if (readings == 2) WriteFile(path_, "the last token");
              }).ok());
  EXPECT_EQ(bytes.view(), "the last token");
  EXPECT_EQ(readings, 3);

  readings = 0;
  const absl::Status status = internal::ReadTokenFile(path_, bytes, [&] {
    WriteFile(path_, absl::StrCat(kPlanted, std::string(++readings, 'x')));
  });
  EXPECT_EQ(readings, 5);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(status.ToString(), Not(HasSubstr(kPlanted)));
}

// A token file that is replaced as Kubernetes does it. `token` is a link to
// `..data/token`, and `Publish` makes `..data` a link to a new folder.
class ProjectedVolume {
 public:
  explicit ProjectedVolume(const TempFolder& folder) : folder_(folder) {
    EXPECT_EQ(symlink("..data/token", path().c_str()), 0);
  }
  std::string path() const { return folder_.path("token"); }

  void Publish(int n, absl::string_view content) {
    const std::string name = absl::StrCat("..", n);
    ASSERT_EQ(mkdir(folder_.path(name).c_str(), 0700), 0);
    WriteFile(folder_.path(name + "/token"), content);
    ASSERT_EQ(symlink(name.c_str(), folder_.path("..data_tmp").c_str()), 0);
    ASSERT_EQ(rename(folder_.path("..data_tmp").c_str(),
                     folder_.path("..data").c_str()),
              0);
    if (!last_.empty()) std::filesystem::remove_all(folder_.path(last_));
    last_ = name;
  }

 private:
  const TempFolder& folder_;
  std::string last_;
};

class RenamedFile {
 public:
  explicit RenamedFile(const TempFolder& folder) : folder_(folder) {}
  std::string path() const { return folder_.path("token"); }
  void Publish(int, absl::string_view content) {
    WriteFile(folder_.path("new"), content);
    ASSERT_EQ(rename(folder_.path("new").c_str(), path().c_str()), 0);
  }

 private:
  const TempFolder& folder_;
};

template <typename Rotation>
class RotationTest : public testing::Test {};
using Rotations = testing::Types<ProjectedVolume, RenamedFile>;
TYPED_TEST_SUITE(RotationTest, Rotations);

// Returns a long token that repeats `n`, so that a mixture of two tokens can be
// recognized.
std::string BigToken(int n) {
  std::string token;
  while (token.size() < 8192) absl::StrAppend(&token, n, ".");
  return token;
}

TYPED_TEST(RotationTest, EightThreadsNeverReadATornToken) {
  constexpr int kTokens = 300;
  const TempFolder folder;
  TypeParam rotation(folder);
  rotation.Publish(0, BigToken(0));
  Source::Options options;
  options.path = rotation.path();
  const auto source = *Source::Create(options);
  std::atomic<bool> ended{false};
  std::atomic<int> torn{0};
  std::atomic<int> permanent{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      while (!ended) {
        const Result result = Ask(*source);
        if (result.ok()) {
          int n = -1;
          const std::vector<std::string> parts =
              absl::StrSplit(result->token, absl::MaxSplits('.', 1));
          if (!absl::SimpleAtoi(parts[0], &n) || result->token != BigToken(n)) {
            ++torn;
          }
        } else if (ClassifyFailure(result.status()) !=
                   FailureClass::kTransient) {
          ++permanent;
        }
      }
    });
  }
  for (int n = 1; n <= kTokens; ++n) rotation.Publish(n, BigToken(n));
  ended = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(permanent, 0);
  EXPECT_EQ(Ask(*source)->token, BigToken(kTokens));
}

TEST_F(FileSourceTest, ARotatedTokenIsNoticedWithinAMinute) {
  ManualExecutor executor;
  Source::Options options;
  options.path = path_;
  auto token = *Refreshable<std::string>::Create(*Source::Create(options),
                                                 {&executor, ExactPolicy()});
  WriteFile(path_, "t1");
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  WriteFile(path_, "t2");
  executor.AdvanceBy(absl::Seconds(59));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  executor.AdvanceBy(absl::Seconds(1));
  EXPECT_THAT(token->Get(), HoldsToken("t1"));  // Starts a refresh.
  executor.RunUntilIdle();
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

// The token is stale after 15 minutes, and refreshes fail because the file is
// missing. But the token may be used for an hour.
TEST_F(FileSourceTest, AMissingFileIsBorneForTheLifetime) {
  ManualExecutor executor;
  RefreshPolicy policy = ExactPolicy();
  policy.stale_window = absl::Minutes(45);
  policy.expiry_margin = absl::ZeroDuration();
  Source::Options options;
  options.path = path_;
  options.lifetime = absl::Hours(1);
  auto token = *Refreshable<std::string>::Create(*Source::Create(options),
                                                 {&executor, policy});
  WriteFile(path_, "t1");
  EXPECT_THAT(token->Get(), HoldsToken("t1"));
  ASSERT_EQ(unlink(path_.c_str()), 0);
  executor.AdvanceBy(absl::Minutes(15));
  for (int minute = 15; minute < 60; ++minute) {
    EXPECT_THAT(token->Get(), HoldsToken("t1")) << minute;
    executor.AdvanceBy(absl::Minutes(1));
  }
  EXPECT_GT(token->stats().attempts_failed, 10);
  EXPECT_THAT(token->Get(absl::Seconds(1)),
              FailsWith(absl::StatusCode::kUnavailable));
  WriteFile(path_, "t2");
  executor.AdvanceBy(absl::Minutes(1));
  EXPECT_THAT(token->Get(), HoldsToken("t2"));
}

}  // namespace
}  // namespace refreshable
