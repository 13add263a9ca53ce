// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/command_source.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/secret.h"
#include "refreshable/sources/sources_test_util.h"
#include "refreshable/testing/conformance.h"

namespace refreshable {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kPlanted[] = "planted-5e77";

using Source = CommandSource<std::string>;
using Result = absl::StatusOr<Credential<std::string>>;

int OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<int>(std::distance(begin(files), end(files)));
}

// A FIFO that the processes of a command open for writing.
class Fifo {
 public:
  Fifo(const TempFolder& folder, const std::string& name)
      : path_(folder.path(name)) {
    EXPECT_EQ(mkfifo(path_.c_str(), 0600), 0);
    fd_ = open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT_GE(fd_, 0);
  }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;
  ~Fifo() { close(fd_); }

  const std::string& path() const { return path_; }

  void AwaitLine() { Await(POLLIN, "a process of the command to write"); }
  // Requires: at least one process has opened the FIFO.
  void AwaitClosed() { Await(POLLHUP, "the processes of the command to end"); }

 private:
  void Await(short events, absl::string_view what) {
    for (;;) {
      pollfd fd = {fd_, POLLIN, 0};
      if (poll(&fd, 1, 30000) != 1) refreshable_testing::GiveUp(what);
      if ((fd.revents & events) != 0) return;
      char discarded[64];
      while (read(fd_, discarded, sizeof discarded) > 0) {
      }
    }
  }

  std::string path_;
  int fd_;
};

class CommandSourceTest : public testing::Test {
 protected:
  void SetUp() override { open_files_ = OpenFiles(); }
  void TearDown() override {
    EXPECT_EQ(OpenFiles(), open_files_);
    siginfo_t info = {};
    EXPECT_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1)
        << "a child was left behind";
    EXPECT_EQ(errno, ECHILD);
  }

  static Source::Options Shell(const std::string& script) {
    Source::Options options;
    options.command.argv = {"/bin/sh", "-c", script};
    return options;
  }
  static Result Run(const Source::Options& options,
                    const AskOptions& ask = {}) {
    return Ask(**Source::Create(options), ask);
  }
  static Result Run(const std::string& script) { return Run(Shell(script)); }
  static std::string Token(const Result& result) {
    return result.ok() ? result->token : result.status().ToString();
  }
  // Expects an error with this code, whose message ends with `what` and
  // contains no secret.
  static void ExpectFailure(const Result& result, absl::StatusCode code,
                            const std::string& what) {
    EXPECT_EQ(result.status().code(), code) << result.status();
    EXPECT_THAT(std::string(result.status().message()), EndsWith(what));
    EXPECT_THAT(result.status().ToString(), Not(HasSubstr(kPlanted)));
  }

  // Cancels the call when the command has written to `ready`.
  static Result RunAndCancel(const Source::Options& options, Fifo& ready) {
    AskOptions ask;
    Result result = absl::InternalError("none yet");
    std::thread thread([&] { result = Run(options, ask); });
    ready.AwaitLine();
    *ask.cancelled = true;
    thread.join();
    return result;
  }

  const TempFolder folder_;
  int open_files_ = 0;
};

TEST_F(CommandSourceTest, RefusesBadOptions) {
  const auto refusal = [](auto change) {
    Source::Options options = Shell("");
    change(options, options.command);
    return std::string(Source::Create(options).status().message());
  };
  const std::string nul(1, '\0');
  EXPECT_EQ(refusal([](auto&, auto&) {}), "");
  EXPECT_EQ(refusal([](auto&, auto& c) { c.argv = {}; }),
            "CommandSource: argv is empty");
  EXPECT_EQ(refusal([](auto&, auto& c) {
              c.argv = {"", "x"};
            }),
            "CommandSource: argv[0] is empty");
  EXPECT_EQ(refusal([&](auto&, auto& c) {
              c.argv = {"x", nul};
            }),
            "CommandSource: argv has a NUL byte");
  EXPECT_EQ(refusal([](auto&, auto& c) {
              c.environment = {{"A=B", kPlanted}};
            }),
            "CommandSource: environment has an invalid name");
  EXPECT_EQ(refusal([](auto&, auto& c) {
              c.environment = {{"", "x"}};
            }),
            "CommandSource: environment has an invalid name");
  EXPECT_EQ(refusal([&](auto&, auto& c) {
              c.environment = {{"A", kPlanted + nul}};
            }),
            "CommandSource: the value of A in environment has a NUL byte");
  EXPECT_EQ(refusal([&](auto&, auto& c) { c.working_directory = nul; }),
            "CommandSource: working_directory has a NUL byte");
  EXPECT_EQ(refusal([](auto&, auto& c) { c.timeout = absl::ZeroDuration(); }),
            "CommandSource: timeout must be positive, but is 0");
  EXPECT_EQ(refusal([](auto&, auto& c) { c.grace = -absl::Seconds(1); }),
            "CommandSource: grace must be finite and not negative, but is -1s");
  EXPECT_NE(refusal([](auto&, auto& c) { c.grace = absl::InfiniteDuration(); }),
            "");
  EXPECT_EQ(refusal([](auto&, auto& c) { c.max_output_bytes = 0; }),
            "CommandSource: max_output_bytes must be 1 to 16777216, but is 0");
  EXPECT_EQ(refusal([](auto& o, auto&) { o.lifetime = -absl::Seconds(1); }),
            "CommandSource: lifetime must be positive, but is -1s");
  CommandSource<int>::Options no_parser;
  no_parser.command.argv = {"x"};
  EXPECT_FALSE(CommandSource<int>::Create(no_parser).ok());
}

TEST_F(CommandSourceTest, TheTokenIsWhatTheProgramPrints) {
  const Result result = Run("echo t1");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->token, "t1");
  EXPECT_EQ(result->expiry.lifetime(), absl::InfiniteDuration());
  Source::Options options = Shell("head -c 1000000 /dev/zero | tr '\\0' x");
  options.command.max_output_bytes = 1000000;
  options.lifetime = absl::Minutes(5);
  EXPECT_EQ(Token(Run(options)), std::string(1000000, 'x'));
  EXPECT_EQ(Run(options)->expiry.lifetime(), absl::Minutes(5));
}

TEST_F(CommandSourceTest, NoShellReadsTheArguments) {
  Source::Options options;
  options.command.argv = {"printf", "%s,%s", "$HOME; echo `id`", "a b"};
  EXPECT_EQ(Token(Run(options)), "$HOME; echo `id`,a b");
}

TEST_F(CommandSourceTest, TheEnvironmentIsAddedToOrReplaced) {
  // NOLINTBEGIN(concurrency-mt-unsafe): there is one thread.
  ASSERT_EQ(setenv("SOURCES_TEST_A", "a", 1), 0);
  ASSERT_EQ(setenv("SOURCES_TEST_B", "b", 1), 0);
  // NOLINTEND(concurrency-mt-unsafe)
  Source::Options options =
      Shell("echo $SOURCES_TEST_A,$SOURCES_TEST_B,$SOURCES_TEST_C");
  options.command.environment = {{"SOURCES_TEST_B", "2"},
                                 {"SOURCES_TEST_C", "3"}};
  EXPECT_EQ(Token(Run(options)), "a,2,3");
  options.command.inherit_environment = false;
  EXPECT_EQ(Token(Run(options)), ",2,3");
}

TEST_F(CommandSourceTest, TheWorkingDirectory) {
  Source::Options options = Shell("cat token");
  options.command.working_directory = folder_.path("");
  WriteFile(folder_.path("token"), "here");
  EXPECT_EQ(Token(Run(options)), "here");
  options.command.working_directory = folder_.path("token");
  ExpectFailure(Run(options), absl::StatusCode::kFailedPrecondition,
                "/token, which is no directory");
}

TEST_F(CommandSourceTest, TheProgramIsIsolated) {
  const int file = open("/dev/null", O_RDONLY);  // NOLINT: no O_CLOEXEC.
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto handler = std::signal(SIGPIPE, SIG_IGN);

  // Signals 32 and 33 may be ignored, because glibc uses them itself.
  EXPECT_THAT(
      Token(Run("grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t'")),
      MatchesRegex("SigBlk:0000000000000000SigIgn:0000000[01][08]0000000"));
  EXPECT_EQ(Token(Run("echo $(ls /proc/self/fd)")), "0 1 2 3");
  EXPECT_EQ(Token(Run("read x || readlink /proc/self/fd/0")), "/dev/null");
  EXPECT_EQ(Token(Run("readlink /proc/self/fd/2")), "/dev/null");
  EXPECT_EQ(Token(Run("[ $$ = $(cut -d' ' -f5 /proc/$$/stat) ] && echo yes")),
            "yes");

  std::signal(SIGPIPE, handler);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  close(file);
}

// If this program has closed its stdin and stdout, a new pipe gets the numbers
// 0 and 1.
TEST_F(CommandSourceTest, ThisProgramMayHaveClosedItsStandardFiles) {
  const int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
  const int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
  close(STDIN_FILENO);
  close(STDOUT_FILENO);
  const Result result = Run("read x || echo token");
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  close(in);
  close(out);
  EXPECT_EQ(Token(result), "token");
}

TEST_F(CommandSourceTest, AProgramThatCannotBeStarted) {
  Source::Options options;
  options.command.argv = {folder_.path("none"), kPlanted};
  ExpectFailure(Run(options), absl::StatusCode::kNotFound,
                "/none cannot be started: No such file or directory");
  options.command.argv = {"refreshable-no-such-program"};
  ExpectFailure(Run(options), absl::StatusCode::kNotFound,
                "command refreshable-no-such-program cannot be started: No "
                "such file or directory");
  WriteFile(folder_.path("text"), kPlanted);
  options.command.argv = {folder_.path("text")};
  ExpectFailure(Run(options), absl::StatusCode::kPermissionDenied,
                "cannot be started: Permission denied");
  ASSERT_EQ(chmod(folder_.path("text").c_str(), 0700), 0);
  ExpectFailure(Run(options), absl::StatusCode::kFailedPrecondition,
                "cannot be started: Exec format error");
}

TEST_F(CommandSourceTest, AProgramThatFails) {
  const absl::StatusCode unavailable = absl::StatusCode::kUnavailable;
  ExpectFailure(Run("echo planted-5e77; exit 3"), unavailable,
                "command /bin/sh exited with status 3");
  ExpectFailure(Run("echo planted-5e77; kill -9 $$"), unavailable,
                "was ended by signal 9");
  ExpectFailure(Run("exit 0"), unavailable, "printed nothing");
  Source::Options options = Shell("exit 78");
  options.command.code_of_exit = [](int status) {
    return status == 78 ? absl::StatusCode::kUnauthenticated
                        : absl::StatusCode::kOk;
  };
  ExpectFailure(Run(options), absl::StatusCode::kUnauthenticated,
                "exited with status 78");
  options.command.argv.back() = "exit 1";
  ExpectFailure(Run(options), unavailable, "exited with status 1");
}

TEST_F(CommandSourceTest, AParserMayRefuseTheOutput) {
  Source::Options options = Shell("echo planted-5e77; echo 2");
  ExpectFailure(Run(options), absl::StatusCode::kInvalidArgument,
                "printed something that holds a control character or more than "
                "one line, which the default parser refuses");
  options.parse = [](absl::string_view bytes) -> Result {
    return absl::AbortedError(absl::StrCat("no JSON: ", bytes));
  };
  ExpectFailure(Run(options), absl::StatusCode::kAborted,
                "that was refused by the parser: ABORTED");
  options.parse = [](absl::string_view) -> Result {
    return absl::NotFoundError("no field \"token\"");
  };
  options.show_parser_message = true;
  ExpectFailure(Run(options), absl::StatusCode::kNotFound,
                "NOT_FOUND: no field \"token\"");
}

TEST_F(CommandSourceTest, AProgramThatFloods) {
  Source::Options options = Shell("exec yes planted-5e77");
  options.command.max_output_bytes = 1000;
  ExpectFailure(Run(options), absl::StatusCode::kFailedPrecondition,
                "printed more than 1000 bytes");
  // The program exits by itself, so the source must not wait for the end of the
  // grace.
  options = Shell("printf 1234");
  options.command.max_output_bytes = 3;
  options.command.grace = absl::Hours(1);
  ExpectFailure(Run(options), absl::StatusCode::kFailedPrecondition,
                "printed more than 3 bytes");
  // A flood on stderr must not hold up the program or the source.
  options = Shell("head -c 1000000 /dev/zero >&2; echo token");
  EXPECT_EQ(Token(Run(options)), "token");
  options.command.show_stderr = true;
  EXPECT_EQ(Token(Run(options)), "token");
  options = Shell("exec yes >&2");
  options.command.show_stderr = true;
  options.command.timeout = absl::Milliseconds(20);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Run(options).status()));
}

TEST_F(CommandSourceTest, AProgramThatHangsIsEndedAtItsTimeLimit) {
  Source::Options options = Shell("echo planted-5e77; sleep 100000; echo");
  options.command.timeout = absl::Milliseconds(20);
  ExpectFailure(Run(options), absl::StatusCode::kDeadlineExceeded,
                "command /bin/sh did not end in time");
  options.command.timeout = absl::InfiniteDuration();
  AskOptions ask;
  ask.timeout = absl::Milliseconds(20);
  ExpectFailure(Run(options, ask), absl::StatusCode::kDeadlineExceeded,
                "did not end in time");
  ask.timeout = absl::ZeroDuration();
  ExpectFailure(Run(options, ask), absl::StatusCode::kDeadlineExceeded,
                "was not started, as no time was left");
  *ask.cancelled = true;
  ExpectFailure(Run(options, ask), absl::StatusCode::kCancelled,
                "was not started");
  // A program that has closed its output must be ended at its time limit too.
  options = Shell("exec >&-; sleep 100000; echo");
  options.command.timeout = absl::Milliseconds(20);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Run(options).status()));
}

TEST_F(CommandSourceTest, ACancelledCallEndsTheWholeGroup) {
  for (const char* trap : {"", "trap '' TERM; "}) {
    Fifo ready(folder_, absl::StrCat("ready", trap));
    Fifo held(folder_, absl::StrCat("held", trap));
    // The shell and each `sleep` have `held` open, so AwaitClosed waits for all
    // of them.
    Source::Options options =
        Shell(absl::StrCat(trap,
                           "exec 3>\"$HELD\"; sleep 100000 & "
                           "echo now >\"$READY\"; sleep 100000; echo"));
    options.command.environment = {{"READY", ready.path()},
                                   {"HELD", held.path()}};
    options.command.grace = absl::Milliseconds(10);
    ExpectFailure(RunAndCancel(options, ready), absl::StatusCode::kCancelled,
                  "was ended, as the attempt was cancelled");
    held.AwaitClosed();
  }
  open_files_ = OpenFiles();
}

TEST_F(CommandSourceTest, AProgramThatAsksMayTidyUp) {
  Fifo ready(folder_, "ready");
  Source::Options options = Shell(
      "trap 'echo done >tidied; exit 1' TERM; echo now >ready; "
      "while :; do read x <never; done");
  options.command.working_directory = folder_.path("");
  options.command.grace = absl::Seconds(30);
  ASSERT_EQ(mkfifo(folder_.path("never").c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsCancelled(RunAndCancel(options, ready).status()));
  EXPECT_TRUE(std::filesystem::exists(folder_.path("tidied")));
}

TEST_F(CommandSourceTest, AProcessThatHoldsTheOutputIsEndedAfterTheProgram) {
  Fifo held(folder_, "held");
  Source::Options options =
      Shell("exec 3>held; sleep 100000 & echo token; exit 0");
  options.command.working_directory = folder_.path("");
  options.command.grace = absl::Milliseconds(10);
  EXPECT_EQ(Token(Run(options)), "token");
  held.AwaitClosed();
}

// A program may start a process that must live on. For example, a login program
// starts an agent.
TEST_F(CommandSourceTest, AProcessThatHoldsNothingIsLeftAlone) {
  Source::Options options = Shell("sleep 100000 >/dev/null & echo $!");
  // The `sleep` keeps stderr open. The source must not wait for it.
  options.command.show_stderr = true;
  int pid = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Token(Run(options)), &pid));
  EXPECT_EQ(kill(pid, SIGKILL), 0);
}

TEST_F(CommandSourceTest, StderrIsQuotedByChoice) {
  Source::Options options = Shell("printf 'no\\tlogin\\033[1m\\n' >&2; exit 1");
  ExpectFailure(Run(options), absl::StatusCode::kUnavailable,
                "exited with status 1");
  options.command.show_stderr = true;
  ExpectFailure(Run(options), absl::StatusCode::kUnavailable,
                "exited with status 1; it says: no login [1m");
  options.command.redact_stderr = [](absl::string_view text) {
    return absl::StrCat(text.size(), " bytes");
  };
  ExpectFailure(Run(options), absl::StatusCode::kUnavailable,
                "it says: 13 bytes");
}

TEST_F(CommandSourceTest, AQuotationContainsNoSecretThatIsKnown) {
  Source::Options options = Shell(
      "echo \"key $KEY\" >&2; echo token-77; echo got token-77 >&2; "
      "exit 1");
  options.command.environment = {{"KEY", kPlanted}, {"MODE", "1"}};
  options.command.show_stderr = true;
  ExpectFailure(Run(options), absl::StatusCode::kUnavailable,
                "it says: key [...] got [...]");
  // The source keeps only the beginning of stderr. Here the kept part ends
  // within a secret. The first bytes of this secret must not be quoted.
  options.command.argv.back() =
      "while :; do echo \"$KEY$KEY$KEY$KEY$KEY$KEY$KEY$KEY$KEY$KEY\"; done | "
      "tr -d '\\n' | head -c 5000 >&2; exit 1";
  options.command.environment = {
      {"KEY", absl::StrCat(std::string(100, 'k'), kPlanted)}};
  EXPECT_THAT(Run(options).status().message(), Not(HasSubstr("kkk")));
  // A quotation has at most 500 bytes.
  options.command.argv.back() =
      "head -c 3000 /dev/zero | tr '\\0' x >&2; exit 1";
  EXPECT_LT(Run(options).status().message().size(), 600);
}

TEST_F(CommandSourceTest, ALostExitStatusIsNotTakenForSuccess) {
  const auto handler = std::signal(SIGCHLD, SIG_IGN);
  ExpectFailure(Run("echo token"), absl::StatusCode::kFailedPrecondition,
                "has an unknown exit status: this program ignores SIGCHLD, or "
                "waits for all of its children");
  std::signal(SIGCHLD, handler);
}

// No call may fail. No call may wait for a process of another call, or for a
// child that this test forks.
TEST_F(CommandSourceTest, ManyThreadsRunCommands) {
  Source::Options options = Shell("echo $$");
  options.command.grace = absl::Seconds(30);
  const auto source = *Source::Create(options);
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) good += Ask(*source).ok() ? 1 : 0;
    });
  }
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 40);
}

}  // namespace
}  // namespace refreshable
