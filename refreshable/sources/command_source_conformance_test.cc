// SPDX-License-Identifier: Apache-2.0
//
// Tests CommandSource with the conformance suite for token sources.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "refreshable/sources/command_source.h"
#include "refreshable/sources/sources_test_util.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/token_source_conformance.h"

namespace refreshable {
namespace {

constexpr char kSecret[] = "s3cret";

// A login program whose token is new in each run. A file `fail` makes it fail
// and print its password. A file `stall` makes it write to the FIFO `stalled`,
// then wait for the FIFO `healed`.
constexpr char kScript[] =
    "if [ -e fail ]; then echo $PASSWORD; echo $PASSWORD >&2; exit 1; fi; "
    "if [ -e stall ]; then echo >stalled; read line <healed; fi; "
    "echo token-$$";

class CommandRig final
    : public refreshable_testing::TokenSourceRig<std::string> {
 public:
  // Both ends of each FIFO are open, so that a login program does not wait when
  // it opens one end.
  CommandRig() : stalled_(OpenFifo("stalled")), healed_(OpenFifo("healed")) {}
  ~CommandRig() override {
    close(stalled_);
    close(healed_);
  }

  std::shared_ptr<TokenSource<std::string>> Make() override {
    CommandSource<std::string>::Options options;
    options.command.argv = {"/bin/sh", "-c", kScript};
    options.command.environment = {{"PASSWORD", kSecret}};
    options.command.working_directory = folder_.path("");
    options.command.show_stderr = true;
    options.lifetime = absl::Minutes(10);
    return *CommandSource<std::string>::Create(options);
  }

  bool Fail() override {
    WriteFile(folder_.path("fail"), "");
    return true;
  }
  bool Stall() override {
    WriteFile(folder_.path("stall"), "");
    return true;
  }
  void AwaitStalled(int calls) override {
    for (; stalls_ < calls; ++stalls_) {
      char line;
      while (read(stalled_, &line, 1) != 1) {
        ASSERT_EQ(errno, EINTR);
      }
    }
  }
  void Heal() override {
    std::remove(folder_.path("fail").c_str());
    std::remove(folder_.path("stall").c_str());
    const std::string lines(16, '\n');
    ASSERT_EQ(write(healed_, lines.data(), lines.size()), lines.size());
  }
  std::optional<absl::Duration> Lifetime() override {
    return absl::Minutes(10);
  }
  std::vector<std::string> Secrets() override { return {kSecret}; }
  bool HeedsCancellation() override { return true; }
  bool HeedsTimeout() override { return true; }

 private:
  int OpenFifo(absl::string_view name) {
    const std::string path = folder_.path(name);
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return open(path.c_str(), O_RDWR | O_CLOEXEC);
  }

  const TempFolder folder_;
  const int stalled_;
  const int healed_;
  int stalls_ = 0;
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(Command, TokenSourceConformanceTest,
                         testing::Values(TokenSourceSubject{
                             "CommandSource",
                             [] { return std::make_unique<CommandRig>(); }}),
                         refreshable_testing::SubjectName());

}  // namespace
}  // namespace refreshable
