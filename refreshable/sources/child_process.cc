// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 34)
#define REFRESHABLE_HAVE_CLOSEFROM 1
#endif
#endif

namespace refreshable {
namespace internal {
namespace {

// Drain stops after this many bytes or more, and DrainAll after about twice as
// many, because a program may never stop writing.
constexpr size_t kMaxDrainedBytes = 64 * 1024;

// Calls `function` until no signal interrupts it, and returns its last result.
template <typename Function>
auto Retry(Function function) {
  for (;;) {
    const auto result = function();
    if (result != -1 || errno != EINTR) return result;
  }
}

// Moves `fd` above the numbers of stdin, stdout and stderr. If this program has
// closed its stdout, what it prints might otherwise go into the pipe. Returns 0
// or an error number.
int MoveAboveStderr(int& fd) {
  if (fd > STDERR_FILENO) return 0;
  const int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = moved < 0 ? errno : 0;
  close(fd);
  fd = moved;
  return error;
}

// Makes a pipe whose ends are closed on exec, and whose reading end does not
// block. Returns 0 or an error number.
int MakePipe(PipeEnd& reading, PipeEnd& writing) {
  int fds[2];
#ifdef __linux__
  if (pipe2(fds, O_CLOEXEC) != 0) return errno;
#else
  if (pipe(fds) != 0) return errno;
  for (const int fd : fds) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  const int error_0 = MoveAboveStderr(fds[0]);
  const int error_1 = MoveAboveStderr(fds[1]);
  reading.Open(fds[0]);
  writing.Open(fds[1]);
  if (error_0 != 0 || error_1 != 0) return std::max(error_0, error_1);
  return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
}

// What posix_spawn does in the new process before the program starts. Spawn
// returns the first error that occurred in any method.
class SpawnPlan {
 public:
  SpawnPlan() {
    Note(posix_spawn_file_actions_init(&actions_));
    Note(posix_spawnattr_init(&attributes_));
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  void OpenNull(int fd, int flags) {
    Note(
        posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", flags, 0));
  }
  void Use(const PipeEnd& end, int fd) {
    Note(posix_spawn_file_actions_adddup2(&actions_, end.fd(), fd));
  }
  void ChangeDirectory(const std::string& path) {
    Note(posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()));
  }

  // Puts the process into a process group of its own, with no signal blocked or
  // ignored. Where the system can do so, closes all files except stdin, stdout
  // and stderr.
  void Isolate() {
    int flags =
        POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
#ifdef __APPLE__
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#endif
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    Note(posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)));
    Note(posix_spawnattr_setpgroup(&attributes_, 0));
    Note(posix_spawnattr_setsigmask(&attributes_, &none));
    Note(posix_spawnattr_setsigdefault(&attributes_, &all));
#ifdef REFRESHABLE_HAVE_CLOSEFROM
    Note(
        posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1));
#endif
  }

  // Starts argv[0]. Returns 0 and sets `pid`, or returns an error number.
  int Spawn(const std::vector<std::string>& argv,
            const std::vector<std::string>& environment, pid_t& pid) {
    if (error_ != 0) return error_;
    return posix_spawnp(&pid, argv[0].c_str(), &actions_, &attributes_,
                        Pointers(argv).data(), Pointers(environment).data());
  }

 private:
  void Note(int error) {
    if (error_ == 0) error_ = error;
  }
  static std::vector<char*> Pointers(const std::vector<std::string>& strings) {
    std::vector<char*> pointers;
    pointers.reserve(strings.size() + 1);
    for (const std::string& s : strings) {
      pointers.push_back(const_cast<char*>(s.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
  }

  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  int error_ = 0;
};

}  // namespace

void PipeEnd::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

size_t PipeEnd::ReadSome(char* data, size_t size) {
  if (!is_open()) return 0;
  const ssize_t n = Retry([&] { return read(fd_, data, size); });
  if (n > 0) return static_cast<size_t>(n);
  if (n == 0 || errno != EAGAIN) Close();
  return 0;
}

void PipeEnd::Drain(SecretBuffer& buffer) {
  size_t drained = 0;
  while (!buffer.overflowed() && drained < kMaxDrainedBytes) {
    const size_t n = ReadSome(buffer.free_data(), buffer.free_size());
    if (n == 0) return;
    buffer.Commit(n);
    drained += n;
  }
}

void PipeEnd::DrainAll(SecretBuffer& buffer) {
  Drain(buffer);
  SecretBuffer rest(4096);
  for (size_t drained = 0; drained < kMaxDrainedBytes;) {
    if (!buffer.overflowed()) return;
    const size_t n = ReadSome(rest.free_data(), rest.free_size());
    if (n == 0) return;
    rest.Commit(n);
    rest.Clear();
    drained += n;
  }
}

ChildProcess::~ChildProcess() {
  if (pid_ == 0) return;
  SignalGroup(SIGKILL);
  Reap();
}

int ChildProcess::Start(const Program& program) {
  PipeEnd out;
  PipeEnd err;
  if (const int error = MakePipe(out_, out)) return error;
  if (program.read_stderr) {
    if (const int error = MakePipe(err_, err)) return error;
  }
  SpawnPlan plan;
  plan.OpenNull(STDIN_FILENO, O_RDONLY);
  plan.Use(out, STDOUT_FILENO);
  if (program.read_stderr) {
    plan.Use(err, STDERR_FILENO);
  } else {
    plan.OpenNull(STDERR_FILENO, O_WRONLY);
  }
  if (!program.working_directory.empty()) {
    plan.ChangeDirectory(program.working_directory);
  }
  plan.Isolate();
  pid_t pid = 0;
  const int error = plan.Spawn(program.argv, program.environment, pid);
  if (error == 0) pid_ = pid;
  return error;
}

void ChildProcess::Poll(absl::Duration timeout) {
  pollfd fds[] = {{out_.fd(), POLLIN, 0}, {err_.fd(), POLLIN, 0}};
  const int milliseconds = static_cast<int>(
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1))));
  poll(fds, 2, milliseconds);  // poll ignores closed ends, which are -1.
}

bool ChildProcess::HasExited() {
  if (pid_ == 0 || lost_) return true;
  siginfo_t info = {};
  if (Retry([&] {
        return waitid(P_PID, static_cast<id_t>(pid_), &info,
                      WEXITED | WNOHANG | WNOWAIT);
      }) != 0) {
    lost_ = true;
    return true;
  }
  return info.si_pid != 0;
}

void ChildProcess::SignalGroup(int signal) {
  // If somebody else has reaped the program, its process id may name another
  // group. HasExited then sets `lost_`.
  HasExited();
  if (pid_ != 0 && !lost_) kill(-pid_, signal);
}

std::optional<ExitStatus> ChildProcess::Reap() {
  siginfo_t info = {};
  if (pid_ != 0 && !lost_ && Retry([&] {
                               return waitid(P_PID, static_cast<id_t>(pid_),
                                             &info, WEXITED);
                             }) != 0) {
    lost_ = true;
  }
  pid_ = 0;
  if (lost_) return std::nullopt;
  if (info.si_code == CLD_EXITED) return ExitStatus{info.si_status, 0};
  return ExitStatus{0, info.si_status};
}

}  // namespace internal
}  // namespace refreshable
