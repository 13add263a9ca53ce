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

// One end of a pipe, or nothing. Closed by the destructor.
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

  // Reads what is there into `buffer` without blocking, until it has overflowed
  // or 64 KiB have been read. Closes this at the end of the file.
  void Drain(SecretBuffer& buffer);
  // As Drain, but discards what `buffer` has no room for.
  void DrainAll(SecretBuffer& buffer);

 private:
  // Reads at most `size` bytes. Returns how many; 0 if there are none now.
  size_t ReadSome(char* data, size_t size);

  int fd_ = -1;
};

// How a process ended: by itself, or by a signal.
struct ExitStatus {
  int status = 0;
  int signal = 0;
};

class ChildProcess {
 public:
  struct Program {
    const std::vector<std::string>& argv;         // argv[0] may be in PATH.
    const std::vector<std::string>& environment;  // "NAME=value".
    const std::string& working_directory;         // May be empty.
    bool read_stderr = false;                     // Otherwise /dev/null.
  };

  ChildProcess() = default;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // If the program has not been reaped, ends its group and waits for the
  // program.
  ~ChildProcess();

  // Starts the program. Returns 0 or an error number. To be called once.
  int Start(const Program& program);

  // What the program has written to stdout and stderr.
  PipeEnd& out() { return out_; }
  PipeEnd& err() { return err_; }

  // Waits until there is something to read, but no longer than `timeout`.
  void Poll(absl::Duration timeout);

  // Returns whether the program has exited. It is not reaped, so its number
  // still names the group.
  bool HasExited();
  // Sends a signal to all processes of the group.
  void SignalGroup(int signal);
  // Waits until the program has exited, and reaps it. Returns nullopt if
  // somebody else has reaped it.
  std::optional<ExitStatus> Reap();

 private:
  pid_t pid_ = 0;      // 0 if nothing was started, or it has been reaped.
  bool lost_ = false;  // Somebody else has reaped it.
  PipeEnd out_;
  PipeEnd err_;
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_CHILD_PROCESS_H_
