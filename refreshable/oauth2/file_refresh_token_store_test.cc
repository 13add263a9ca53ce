// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/file_refresh_token_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {
namespace {

namespace fs = std::filesystem;

class FileRefreshTokenStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
  }

  // Writes the file without the store, as another program would.
  void Write(absl::string_view bytes, mode_t mode = 0600) {
    std::ofstream(path_, std::ios::binary) << bytes;
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
  }
  std::string Read() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t Files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_),
                                             fs::directory_iterator()));
  }

  const std::string folder_ = absl::StrCat(testing::TempDir(), "/store");
  const std::string path_ = absl::StrCat(folder_, "/token");
  FileRefreshTokenStore store_{path_};
};

TEST_F(FileRefreshTokenStoreTest, KeepsTheToken) {
  EXPECT_EQ(store_.Load().status().code(), absl::StatusCode::kNotFound);
  const mode_t mask = umask(0);
  EXPECT_TRUE(store_.Store(Secret("first")).ok());
  EXPECT_TRUE(store_.Store(Secret("se\ncond")).ok());
  umask(mask);
  const auto loaded = FileRefreshTokenStore(path_).Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(*loaded, Secret("se\ncond"));
  EXPECT_EQ(Read(), "se\ncond");
  struct stat stat = {};
  ASSERT_EQ(::stat(path_.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0600u);
  EXPECT_EQ(Files(), 1u);
}

TEST_F(FileRefreshTokenStoreTest, ReadsWhatAnEditorWrote) {
  for (const char* bytes : {"hunter2", "hunter2\n", "hunter2\r\n"}) {
    Write(bytes);
    const auto loaded = store_.Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(*loaded, Secret("hunter2"));
  }
}

TEST_F(FileRefreshTokenStoreTest, FilesThatCannotBeReadAreRefused) {
  const auto expect = [this](absl::StatusCode code, absl::string_view why) {
    const absl::Status status = store_.Load().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), why)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), path_)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "hunter2")) << status;
  };
  for (const mode_t mode : {0640u, 0604u, 0620u, 0666u}) {
    Write("hunter2", mode);
    expect(absl::StatusCode::kFailedPrecondition, "chmod 600");
  }
  Write("");
  expect(absl::StatusCode::kNotFound, "is empty");
  Write("\n");
  expect(absl::StatusCode::kNotFound, "is empty");
  Write(absl::StrCat("hunter2", std::string(64 * 1024, 'x')));
  expect(absl::StatusCode::kFailedPrecondition, "more than 65536 bytes");
  fs::remove(path_);
  fs::create_directory(path_);
  expect(absl::StatusCode::kFailedPrecondition, "not a regular file");
  fs::remove(path_);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  expect(absl::StatusCode::kFailedPrecondition, "not a regular file");
  fs::remove(path_);
  ASSERT_EQ(mknod(path_.c_str(), S_IFSOCK | 0600, 0), 0);
  expect(absl::StatusCode::kFailedPrecondition, "not a regular file");
}

TEST_F(FileRefreshTokenStoreTest, AFailureLeavesTheOldTokenAndNoOtherFile) {
  ASSERT_TRUE(store_.Store(Secret("old")).ok());
  const absl::Status too_long =
      store_.Store(Secret(std::string(64 * 1024 + 1, 'x')));
  EXPECT_EQ(too_long.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Read(), "old");
  fs::remove(path_);
  fs::create_directory(path_);
  const absl::Status status = store_.Store(Secret("hunter2"));
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(absl::StrContains(status.message(), "hunter2")) << status;
  EXPECT_EQ(Files(), 1u);
  const absl::Status no_folder =
      FileRefreshTokenStore(absl::StrCat(folder_, "/missing/token"))
          .Store(Secret("hunter2"));
  EXPECT_EQ(no_folder.code(), absl::StatusCode::kNotFound) << no_folder;
}

// Each `Load` must return one of the two tokens as a whole.
TEST_F(FileRefreshTokenStoreTest, StoringIsAtomic) {
  const std::string a(5000, 'a');
  const std::string b(50, 'b');
  ASSERT_TRUE(store_.Store(Secret(a)).ok());
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const auto loaded = FileRefreshTokenStore(path_).Load();
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      ASSERT_TRUE(loaded->reveal() == a || loaded->reveal() == b);
    }
  });
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(store_.Store(Secret(i % 2 == 0 ? b : a)).ok());
  }
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace oauth2
}  // namespace refreshable
