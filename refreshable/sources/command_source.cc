// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/command_source.h"

#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <crt_externs.h>
#endif

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "refreshable/executors/clock.h"
#include "refreshable/sources/child_process.h"

#ifndef __APPLE__
extern char** environ;
#endif

namespace refreshable {
namespace internal {
namespace {

// The longest and the shortest wait between two looks at a running program. A
// wait ends early if something can be read, but not if the attempt is
// cancelled.
constexpr absl::Duration kMaxPoll = absl::Milliseconds(20);
constexpr absl::Duration kMinPoll = absl::Milliseconds(1);

// How many bytes of stderr are kept, and how many of these may be quoted.
constexpr size_t kMaxStderrBytes = 4096;
constexpr size_t kMaxQuotedBytes = 500;
// A shorter secret is not cut out of the quotation.
constexpr size_t kMinSecretBytes = 4;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("CommandSource: ", what));
}

bool HasNul(absl::string_view s) { return absl::StrContains(s, '\0'); }

absl::Status Validate(const Command& command) {
  if (command.argv.empty()) return Invalid("argv is empty");
  if (command.argv[0].empty()) return Invalid("argv[0] is empty");
  if (std::any_of(command.argv.begin(), command.argv.end(), HasNul)) {
    return Invalid("argv has a NUL byte");
  }
  for (const auto& [name, value] : command.environment) {
    if (name.empty() || absl::StrContains(name, '=') || HasNul(name)) {
      return Invalid("environment has an invalid name");
    }
    if (HasNul(value)) {
      return Invalid(absl::StrCat("the value of ", absl::CEscape(name),
                                  " in environment has a NUL byte"));
    }
  }
  if (HasNul(command.working_directory)) {
    return Invalid("working_directory has a NUL byte");
  }
  if (command.timeout <= absl::ZeroDuration()) {
    return Invalid(absl::StrCat("timeout must be positive, but is ",
                                absl::FormatDuration(command.timeout)));
  }
  if (command.grace < absl::ZeroDuration() ||
      command.grace == absl::InfiniteDuration()) {
    return Invalid(
        absl::StrCat("grace must be finite and not negative, but is ",
                     absl::FormatDuration(command.grace)));
  }
  if (command.max_output_bytes < 1 ||
      command.max_output_bytes > kMaxTokenBytes) {
    return Invalid(absl::StrCat("max_output_bytes must be 1 to ",
                                kMaxTokenBytes, ", but is ",
                                command.max_output_bytes));
  }
  return absl::OkStatus();
}

char** Environ() {
#ifdef __APPLE__
  return *_NSGetEnviron();
#else
  return environ;
#endif
}

std::vector<std::string> MakeEnvironment(const Command& command) {
  std::vector<std::string> environment;
  if (command.inherit_environment) {
    for (char** entry = Environ(); entry != nullptr && *entry != nullptr;
         ++entry) {
      environment.emplace_back(*entry);
    }
  }
  for (const auto& [name, value] : command.environment) {
    const std::string prefix = absl::StrCat(name, "=");
    environment.erase(std::remove_if(environment.begin(), environment.end(),
                                     [&prefix](const std::string& entry) {
                                       return absl::StartsWith(entry, prefix);
                                     }),
                      environment.end());
    environment.push_back(absl::StrCat(prefix, value));
  }
  return environment;
}

absl::StatusCode CodeOfStart(int error) {
  switch (error) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case E2BIG:
    case EINVAL:
    case ELOOP:
    case ENAMETOOLONG:
    case ENOEXEC:
    case ENOTDIR:
      return absl::StatusCode::kFailedPrecondition;
    // No process, file descriptor or memory is free, or the program's file is
    // open for writing.
    default:
      return absl::StatusCode::kUnavailable;
  }
}

bool IsDirectory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Returns what may be quoted of stderr (see `Command::show_stderr`).
std::string Quote(const Command& command, const SecretBuffer& err,
                  const SecretBuffer& output) {
  std::string text(err.view());
  if (command.redact_stderr != nullptr) text = command.redact_stderr(text);
  std::vector<std::pair<absl::string_view, absl::string_view>> secrets;
  size_t longest = 0;
  const auto cut_out = [&](absl::string_view secret) {
    if (secret.size() < kMinSecretBytes) return;
    secrets.emplace_back(secret, "[...]");
    longest = std::max(longest, secret.size());
  };
  cut_out(absl::StripAsciiWhitespace(output.view()));
  for (const auto& variable : command.environment) cut_out(variable.second);
  text = absl::StrReplaceAll(text, secrets);
  // The cut at kMaxStderrBytes may have split a secret, which was then not
  // found above. So the last `longest` bytes are dropped.
  if (err.overflowed())
    text.resize(text.size() - std::min(longest, text.size()));
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = ' ';
  }
  absl::RemoveExtraAsciiWhitespace(&text);
  if (text.size() > kMaxQuotedBytes) text.resize(kMaxQuotedBytes);
  return text;
}

// One run of a command.
class CommandRun {
 public:
  CommandRun(const Command& command, const FetchContext& context,
             SecretBuffer& output)
      : command_(command), context_(context), output_(output) {}

  ChildProcess& child() { return child_; }
  const SecretBuffer& err() const { return err_; }

  // Waits until the program has exited and its output is closed, or until the
  // program's process group has got SIGKILL. Returns an error if the program
  // took too long or printed too much, or if the attempt was cancelled.
  absl::Status Await() {
    const BootTime start = Now();
    const BootTime deadline =
        start + std::min(command_.timeout, context_.timeout());
    absl::Duration poll = kMinPoll;
    while (!Step(deadline)) {
      child_.Poll(poll);
      poll = std::min(2 * poll, kMaxPoll);
    }
    return verdict_;
  }

 private:
  static BootTime Now() { return SystemClock::Get().Now().boot; }

  // Reads what there is to read, and sends the group a signal if that is due.
  // Returns whether only Reap is left to do.
  bool Step(BootTime deadline) {
    // Must come before the reads below. Otherwise output that the program
    // writes between the reads and its exit could be missed.
    const bool exited = child_.HasExited();
    child_.out().Drain(output_);
    child_.err().DrainAll(err_);
    if (output_.overflowed()) child_.out().Close();
    const BootTime now = Now();
    if (verdict_.ok()) {
      verdict_ = Judge(!exited && now >= deadline);
      if (!verdict_.ok()) {
        child_.SignalGroup(SIGTERM);
        kill_at_ = now + command_.grace;
      }
    }
    if (exited) {
      // Processes that the program has started may still have its output open.
      // They get `Command::grace` to close it.
      if (!child_.out().is_open()) {
        if (!verdict_.ok()) child_.SignalGroup(SIGKILL);
        return true;
      }
      kill_at_ = std::min(kill_at_, now + command_.grace);
    }
    if (now < kill_at_) return false;
    child_.SignalGroup(SIGKILL);
    return true;
  }

  // Returns why the group must be ended now, or OK. `late` says whether the
  // program runs after its deadline.
  absl::Status Judge(bool late) const {
    if (context_.cancelled()) {
      return absl::CancelledError("was ended, as the attempt was cancelled");
    }
    if (output_.overflowed()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "printed more than ", command_.max_output_bytes, " bytes"));
    }
    if (late) return absl::DeadlineExceededError("did not end in time");
    return absl::OkStatus();
  }

  const Command& command_;
  const FetchContext& context_;
  SecretBuffer& output_;
  SecretBuffer err_{kMaxStderrBytes};
  ChildProcess child_;
  absl::Status verdict_;  // Why the group got SIGTERM; OK if it got none.
  // When the group gets SIGKILL, at the latest.
  BootTime kill_at_ = BootTime::InfiniteFuture();
};

}  // namespace

CommandRunner::CommandRunner(Command command)
    : command_(std::move(command)), environment_(MakeEnvironment(command_)) {}

absl::StatusOr<std::unique_ptr<CommandRunner>> CommandRunner::Create(
    Command command) {
  const absl::Status status = Validate(command);
  if (!status.ok()) return status;
  return std::unique_ptr<CommandRunner>(new CommandRunner(std::move(command)));
}

absl::Status CommandRunner::Error(absl::StatusCode code,
                                  absl::string_view what) const {
  return absl::Status(
      code, absl::StrCat("command ", absl::Utf8SafeCEscape(command_.argv[0]),
                         " ", what));
}

absl::Status CommandRunner::StartError(int error) const {
  const std::string& directory = command_.working_directory;
  if (!directory.empty() && !IsDirectory(directory)) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("cannot be started in ", absl::Utf8SafeCEscape(directory),
                     ", which is no directory"));
  }
  return Error(CodeOfStart(error),
               absl::ErrnoToStatus(error, "cannot be started").message());
}

absl::Status CommandRunner::Run(const FetchContext& context,
                                SecretBuffer& output) const {
  if (context.cancelled()) {
    return Error(absl::StatusCode::kCancelled, "was not started");
  }
  if (context.timeout() <= absl::ZeroDuration()) {
    return Error(absl::StatusCode::kDeadlineExceeded,
                 "was not started, as no time was left");
  }
  CommandRun run(command_, context, output);
  if (const int error = run.child().Start(
          {command_.argv, environment_, command_.working_directory,
           /*read_stderr=*/command_.show_stderr})) {
    return StartError(error);
  }
  absl::Status status = run.Await();
  const std::optional<ExitStatus> exit = run.child().Reap();
  if (status.ok()) status = Describe(exit, output);
  if (status.ok()) return status;
  std::string what(status.message());
  if (command_.show_stderr && run.err().size() > 0) {
    absl::StrAppend(&what, "; it says: ", Quote(command_, run.err(), output));
  }
  return Error(status.code(), what);
}

absl::Status CommandRunner::Describe(const std::optional<ExitStatus>& exit,
                                     const SecretBuffer& output) const {
  if (!exit.has_value()) {
    return absl::FailedPreconditionError(
        "has an unknown exit status: this program ignores SIGCHLD, or waits "
        "for all of its children");
  }
  if (exit->signal != 0) {
    return absl::UnavailableError(
        absl::StrCat("was ended by signal ", exit->signal));
  }
  if (exit->status != 0) {
    absl::StatusCode code = absl::StatusCode::kUnavailable;
    if (command_.code_of_exit != nullptr) {
      code = command_.code_of_exit(exit->status);
    }
    if (code == absl::StatusCode::kOk) code = absl::StatusCode::kUnavailable;
    return absl::Status(code,
                        absl::StrCat("exited with status ", exit->status));
  }
  if (output.size() == 0) return absl::UnavailableError("printed nothing");
  return absl::OkStatus();
}

}  // namespace internal
}  // namespace refreshable
