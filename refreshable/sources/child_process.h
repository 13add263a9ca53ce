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

  // Reads the bytes that are in the pipe into `buffer`, without blocking. Stops
  // when `buffer` has overflowed or 64 KiB have been read. Closes this end when
  // there will be no more bytes.
  void Drain(SecretBuffer& buffer);
  // As Drain, but goes on when `buffer` has overflowed, and discards what it
  // has no room for.
  void DrainAll(SecretBuffer& buffer);

 private:
  // Reads at most `size` bytes into `data` and returns how many it has read.
  // Returns 0 if there are none now, and also if there will be no more; this
  // end is then closed.
  size_t ReadSome(char* data, size_t size);

  int fd_ = -1;
};

// How a process ended.
struct ExitStatus {
  int status = 0;  // Its exit status, if it exited by itself.
  int signal = 0;  // The signal that ended it; 0 if it exited by itself.
};

class ChildProcess {
 public:
  struct Program {
    // If argv[0] has no slash, it is looked for in PATH.
    const std::vector<std::string>& argv;
    const std::vector<std::string>& environment;  // "NAME=value".
    const std::string& working_directory;  // If empty, that of this program.
    bool read_stderr = false;              // If false, stderr is /dev/null.
  };

  ChildProcess() = default;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // If the program has not been reaped, ends its process group with SIGKILL and
  // waits for the program.
  ~ChildProcess();

  // Starts the program. Returns 0 or an error number. To be called once.
  int Start(const Program& program);

  // The ends of the pipes that the program writes to as its stdout and stderr.
  PipeEnd& out() { return out_; }
  PipeEnd& err() { return err_; }

  // Waits until something can be read from out() or err(), but no longer than
  // `timeout`.
  void Poll(absl::Duration timeout);

  // Returns whether the program has exited. Does not reap it, so its process
  // number still names the group.
  bool HasExited();
  // Sends a signal to all processes of the group.
  void SignalGroup(int signal);
  // Waits until the program has exited, and reaps it. Returns nullopt if
  // somebody else has reaped it (this program may ignore SIGCHLD).
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
