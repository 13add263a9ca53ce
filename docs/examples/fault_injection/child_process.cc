// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace refreshable_examples {
namespace {

// An exec closes both ends of the pipe. Returns false if the system grants no
// pipe.
bool OpenPipe(int ends[2]) {
  if (pipe(ends) != 0) return false;
  for (const int end : {ends[0], ends[1]}) fcntl(end, F_SETFD, FD_CLOEXEC);
  return true;
}

// Replaces this process by the program `argv[0]`. Exits with 127 if that fails,
// or if `parent` has ended. Must not allocate or lock, because it runs in the
// child of a fork().
[[noreturn]] void RunChild(char* const* argv, int in, int out, pid_t parent) {
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  const bool orphan = getppid() != parent;
  if (!orphan && dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0) {
    execv(argv[0], argv);
  }
  _exit(127);
}

// Passes each line of the pipe `out` to `on_line`. Closes `out` when the pipe
// has no writers left or a read fails.
void Listen(int out, const ChildProcess::OnLine& on_line) {
  std::string heard;
  char buffer[4096];
  ssize_t size;
  while ((size = read(out, buffer, sizeof(buffer))) != 0) {
    if (size < 0) {
      if (errno == EINTR) continue;
      break;
    }
    heard.append(buffer, size);
    size_t begin = 0;
    size_t end;
    while ((end = heard.find('\n', begin)) != std::string::npos) {
      on_line(absl::string_view(heard).substr(begin, end - begin));
      begin = end + 1;
    }
    heard.erase(0, begin);
  }
  close(out);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::string& program, const std::vector<std::string>& arguments,
    OnLine on_line) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  int in[2];
  int out[2];
  if (!OpenPipe(in)) {
    return absl::UnavailableError(std::generic_category().message(errno));
  }
  if (!OpenPipe(out)) {
    const int error = errno;
    close(in[0]);
    close(in[1]);
    return absl::UnavailableError(std::generic_category().message(error));
  }
  const pid_t self = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunChild(argv.data(), in[0], out[1], self);
  const int error = errno;
  close(in[0]);
  close(out[1]);
  if (pid < 0) {
    close(in[1]);
    close(out[0]);
    return absl::UnavailableError(std::generic_category().message(error));
  }
  return std::unique_ptr<ChildProcess>(
      new ChildProcess(pid, in[1], out[0], std::move(on_line)));
}

ChildProcess::ChildProcess(pid_t pid, int in, int out, OnLine on_line)
    : pid_(pid),
      in_(in),
      listener_([out, on_line = std::move(on_line)] { Listen(out, on_line); }) {
}

ChildProcess::~ChildProcess() { Kill(); }

void ChildProcess::Tell(absl::string_view line) {
  const std::string text = absl::StrCat(line, "\n");
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t size =
        write(in_, text.data() + written, text.size() - written);
    if (size < 0 && errno != EINTR) return;
    if (size > 0) written += size;
  }
}

void ChildProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  Reap();
}

void ChildProcess::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGSTOP);
  // Because of WNOWAIT, `Reap` can still reap a child that has ended.
  siginfo_t info = {};
  while (waitid(P_PID, pid_, &info, WSTOPPED | WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
}

void ChildProcess::Continue() {
  if (pid_ >= 0) kill(pid_, SIGCONT);
}

int ChildProcess::Close() {
  close(in_);
  in_ = -1;
  return Reap();
}

int ChildProcess::Reap() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (in_ >= 0) close(in_);
  in_ = -1;
  listener_.join();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace refreshable_examples
