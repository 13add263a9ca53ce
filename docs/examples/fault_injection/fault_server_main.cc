// SPDX-License-Identifier: Apache-2.0
//
// fault_server PORT: runs a FaultServer on that port. The program writes
// "ready" once the server listens, and then each line that the server reports.
// Each line of input is a command for the server. The program ends at the end
// of the input.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "docs/examples/fault_injection/fault_server.h"

namespace refreshable_examples {
namespace {

// Writes without a buffer, so that a killed process loses no line.
void Say(absl::string_view line) {
  const std::string text = absl::StrCat(line, "\n");
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(1);
}

int Run(int port) {
  FaultServer server(Say);
  const absl::Status started = server.Start(port);
  if (!started.ok()) {
    std::fprintf(stderr, "fault_server: %s\n", started.ToString().c_str());
    return 1;
  }
  Say("ready");
  std::string command;
  while (std::getline(std::cin, command)) server.Do(command);
  return 0;
}

}  // namespace
}  // namespace refreshable_examples

int main(int argc, char** argv) {
  // A write to a closed connection must not end the program.
  std::signal(SIGPIPE, SIG_IGN);
  int port = 0;
  if (argc != 2 || !absl::SimpleAtoi(argv[1], &port)) {
    std::fprintf(stderr, "usage: fault_server PORT\n");
    return 2;
  }
  return refreshable_examples::Run(port);
}
