// SPDX-License-Identifier: Apache-2.0
//
// ChildProcess: a program of its own process, that is killed, stopped and
// listened to.

#ifndef REFRESHABLE_DOCS_EXAMPLES_FAULTS_CHILD_PROCESS_H_
#define REFRESHABLE_DOCS_EXAMPLES_FAULTS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace refreshable_examples {

// It ends when this object does, and on Linux also when the thread that started
// it does, however that comes. To be used by that thread.
class ChildProcess {
 public:
  // Hears each line that the child writes to its standard output, without the
  // line feed, one at a time, in a thread of its own.
  using OnLine = std::function<void(absl::string_view line)>;

  // Runs `program`, a path, with `arguments`. What it cannot do, such as find
  // the program, shows as a child that ends at once, with status 127;
  // UNAVAILABLE if there is no pipe or process to be had.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::string& program, const std::vector<std::string>& arguments,
      OnLine on_line);

  // Kills it, if it is still there.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Writes a line to its standard input. May block until the child reads; a
  // child that has gone reads nothing. Requires that SIGPIPE is ignored.
  void Tell(absl::string_view line);

  // SIGKILL. Returns once it is gone and all that it wrote has been heard.
  void Kill();
  // SIGSTOP; returns once it has stopped. SIGCONT.
  void Stop();
  void Continue();
  // Closes its standard input, waits for its end and until all that it wrote
  // has been heard. Its exit status; 128 and the signal's number if it was
  // killed by somebody else. Once, and not after `Kill`.
  int Close();

 private:
  ChildProcess(pid_t pid, int in, int out, OnLine on_line);

  // Waits for the end. The exit status as `Close` has it.
  int Reap();

  pid_t pid_;  // -1: gone.
  int in_;
  std::thread listener_;
};

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_FAULTS_CHILD_PROCESS_H_
