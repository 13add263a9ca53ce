// SPDX-License-Identifier: Apache-2.0
//
// CommandSource: a source that runs a program, such as a credential helper, and
// reads what it prints.

#ifndef REFRESHABLE_SOURCES_COMMAND_SOURCE_H_
#define REFRESHABLE_SOURCES_COMMAND_SOURCE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

// A program to run, and how to run it. "This program" is the program that uses
// the library; "the program" is the program that it runs.
struct Command {
  // The program and its arguments, which no shell interprets. Neither `argv`
  // nor argv[0] may be empty. No string in this struct may contain a NUL byte.
  // If argv[0] has no slash, the program is looked for in the PATH of this
  // program. Pass secrets in `environment`, because other users of the computer
  // can see a program's arguments.
  std::vector<std::string> argv;
  // Environment variables for the program. They replace inherited variables of
  // the same name. No name may be empty or contain "=".
  std::vector<std::pair<std::string, std::string>> environment;
  // Whether the program also gets the environment variables of this program, as
  // they are when the source is created.
  bool inherit_environment = true;
  // The program's working directory; if empty, that of this program.
  std::string working_directory;

  // How long the program may run before it gets SIGTERM; positive. If
  // `FetchContext::timeout` is shorter, it is used instead. By default, this
  // time and `grace` together are shorter than the policy's `attempt_timeout`,
  // so that the attempt ends with the error of this source.
  absl::Duration timeout = absl::Seconds(25);
  // The longest time between SIGTERM and SIGKILL for the program's process
  // group. Also the longest time that another process may have the program's
  // output open after the exit (see "How a run ends" at CommandSource). Not
  // negative; finite.
  absl::Duration grace = absl::Seconds(1);
  // The most bytes that the program may print: at least 1, at most 16 MiB.
  size_t max_output_bytes = 64 * 1024;

  // Returns the error code for a program that exits with `exit_status`, which
  // is not 0. If this function is null or returns kOk, the code is UNAVAILABLE.
  // May be called on several threads at the same time, as may `redact_stderr`.
  std::function<absl::StatusCode(int exit_status)> code_of_exit = nullptr;
  // Whether errors quote the beginning of the program's stderr: one printable
  // line of at most 500 bytes. If the quotation contains all of the program's
  // stdout, or a value in `environment`, that text is cut out. A text of less
  // than 4 bytes stays. If false, stderr is /dev/null. False by default,
  // because many programs write secrets to stderr when they fail.
  bool show_stderr = false;
  // Removes further secrets from the quotation; may be null. It gets stderr,
  // perhaps only the beginning, and returns what may be quoted.
  std::function<std::string(absl::string_view)> redact_stderr = nullptr;
};

namespace internal {

struct ExitStatus;

// A command that can be run again and again. Thread-safe.
class CommandRunner {
 public:
  static absl::StatusOr<std::unique_ptr<CommandRunner>> Create(Command command);

  // Runs the command once, and blocks until the run has ended (see
  // CommandSource). Puts what the program prints into `output`, which must be
  // empty. If the status is OK, `output` is not empty afterwards.
  absl::Status Run(const FetchContext& context, SecretBuffer& output) const;

  // Returns an error whose message names the program, followed by `what`.
  absl::Status Error(absl::StatusCode code, absl::string_view what) const;

  const Command& command() const { return command_; }

 private:
  explicit CommandRunner(Command command);

  absl::Status StartError(int error_number) const;
  // Returns the outcome of a program that has ended by itself: an error if the
  // program failed or printed nothing. If `exit` is nullopt, the exit status
  // was lost, which is an error too.
  absl::Status Describe(const std::optional<ExitStatus>& exit,
                        const SecretBuffer& output) const;

  const Command command_;
  std::vector<std::string> environment_;  // "NAME=value".
};

}  // namespace internal

// A source that runs a command for each call, such as `gcloud auth
// print-access-token`, and makes a token of what the command prints.
//
//   refreshable::CommandSource<refreshable::Secret>::Options options;
//   options.command.argv = {"/usr/bin/notes-login", "--token"};
//   options.lifetime = absl::Minutes(30);
//   auto source =
//       refreshable::CommandSource<refreshable::Secret>::Create(options);
//
// As in Command, "this program" is the program that uses the library.
//
// The program is the leader of a process group of its own. It has no signal
// blocked or ignored, and /dev/null as its stdin. On macOS, and with glibc 2.34
// or later, it has no file of this program open. On other systems, it inherits
// the files that this program has opened without O_CLOEXEC.
//
// How a run ends:
//
//   - If the program still runs when its time is over, if it prints too much,
//     or if the attempt is cancelled, the group gets SIGTERM. The group gets
//     SIGKILL as soon as the program has exited and its output is closed, and
//     after `Command::grace` at the latest.
//   - If the program exits by itself, the source waits until no other process
//     has its output open. Then the run has ended, and the processes that the
//     program has started get no signal.
//   - If that wait lasts longer than `Command::grace`, the group gets SIGKILL,
//     but the run does not fail.
//
// A process that has moved to another group gets no signal.
//
// Errors, which contain nothing of the program's output, arguments and
// environment, unless `show_stderr` or `show_parser_message` is set:
//
//   UNAVAILABLE          transient: the program exited with a status other than
//                        0 (see `code_of_exit`), was ended by a signal or
//                        printed nothing, or the system could not start it now.
//   DEADLINE_EXCEEDED    transient: the program did not end in time, or no time
//                        was left to start it.
//   NOT_FOUND            permanent: the program, or the interpreter that it
//                        needs, does not exist.
//   PERMISSION_DENIED    permanent: this program may not run the program, or
//                        may not enter the working directory.
//   FAILED_PRECONDITION  permanent: the program printed too much; its file is
//                        not a program; the working directory is no directory;
//                        a path or the arguments are not valid; or the exit
//                        status was lost, because this program ignores SIGCHLD
//                        or waits for all of its children.
//   CANCELLED            the attempt was cancelled.
//   the parser's code    the parser refused what was printed.
//
// Thread-safe. `Fetch` blocks until the run has ended. No call leaves a zombie
// or an open file behind. For POSIX systems with
// posix_spawn_file_actions_addchdir_np (glibc 2.29, macOS 10.15).
template <typename Token>
class CommandSource final : public TokenSource<Token> {
 public:
  struct Options {
    Command command;
    // The lifetime of a token if `parse` states no expiry. It counts from the
    // start of the attempt. Positive.
    absl::Duration lifetime = absl::InfiniteDuration();
    // If null, the default parser of token_parser.h is used.
    TokenParser<Token> parse = nullptr;
    // Whether errors contain the parser's message. If so, that message must
    // contain nothing of what the program has printed.
    bool show_parser_message = false;
  };

  // Does not run the command. Fails with INVALID_ARGUMENT if an option is
  // invalid.
  static absl::StatusOr<std::shared_ptr<TokenSource<Token>>> Create(
      Options options) {
    absl::Status status =
        internal::ValidateLifetime("CommandSource", options.lifetime);
    status.Update(internal::ValidateParser("CommandSource", options.parse));
    if (!status.ok()) return status;
    absl::StatusOr<std::unique_ptr<internal::CommandRunner>> runner =
        internal::CommandRunner::Create(std::move(options.command));
    if (!runner.ok()) return runner.status();
    return std::shared_ptr<TokenSource<Token>>(
        new CommandSource(std::move(options), *std::move(runner)));
  }

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    done(Run(context));
  }

 private:
  CommandSource(Options options,
                std::unique_ptr<internal::CommandRunner> runner)
      : options_(std::move(options)), runner_(std::move(runner)) {}

  absl::StatusOr<Credential<Token>> Run(const FetchContext& context) {
    internal::SecretBuffer output(runner_->command().max_output_bytes);
    const absl::Status status = runner_->Run(context, output);
    if (!status.ok()) return status;
    absl::StatusOr<Credential<Token>> result =
        internal::ParseToken(options_.parse, options_.show_parser_message,
                             options_.lifetime, output.view());
    if (result.ok()) return result;
    return runner_->Error(
        result.status().code(),
        "printed something that " + std::string(result.status().message()));
  }

  const Options options_;  // `options_.command` was moved to `runner_`.
  const std::unique_ptr<internal::CommandRunner> runner_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_COMMAND_SOURCE_H_
