// SPDX-License-Identifier: Apache-2.0
//
// ChildProcess: a program that runs in a process group of its own, and whose
// output is read. Private.

#ifndef REFRESHABLE_SOURCES_CHILD_PROCESS_H_
#define REFRESHABLE_SOURCES_CHILD_PROCESS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "refreshable/sources/secret_buffer.h"

namespace refreshable {
namespace internal {

// One end of a pipe, or nothing. The destructor closes it.
class PipeEnd {
 public:
  PipeEnd() = default;
  PipeEnd(const PipeEnd&) = delete;
  PipeEnd& operator=(const PipeEnd&) = delete;
  ~PipeEnd() { Close(); }

  void Open(int fd) { fd_ = fd; }
  void Close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  // Reads what is in the pipe into `buffer`, without blocking. Stops when
  // `buffer` has overflowed or at least 64 KiB have been read. At the end of
  // the file, or if reading fails, closes this end.
  void Drain(SecretBuffer& buffer);
  // Does the same as Drain. If `buffer` has overflowed, also reads and discards
  // up to about 64 KiB more.
  void DrainAll(SecretBuffer& buffer);

 private:
  // Reads at most `size` bytes and returns how many it has read; 0 if there are
  // none now. At the end of the file, or if reading fails, closes this end.
  size_t ReadSome(char* data, size_t size);

  int fd_ = -1;
};

struct ExitStatus {
  int status = 0;  // 0 if a signal ended the process.
  int signal = 0;  // The signal that ended the process; 0 if it exited.
};

class ChildProcess {
 public:
  struct Program {
    // If argv[0] has no slash, it is looked for in the PATH of the caller.
    const std::vector<std::string>& argv;
    const std::vector<std::string>& environment;  // "NAME=value".
    const std::string& working_directory;         // If empty, the caller's.
    bool read_stderr = false;  // If false, stderr is /dev/null.
  };

  ChildProcess() = default;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // If the program was started and not reaped, ends its process group with
  // SIGKILL and waits for the program.
  ~ChildProcess();

  // Returns 0 or an error number. May be called once.
  int Start(const Program& program);

  // The program's stdout and stderr. If `Program::read_stderr` is false, err()
  // is not open.
  PipeEnd& out() { return out_; }
  PipeEnd& err() { return err_; }

  // Waits until out() or err() has bytes or is at its end, or until `timeout`
  // has passed. A signal handler may end the wait early.
  void Poll(absl::Duration timeout);

  // Returns whether the program has exited; true if it was not started. Does
  // not reap the program, so its process id still names the group.
  bool HasExited();
  // Sends a signal to the group. Does nothing if the program was not started or
  // has been reaped.
  void SignalGroup(int signal);
  // Waits until the program has exited, reaps it, and returns how it ended.
  // Returns nullopt if somebody else has reaped it. Requires: the program was
  // started and not reaped by this object.
  std::optional<ExitStatus> Reap();

 private:
  pid_t pid_ = 0;      // 0 before Start has succeeded and after Reap.
  bool lost_ = false;  // Whether somebody else has reaped the program.
  PipeEnd out_;
  PipeEnd err_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_CHILD_PROCESS_H_
