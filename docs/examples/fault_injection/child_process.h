// SPDX-License-Identifier: Apache-2.0
//
// ChildProcess: a program in a separate process that can be killed and stopped.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CHILD_PROCESS_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace refreshable_examples {

// The child is killed when this object is destroyed and, on Linux, also when
// the thread that called `Start` ends. Only that thread may use the object.
class ChildProcess {
 public:
  // Called with each complete line of the child's standard output, without the
  // line feed. Calls do not overlap and are made on a separate thread.
  using OnLine = std::function<void(absl::string_view line)>;

  // Runs the program at the path `program`. Returns UNAVAILABLE if the system
  // grants no pipe or process. If the program cannot be run, the child ends at
  // once with status 127.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::string& program, const std::vector<std::string>& arguments,
      OnLine on_line);

  // Kills the child if it is still running.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Writes a line to the child's standard input. May block until the child
  // reads. If the child has ended, the line is lost. Requires that SIGPIPE is
  // ignored.
  void Tell(absl::string_view line);

  // Kills the child with SIGKILL, and waits until it has ended and `OnLine` has
  // received all lines.
  void Kill();
  // `Stop` suspends the child with SIGSTOP, and waits until it has stopped or
  // ended. `Continue` resumes the child with SIGCONT.
  void Stop();
  void Continue();
  // Closes the child's standard input, and waits until the child has ended and
  // `OnLine` has received all lines. Returns the exit status, or 128 plus the
  // number of the signal that killed the child. May be called once, and not
  // after `Kill`.
  int Close();

 private:
  ChildProcess(pid_t pid, int in, int out, OnLine on_line);

  // Waits until the child has ended and `OnLine` has received all lines.
  // Returns the same as `Close`.
  int Reap();

  pid_t pid_;  // -1 after `Reap` has returned.
  int in_;     // Writes to the child's standard input; -1 if closed.
  std::thread listener_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULT_INJECTION_CHILD_PROCESS_H_
